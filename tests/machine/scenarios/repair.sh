# Other tools of the administrator's make a mess of the firewall and of the bridge; whoever is connected to a container
# does not notice, and what is the administrator's own stays as it is.

examples_for alice user/web.container
lan_client up
as alice 'systemctl --user start web'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
address=$(address_of alice web)
as alice 'podman exec --detach web nc -ll -p 7 -e cat'
wait_for "run_as alice 'podman exec web netstat -ltn' | grep -q ':7 '"
exec {connection}<>"/dev/tcp/$address/7"
say() {
    local answer
    echo "$1" >&"$connection" && read -r -t 5 -u "$connection" answer && [[ $answer == "$1" ]]
}
# The kernel shows the elements of a set in an order of its own.
ours() {
    (nft list table inet rootful_net && nft list table bridge rootful_net) |
        sed 's/elements = {/&,/; s/ }$/,&/' | tr ',' '\n' | sed 's/^[[:space:]]*//; s/ *$//' | sort
}
links() {
    ip -j address show dev rootful0 | jq -c '.[] | [.operstate, .address, .ifalias, [.addr_info[].local]]'
    bridge -j link show | jq -c '.[] | select(.master == "rootful0") | [.ifname, .state]'
}
still_there() {
    wait_for '[[ $(ours 2>&1) == "$ruleset" ]]'
    wait_for '[[ $(links 2>&1) == "$link" ]]'
    check 'the connection goes on' say "after-$1"
    on_lan 'curl -fsS -m 5 http://192.0.2.1:8080/'
    expect_output 'hello'
}
check 'the connection works' say before
ruleset=$(ours)
link=$(links)

step "what others do to the firewall"
host 'nft flush ruleset'
still_there flush
systemctl unmask --quiet nftables.service firewalld.service
host 'systemctl start nftables'
still_there nftables
host 'systemctl restart nftables'
still_there nftables-again
foreign=$(nft list table inet filter)
host 'nft delete table inet rootful_net'
still_there table
host 'nft flush chain inet rootful_net publish'
still_there chain
host 'nft flush map inet rootful_net publish4'
still_there map
check "the administrator's own table is as it was" test "$(nft list table inet filter)" = "$foreign"
host 'systemctl stop nftables && systemctl start firewalld'
still_there firewalld
foreign=$(nft list table inet firewalld)
host 'firewall-cmd --reload'
still_there reload
check "firewalld's table is as it was" test "$(nft list table inet firewalld)" = "$foreign"
host 'systemctl stop firewalld'

step "what others do to the links"
host 'ip link set rootful0 down'
still_there down
host 'ip address flush dev rootful0'
still_there addresses
host 'ip link delete rootful0'
still_there deleted
host 'sysctl -q -w net.ipv4.ip_forward=0'
wait_for '[[ $(sysctl -n net.ipv4.ip_forward) == 1 ]]'
still_there forwarding
host 'systemctl kill --signal=KILL rootful-netd && sleep 0.2 && nft flush ruleset'
still_there killed

step "and what the administrator sees of it"
host 'rootful-net doctor'
expect_output 'the kernel holds what is attached'
host 'journalctl --unit rootful-netd --grep repaired --output cat --quiet | wc -l'
expect_output '^[1-9][0-9]'
host 'rootful-net doctor --repair'
expect_output 'the kernel holds what is attached'
as alice 'rootful-net doctor --repair'
expect_fail 3
expect_refusal 'may not repair'

exec {connection}>&-
as alice 'systemctl --user stop web'
assert_nothing_left
