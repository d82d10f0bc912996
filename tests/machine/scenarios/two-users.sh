# Two users on one network: their containers talk to each other, neither user touches the other's, and a third user
# without a grant gets nothing. Both call their container web, because names belong to users.

step "alice and bob attach a container each"
for user in alice bob; do
    as $user "podman create --network=none --name web --hostname $user busybox httpd -f -p 80 -h /srv"
    as $user 'rootful-net setup web --network rootful0'
    as $user 'podman start web'
done
alice_address=$(address_of alice web)
bob_address=$(address_of bob web)
check 'the addresses differ' test "$alice_address" != "$bob_address"

step "the containers talk to each other, both ways, and see each other's own address"
wait_for "run_as alice 'podman exec web wget -qO- -T 1 http://$bob_address/'"
as alice "podman exec web wget -qO- -T 2 http://$bob_address/cgi-bin/peer"
expect_output "${alice_address//./\\.}"
wait_for "run_as bob 'podman exec web wget -qO- -T 1 http://$alice_address/'"
as bob "podman exec web wget -qO- -T 2 http://$alice_address/cgi-bin/peer"
expect_output "${bob_address//./\\.}"

step "what bob does to 'web' is done to his"
as bob 'rootful-net ps'
expect_output "$bob_address"
as bob 'rootful-net setup web --network rootful0 --publish 8088:80 --replace'
check "alice's address is as before" test "$(address_of alice web)" = "$alice_address"
as bob "podman exec web wget -qO- -T 2 http://$alice_address/"
expect_output '^hello from the container$'

step "alice's container is out of bob's reach"
alice_pid=$(run_as alice 'podman inspect --format "{{.State.Pid}}" web')
as bob "rootful-net teardown --netns /proc/$alice_pid/ns/net"
expect_refusal
as bob "rootful-net setup --netns /proc/$alice_pid/ns/net --name mine --network rootful0"
expect_refusal
attachment=$(attachment_of 1000)
as bob "busctl --system call io.rootful_net1 $attachment io.rootful_net1.Attachment Detach"
expect_refusal
as bob "podman exec web wget -qO- -T 2 http://$alice_address/"
expect_output '^hello from the container$'

step "a port that alice has is not bob's"
as alice 'rootful-net setup web --network rootful0 --publish 8080:80 --replace'
as bob 'rootful-net setup web --network rootful0 --publish 8080:80 --replace'
expect_fail 5
expect_output '8080/tcp'
host 'curl -fsS http://127.0.0.1:8080/'
expect_output '^hello from the container$'

step "mallory has no grant"
as mallory 'podman create --network=none --name hers busybox httpd -f -p 80 -h /srv'
as mallory 'rootful-net setup hers --network rootful0'
expect_fail 3
as mallory 'podman start hers'
as mallory 'podman exec hers ip -o link'
expect_no_output '^2:'
check 'she has no attachment' test -z "$(attachment_of 1002)"
check 'there are two links' test "$(ip -o link | grep -cE '^[0-9]+: rn[0-9a-f]{10}[:@]')" = 2

step "each takes down what is theirs"
as alice 'rootful-net teardown web'
check "bob's is still attached" test "$(address_of bob web)" = "$bob_address"
as bob 'rootful-net teardown web'
assert_nothing_left
