# The hook: an annotation on `podman run` is enough, and what is refused does not start.

readonly RUN='podman run -d --rm --name web --network=none'
readonly SERVER='busybox httpd -f -p 80 -h /srv'

# refused REGEX ANNOTATION: a container with this annotation does not start, and the hook says why on podman's stderr:
# here a pipe of the user's own, as a terminal is.
refused() {
    as alice "set -o pipefail; $RUN --annotation io.rootful-net.$2 $SERVER 2>&1 | cat"
    expect_fail 126
    expect_output "$1"
    check 'no container is left' test -z "$(run_as alice 'podman ps --all --quiet')"
    assert_nothing_left
}

# logged_with_id REGEX: the service's log has the message with the id of a container.
logged_with_id() {
    wait_for "journalctl --unit rootful-netd --output json | grep -E '$1' | grep -qE '\"F_CONTAINER_ID\":\"[0-9a-f]{64}\"'"
}

lan_client up
host 'mkdir -p /etc/rootful-net/policy.d'
host 'cat >/etc/rootful-net/policy.d/60-web.toml <<END
[[grant]]
users = ["alice"]
networks = ["rootful0"]
host_addresses = ["*"]
ports = { tcp = ["80", "443"] }
END'

step "one line"
as alice "$RUN --annotation io.rootful-net.publish=80:80,443:443 $SERVER"
check 'the bus has started the daemon' systemctl is-active rootful-netd.service
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1/"'
on_lan 'curl -fsS http://192.0.2.1/'
expect_output '^hello from the container$'
on_lan 'curl -fsS http://192.0.2.1/cgi-bin/peer'
expect_output '192\.0\.2\.100\]?$'
as alice 'rootful-net ps'
expect_output '^web +rootful0 +10\.87\.[0-9.]+.*80->80.*443->443'
address=$(address_of alice web)

step "the container knows its name server"
as alice 'podman exec web cat /etc/resolv.conf /etc/hosts'
expect_output '^nameserver 10\.87\.0\.1$'
expect_output '^127\.0\.0\.1.*localhost'

step "stopped, it is gone"
as alice 'podman stop --time 0 web'
assert_nothing_left
on_lan 'curl -sS -m 2 http://192.0.2.1/'
expect_fail 7

step "a container that stays: restarts keep the address, and leave nothing"
as alice "podman run -d --stop-timeout 0 --name web --network=none --annotation io.rootful-net.publish=8080:80 $SERVER"
check 'it has the same address as before' test "$(address_of alice web)" = "$address"
for _ in 1 2 3; do
    as alice 'podman restart --time 0 web'
    check 'it has the same address' test "$(address_of alice web)" = "$address"
done
check 'there is one link' test "$(ip -o link | grep -cE '^[0-9]+: rn[0-9a-f]{10}[:@]')" = 1
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'podman stop --time 0 web'
assert_nothing_left
as alice 'podman start web'
check 'it has the same address' test "$(address_of alice web)" = "$address"

step "another one takes its place"
as alice "podman run -d --replace --name web --network=none --annotation io.rootful-net.publish=8080:80 $SERVER"
check 'it has the same address' test "$(address_of alice web)" = "$address"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'

step "a late clean-up of the one before detaches nothing"
host 'systemd-run --quiet --wait --uid=alice busctl --system call io.rootful_net1 /io/rootful_net1 io.rootful_net1.Manager Detach "sa{sv}" web 1 container-id s '"$(printf '0%.0s' {1..64})"
check 'it is still attached' test "$(address_of alice web)" = "$address"
as alice 'podman rm --force --time 0 web'
assert_nothing_left

step "annotations that cannot be right"
refused 'annotation "io\.rootful-net\.publsh" is not known; accepted are io\.rootful-net\.network' publsh=80:80
refused 'io\.rootful-net\.publish: "70000" is not a port' publish=70000:80
refused 'io\.rootful-net\.network: network option "vlan" is not supported' network=rootful0:vlan=7
refused 'io\.rootful-net\.dns: "here" is not an IP address' dns=here

step "what the service refuses, it says to the user and to its log"
refused 'network "nosuch" does not exist' network=nosuch
refused '22/tcp' publish=22:22
logged_with_id '22/tcp'
as mallory "set -o pipefail; $RUN --annotation io.rootful-net.publish=8080:80 $SERVER 2>&1 | cat"
expect_fail 126
expect_output 'attach: container [0-9a-f]{12}: .*rootful0'
logged_with_id '"F_UID":"1002"'
check 'she has no container' test -z "$(run_as mallory 'podman ps --all --quiet')"
assert_nothing_left

step "what the hook says is in the journal, with the container's id"
host 'journalctl --identifier rootful-net-hook --output json | jq -r "select(.MESSAGE | test(\"22/tcp\")) | .CONTAINER_ID_FULL"'
expect_output '^[0-9a-f]{64}$'

step "containers that are not ours to attach start as ever"
as alice "podman run --rm --network=host --annotation io.rootful-net.publish=8080:80 busybox true"
as alice "podman run --rm --network=none busybox ip -o link"
expect_no_output 'eth0'

step "a container that has a network of podman's is not given a second one"
as alice "set -o pipefail; podman run -d --rm --name web --network=pasta --annotation io.rootful-net.publish=8080:80 $SERVER 2>&1 | cat"
expect_fail 126
expect_output 'rootful-net-hook attach: container [0-9a-f]{12}: '
assert_nothing_left

step "a daemon that hangs fails the start within the deadline"
as alice 'rootful-net network ls'
host 'systemctl kill --signal=STOP rootful-netd.service'
started=$SECONDS
as alice "set -o pipefail; $RUN --annotation io.rootful-net.dns=192.0.2.1 $SERVER 2>&1 | cat"
expect_refusal
expect_output 'the rootful-net service did not answer within 10 s'
check 'it took the deadline and no longer' test "$((SECONDS - started))" -le 12
started=$SECONDS
as alice "set -o pipefail; $RUN --annotation io.rootful-net.publish=8080:80 $SERVER 2>&1 | cat"
expect_refusal
expect_output 'the rootful-net service did not answer within 10 s'
check 'it took the deadline and no longer' test "$((SECONDS - started))" -le 12
host 'systemctl kill --signal=CONT rootful-netd.service'
as alice 'rootful-net ps'
assert_nothing_left
