# The session of the README: a rootless container on a real bridge, from an unprivileged user's commands to served
# requests, and away again.

lan_client up
check 'the daemon does not run yet' test "$(systemctl is-active rootful-netd.service)" = inactive
check 'there is no sudo' bash -c '! command -v sudo'
check 'nothing of the product is setuid or setgid' bash -c \
    'test -z "$(find /usr/bin/rootful-net /usr/libexec/rootful-net -perm /6000)" &&
     test -z "$(getcap -r /usr/bin/rootful-net /usr/libexec/rootful-net 2>/dev/null)"'

step "alice creates a container without a network"
as alice 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'

step "she attaches it to the bridge rootful0 and publishes two ports"
as alice 'rootful-net setup web --network rootful0 --publish 8080:80 --publish 5353:53/udp'
check 'the container is initialized, and its program waits' \
    test "$(run_as alice 'podman inspect --format "{{.State.Status}}" web')" = initialized
check 'the bus has started the daemon' systemctl is-active rootful-netd.service

step "she starts it"
as alice 'podman start web'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'

step "a machine of the LAN gets an answer, and the server sees that machine's own address"
on_lan 'curl -fsS http://192.0.2.1:8080/'
expect_output '^hello from the container$'
on_lan 'curl -fsS http://192.0.2.1:8080/cgi-bin/peer'
expect_output '192\.0\.2\.100\]?$'

step "UDP too"
as alice 'podman exec --detach web socat UDP4-RECVFROM:53,fork EXEC:cat'
wait_for 'run_on_lan "echo question | socat -T 1 - UDP:192.0.2.1:5353" | grep -q question'
on_lan 'echo question | socat -T 1 - UDP:192.0.2.1:5353'
expect_output '^question$'

step "the host itself reaches it as well"
host 'curl -fsS http://127.0.0.1:8080/'
expect_output '^hello from the container$'
host 'curl -fsS http://192.0.2.1:8080/'
expect_output '^hello from the container$'

step "the container reaches the LAN, with the address of the host"
lan_server 7777
as alice 'podman exec web socat -T 2 - TCP:192.0.2.100:7777'
expect_output '^192\.0\.2\.1$'

step "she looks at it"
as alice 'rootful-net ps'
expect_output 'web +.*rootful0 +.*10\.87\.[0-9.]+.*8080.*5353'
as alice 'rootful-net ps --format json'
check 'the JSON is JSON' jq -e . <<<"$output"

step "she takes it off the network"
as alice 'rootful-net teardown web'
assert_nothing_left
on_lan 'curl -sS -m 2 http://192.0.2.1:8080/'
expect_fail 7
as alice 'rootful-net ps'
expect_no_output 'web'
check 'her container still runs' \
    test "$(run_as alice 'podman inspect --format "{{.State.Status}}" web')" = running
