# The example user/web.container as it stands: a user's quadlet with one annotation, restarted twenty times.

readonly link_pattern='^[0-9]+: rn[0-9a-f]{10}[:@]'

# What would add up, were it left behind: links, elements of the rules, records, and files of podman's.
footprint() {
    ip -o link | grep -cE "$link_pattern"
    nft -j list table inet rootful_net | jq '[.nftables[] | (.map, .set)? | .elem? // [] | length] | add'
    find /run/rootful-net/attachments -type f | wc -l
    run_as alice 'podman ps --all --quiet | wc -l; find /run/user/1000/containers /run/user/1000/libpod -type f | wc -l'
}

lan_client up
examples_for alice user/web.container

step "alice starts it"
as alice 'time systemctl --user start web'
as alice 'systemctl --user status --lines 0 web | cut -c1-120'
expect_output 'active \(running\)'
as alice 'rootful-net ps'
expect_output '^web +rootful0 +10\.87\.[0-9.]+.*8080->80/tcp'
address=$(address_of alice web)
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
on_lan 'curl -fsS http://192.0.2.1:8080/'
expect_output '^hello from the container$'
before=$(footprint)

step "twenty restarts keep the address"
for _ in {1..20}; do
    # So many at once are too many for systemd, otherwise.
    run_as alice 'systemctl --user reset-failed web && systemctl --user restart web'
    check "it has $address" test "$(address_of alice web)" = "$address"
done
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'systemctl --user show --property=NRestarts --property=Result web'
expect_output '^NRestarts=0$'
wait_for "[[ \$(footprint) == '$before' ]]"
check 'nothing has added up' test "$(footprint)" = "$before"

step "a crash: systemd starts it again, with the same address"
pid=$(run_as alice 'podman inspect --format "{{.State.Pid}}" web')
host "kill -KILL $pid"
wait_for '[[ $(run_as alice "systemctl --user show --property=NRestarts --value web") == 1 ]]'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
check "it has $address" test "$(address_of alice web)" = "$address"

step "its monitor is killed: the same"
host 'kill -KILL $(systemctl --user --machine=alice@ show --property=MainPID --value web)'
wait_for '[[ $(run_as alice "systemctl --user show --property=NRestarts --value web") == 2 ]]'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
check "it has $address" test "$(address_of alice web)" = "$address"

step "alice stops it"
as alice 'systemctl --user stop web'
as alice 'systemctl --user show --property=ActiveState --value web'
expect_output '^inactive$'
assert_nothing_left
as alice 'podman ps --all --quiet'
expect_no_output '.'
