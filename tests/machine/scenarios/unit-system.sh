# The example system/wiki.service as it stands: a system unit with User=, and set-up and teardown as lines of its own.

lan_client up
examples_for alice system/wiki.service

# log REGEX: the unit's log says so.
log() {
    wait_for "journalctl --unit wiki --output cat | grep -E '$1'"
}

step "the administrator starts it; every line of it runs as alice"
host 'time systemctl start wiki'
host 'systemctl status --lines 0 wiki | cut -c1-120'
expect_output 'active \(running\)'
check 'nothing in the unit has more rights' bash -c '! grep -E "^Exec[A-Za-z]*=[-@:]*[+!]" /etc/systemd/system/wiki.service'
as alice 'rootful-net ps'
expect_output '^wiki +rootful0 +10\.87\.[0-9.]+.*8081->80/tcp'
address=$(address_of alice wiki)
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8081/"'
on_lan 'curl -fsS http://192.0.2.1:8081/'
expect_output '^hello from the container$'

step "restarts keep the address, and systemd finds nothing to warn about"
for _ in 1 2 3; do
    host 'systemctl restart wiki'
    check "it has $address" test "$(address_of alice wiki)" = "$address"
done
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8081/"'
host 'journalctl --unit wiki --output cat'
expect_no_output 'left-over|does not belong|Failed'
check 'there is one link' test "$(ip -o link | grep -cE '^[0-9]+: rn[0-9a-f]{10}[:@]')" = 1

step "the container crashes: systemd starts it again"
host "kill -KILL $(run_as alice 'podman inspect --format "{{.State.Pid}}" wiki')"
wait_for '[[ $(systemctl show --property=NRestarts --value wiki) == 1 ]]'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8081/"'
check "it has $address" test "$(address_of alice wiki)" = "$address"

host 'systemctl reset-failed wiki'
step "the unit's own process is killed: the container does not outlive it"
host 'systemctl kill --kill-whom=main --signal=KILL wiki'
wait_for '[[ $(systemctl show --property=NRestarts --value wiki) == 1 ]]'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8081/"'
check "it has $address" test "$(address_of alice wiki)" = "$address"
as alice 'podman ps --all --quiet | wc -l'
expect_output '^1$'

step "stopped, it leaves nothing"
host 'systemctl stop wiki'
host 'systemctl show --property=ActiveState --value wiki'
expect_output '^inactive$'
assert_nothing_left
as alice 'podman ps --all --quiet'
expect_no_output '.'

step "a set-up that is refused fails the unit, which says why, and leaves nothing"
as bob 'podman run -d --name taken --network=none --annotation io.rootful-net.publish=8081:80 busybox sleep 1000'
host 'systemctl start wiki'
expect_refusal
log '8081/tcp'
host 'systemctl stop wiki'
as alice 'podman ps --all --quiet'
expect_no_output '.'
as bob 'podman rm --force --time 0 taken'
assert_nothing_left
