# The hook with podman 4.3: what it is told differs from podman 5.
# machine: bookworm

readonly RUN='podman run -d --rm --name web --network=none'
readonly SERVER='busybox httpd -f -p 80 -h /srv'

lan_client up

step "one line"
as alice 'podman --version'
expect_output '^podman version 4\.3'
as alice "$RUN --annotation io.rootful-net.publish=8080:80 $SERVER"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
on_lan 'curl -fsS http://192.0.2.1:8080/cgi-bin/peer'
expect_output '192\.0\.2\.100\]?$'
as alice 'rootful-net ps'
expect_output '^web +rootful0 +10\.87\.[0-9.]+.*8080->80'
address=$(address_of alice web)

step "the container knows its name server, and names"
as alice 'podman exec web cat /etc/resolv.conf /etc/hosts'
expect_output '^nameserver '

step "stopped, it is gone"
as alice 'podman stop --time 0 web'
assert_nothing_left

step "restarts keep the address"
as alice "podman run -d --stop-timeout 0 --name web --network=none --annotation io.rootful-net.publish=8080:80 $SERVER"
for _ in 1 2 3; do
    as alice 'podman restart --time 0 web'
    check 'it has the same address' test "$(address_of alice web)" = "$address"
done
as alice 'podman rm --force --time 0 web'
assert_nothing_left

step "a bad value fails the start"
as alice "$RUN --annotation io.rootful-net.publish=80-70:80 $SERVER"
expect_fail 126
as alice "$RUN --annotation io.rootful-net.nosuch=1 $SERVER"
expect_fail 126
assert_nothing_left

step "death in other ways: kill, a program that does not exist, rm"
as alice "$RUN --annotation io.rootful-net.publish=8080:80 $SERVER"
as alice 'podman kill web'
assert_nothing_left
as alice 'podman run --rm --name web --network=none --annotation io.rootful-net.publish=8080:80 busybox /nosuch'
expect_fail 127
assert_nothing_left
as alice "$RUN --read-only --userns=keep-id --annotation io.rootful-net.publish=8080:8080 busybox httpd -f -p 8080 -h /srv"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'podman rm --force --time 0 web'
assert_nothing_left

step "without the hook: the command"
as alice "podman create --network=none --name web $SERVER"
as alice 'rootful-net setup web --publish 8080:80'
as alice 'podman start web'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'rootful-net teardown web'
assert_nothing_left
