# Names: containers of two users find each other on one network by name, alias, short id and address, in both families;
# names follow attach and detach; other names go to the host's resolver; nobody takes another user's name.

lan_client up

# A resolver on the LAN, with one name.
mkdir -p /run/lan-names
printf '192.0.2.100\nlan 192.0.2.77  www.example.test\n' >/run/lan-names/lan
AARDVARK_NO_PROXY=1 ip netns exec lan /usr/lib/podman/aardvark-dns --config /run/lan-names --port 53 run
echo 'nameserver 192.0.2.100' >/etc/resolv.conf

# resolves USER CONTAINER NAME ADDRESS: what the container's own resolver says of the name.
resolves() {
    run_as "$1" "podman exec $2 nslookup $3" 2>&1 | grep -qE "^(Address|.*name =).*[ :.]?$4\$"
}

step "alice has two containers and bob one"
for container in alice:web alice:db bob:shop; do
    as "${container%:*}" "podman create --network=none --name ${container#*:} busybox httpd -f -p 80 -h /srv"
done
as alice 'rootful-net setup web --network rootful0 --network-alias www'
as alice 'rootful-net setup db --network rootful0:alias=store'
as bob 'rootful-net setup shop --network rootful0'
as alice 'podman start web'
as alice 'podman start db'
as bob 'podman start shop'
check 'the name server has a unit of its own' systemctl is-active rootful-net-dns.service
check 'it is not root' test "$(ps -o user= -p "$(systemctl show -P MainPID rootful-net-dns.service)")" != root
host 'systemd-analyze security --offline=true --threshold=15 --no-pager /usr/lib/systemd/system/rootful-net-dns.service |
    tail -1'

step "the containers know where to ask"
as alice 'podman exec web cat /etc/resolv.conf'
expect_output '^search dns\.podman$'
expect_output '^nameserver 10\.87\.0\.1$'
expect_output '^nameserver fd[0-9a-f:]+::1$'
web4=$(address_of alice web) web6=$(address_of alice web 6)
shop4=$(address_of bob shop) shop6=$(address_of bob shop 6)
as alice 'podman exec web cat /etc/hosts'
expect_output "^${web4}[[:space:]].*\bweb\b"
expect_output "^${web6}[[:space:]].*\bweb\b"
expect_no_output '^127\.0\.0\.1.*\bweb\b'

step "they find each other by name, whoever's they are, in both families"
as bob 'podman exec shop nslookup web'
expect_output "^Address: $web4\$"
expect_output "^Address: $web6\$"
as alice 'podman exec db nslookup shop'
expect_output "^Address: $shop4\$"
expect_output "^Address: $shop6\$"
as alice 'podman exec db nslookup SHOP.dns.podman'
expect_output "^Address: $shop4\$"
as bob 'podman exec shop wget -qO- -T 2 http://web/'
expect_output '^hello from the container$'
gateway6=$(ip -o -6 address show rootful0 scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
as bob "podman exec shop nslookup web $gateway6"
expect_output "^Address: $web4\$"

step "by alias, by short id, and from address to name"
as bob 'podman exec shop nslookup www'
expect_output "^Address: $web4\$"
as bob 'podman exec shop nslookup store'
expect_output "^Address: $(address_of alice db)\$"
short_id=$(run_as alice 'podman inspect --format "{{.Id}}" web' | cut -c 1-12)
as bob "podman exec shop nslookup $short_id"
expect_output "^Address: $web4\$"
for address in "$web4" "$web6"; do
    as bob "podman exec shop nslookup $address"
    expect_output 'name = web$'
done

step "over TCP, and from the host itself"
query='\0\025\0\01\01\0\0\01\0\0\0\0\0\0\03web\0\0\01\0\01'
run_as bob "podman exec shop sh -c 'printf \"$query\" | nc -w 2 10.87.0.1 53'" | od -An -tu1 | tr -s ' \n' ' ' >/run/answer
check 'an answer over TCP ends with the address' grep -qF " ${web4//./ } " /run/answer
host 'busybox nslookup web 10.87.0.1'
expect_output "^Address: $web4\$"

step "other names go to the host's resolver"
as alice 'podman exec web nslookup -type=a www.example.test'
expect_output '^Address: 192\.0\.2\.77$'

step "--dns is asked instead of the networks"
as alice 'podman create --network=none --name apart busybox sleep 600'
as alice 'rootful-net setup apart --dns 192.0.2.53'
as alice 'podman start apart'
as alice 'podman exec apart cat /etc/resolv.conf'
expect_output '^nameserver 192\.0\.2\.53$'
expect_no_output '10\.87|search'
as alice 'rootful-net teardown apart'

step "bob cannot have alice's names"
as bob 'podman create --network=none --name web busybox sleep 600'
as bob 'rootful-net setup web --network rootful0 --network-alias www'
expect_fail 5
expect_output 'alias "www" on network "rootful0" belongs to a container of another user'
as bob 'rootful-net setup web --network rootful0 --network-alias db'
expect_fail 5
as bob 'rootful-net setup web --network rootful0 --network-alias www.example.test'
expect_fail 2
expect_output 'has a dot'
as bob 'rootful-net setup web --network rootful0 --format json'
bob_id=$(jq -r .container_id <<<"$output" | cut -c 1-12)
check 'of his container only the short id is served' \
    test "$(jq -c '.interfaces[0].names' <<<"$output")" = "[\"$bob_id\"]"
as bob 'podman exec shop nslookup web'
expect_output "^Address: $web4\$"
check 'two addresses, both of alice' test "$(grep -c '^Address: ' <<<"$output")" = 2
host 'journalctl --no-pager -b -u rootful-netd.service'
expect_output 'name is not served'
as bob 'rootful-net teardown web'

step "alice's own containers share a name"
as alice 'rootful-net setup db --network rootful0:alias=www --replace'
wait_for "resolves bob shop www $(address_of alice db)"
as bob 'podman exec shop nslookup -type=a www'
check 'two answers' test "$(grep -c '^Address: 10' <<<"$output")" = 2

step "after detach the name is gone, and the next may have it"
as alice 'rootful-net teardown web'
wait_for '! resolves bob shop web "$web4"' 1
as bob 'podman exec shop nslookup web.dns.podman'
expect_fail 1
expect_output 'NXDOMAIN'
as bob 'podman start web'
as bob 'rootful-net setup web --network rootful0'
wait_for "resolves alice db web $(address_of bob web)" 1

step "a container that ends takes its names with it"
as bob 'podman kill web'
wait_for '! resolves alice db web "10.*"'

step "the name server is started again when it dies, and survives a restart of the daemon"
old=$(systemctl show -P MainPID rootful-net-dns.service)
kill -KILL "$old"
wait_for "[[ \$(systemctl show -P MainPID rootful-net-dns.service) != @(0|$old) ]]"
wait_for "resolves alice db shop $shop4"
main=$(systemctl show -P MainPID rootful-net-dns.service)
host 'systemctl restart rootful-netd.service'
as alice 'podman exec db nslookup shop'
expect_output "^Address: $shop4\$"
check 'it is the same process' test "$(systemctl show -P MainPID rootful-net-dns.service)" = "$main"

step "on an internal network names are resolved, and nothing else is"
host 'mkdir -p /etc/rootful-net/networks /etc/rootful-net/policy.d'
host 'cat >/etc/rootful-net/networks/closed.json <<END
{ "name": "closed", "network_interface": "rootful1", "internal": true, "dns_enabled": true,
  "subnets": [{ "subnet": "10.99.0.0/24" }] }
END'
host 'cat >/etc/rootful-net/policy.d/60-closed.toml <<END
[[grant]]
users = ["alice"]
networks = ["closed"]
END'
host 'systemctl restart rootful-netd.service'
for name in in1 in2; do
    as alice "podman create --network=none --name $name busybox sleep 600"
    as alice "rootful-net setup $name --network closed"
    as alice "podman start $name"
done
wait_for "resolves alice in1 in2 $(address_of alice in2)"
as alice 'podman exec in1 nslookup -type=a www.example.test'
expect_fail 1
expect_output 'NXDOMAIN'
as alice 'podman exec in1 nslookup shop'
expect_fail 1

step "the files of unusual containers"
as alice 'podman create --network=none --name readonly --read-only busybox sleep 600'
as alice 'rootful-net setup readonly'
expect_output '^Warning: cannot write /etc/resolv\.conf in the container'
as alice 'podman create --network=none --name kept --userns=keep-id busybox sleep 600'
as alice 'rootful-net setup kept'
expect_no_output 'Warning'
as alice 'podman start kept'
as alice 'podman exec kept cat /etc/resolv.conf'
expect_output '^nameserver 10\.87\.0\.1$'
as alice 'touch target'
as alice 'podman run -d --network=none --name trap busybox sleep 600'
as alice 'podman exec trap ln -s /home/alice/target /etc/resolv.conf'
as alice 'rootful-net setup trap'
check 'a link out of the container leads nowhere' test ! -s /home/alice/target
as alice 'podman exec trap cat /etc/resolv.conf'
expect_output '^nameserver 10\.87\.0\.1$'

step "nothing is left"
as alice 'rootful-net teardown --all'
as bob 'rootful-net teardown --all'
assert_nothing_left
wait_for '[[ $(systemctl is-active rootful-net-dns.service) == inactive ]]'
check 'its records are gone' test ! -e /run/rootful-net/dns
