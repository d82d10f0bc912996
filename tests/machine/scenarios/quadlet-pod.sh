# The example user/site.pod and its members as they stand: one attachment and one address for the whole pod.

lan_client up
examples_for alice user/site.pod user/site-web.container user/site-watch.container

step "alice starts the pod; its members start with it"
as alice 'systemctl --user start site-pod'
wait_for "run_as alice 'systemctl --user is-active site-web site-watch'"
as alice 'podman ps --pod --format "{{.Names}} {{.PodName}}"'
expect_output '^site-web site$'
expect_output '^site-watch site$'

step "it has one attachment, under its name"
as alice 'rootful-net ps'
expect_output '^site +rootful0 +10\.87\.[0-9.]+.*8090->80/tcp'
check 'there is one' test "$(wc -l <<<"$output")" = 2
check 'there is one link' test "$(ip -o link | grep -cE '^[0-9]+: rn[0-9a-f]{10}[:@]')" = 1
address=$(address_of alice site-web)
check 'its members share the address' test "$(address_of alice site-watch)" = "$address"

step "one member is reached from outside, and the other asks it on localhost"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8090/"'
on_lan 'curl -fsS http://192.0.2.1:8090/'
expect_output '^hello from the container$'
wait_for "run_as alice 'podman logs site-watch' | grep '^hello from the container\$'" 20

step "the member with the annotation has a resolver, and nothing else of its own"
as alice 'podman exec site-watch cat /etc/resolv.conf'
expect_output '^nameserver 10\.87\.0\.1$'

step "a member restarts: nothing of the network changes"
record=$(run_as alice 'rootful-net inspect site')
as alice 'systemctl --user restart site-web'
wait_for "run_as alice 'systemctl --user is-active site-web site-watch'"
check 'the attachment is the same' test "$(run_as alice 'rootful-net inspect site')" = "$record"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8090/"'

step "the pod restarts: the same address"
for _ in 1 2 3; do
    as alice 'systemctl --user restart site-pod'
    wait_for "run_as alice 'systemctl --user is-active site-web site-watch'"
    check "it has $address" test "$(address_of alice site-web)" = "$address"
done
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8090/"'

step "the pod stops"
as alice 'systemctl --user stop site-pod'
wait_for '[[ $(run_as alice "systemctl --user is-active site-web site-watch" | sort -u) == inactive ]]'
as alice 'systemctl --user --failed --no-legend'
expect_no_output '.'
assert_nothing_left
as alice 'podman ps --all --quiet'
expect_no_output '.'
