# Another resolver has port 53 of every address of the host, before the first container or after it: containers' names
# are resolved at their gateway's port 53 all the same, and the other resolver is not disturbed.

# A resolver on all addresses, with one name, over UDP and TCP.
resolver_on_all_addresses() {
    mkdir -p /run/host-names
    printf '0.0.0.0\nhost 192.0.2.88  host-resolver.test\n' >/run/host-names/all
    AARDVARK_NO_PROXY=1 /usr/lib/podman/aardvark-dns --config /run/host-names --port 53 run
    check 'port 53 is taken' test "$(ss -Hlun sport = 53 | wc -l) $(ss -Hltn sport = 53 | wc -l)" = '1 1'
}

attach_two() {
    for name in web db; do
        as alice "podman create --network=none --name $name busybox httpd -f -p 80 -h /srv"
        as alice "rootful-net setup $name"
        as alice "podman start $name"
    done
    address=$(address_of alice db)
    wait_for "run_as alice 'podman exec web nslookup db' | grep -q 'Address: $address'"
}

lan_client up

step "it is there first"
resolver_on_all_addresses
attach_two
as alice 'podman exec web nslookup db 10.87.0.1'
expect_output "^Address: $address\$"
on_lan 'busybox nslookup -type=a host-resolver.test 192.0.2.1'
expect_output '192\.0\.2\.88'

step "a container that publishes port 53 on every address takes no queries away"
host 'mkdir -p /etc/rootful-net/policy.d'
host 'cat >/etc/rootful-net/policy.d/60-low-ports.toml <<END
[[grant]]
users = ["bob"]
networks = ["rootful0"]
host_addresses = ["*"]
ports = { udp = ["53"] }
END'
kill "$(cat /run/host-names/aardvark.pid)"
wait_for '[[ -z $(ss -Hlun sport = 53) ]]'
host 'systemctl restart rootful-netd.service'
as bob 'podman create --network=none --name pi busybox sleep 600'
as bob 'rootful-net setup pi -p 53:53/udp'
as bob 'podman start pi'
as alice 'podman exec web nslookup db 10.87.0.1'
expect_output "^Address: $address\$"
as bob 'rootful-net setup pi -p 10.87.0.1:53:53/udp --replace'
expect_fail 5
expect_output 'where containers of network "rootful0" ask for names'
as bob 'rootful-net teardown --all'
as alice 'rootful-net teardown --all'
assert_nothing_left

step "it comes afterwards"
as alice 'podman rm -f -t 0 web db'
attach_two
resolver_on_all_addresses
as alice 'podman exec web nslookup db 10.87.0.1'
expect_output "^Address: $address\$"
on_lan 'busybox nslookup -type=a host-resolver.test 192.0.2.1'
expect_output '192\.0\.2\.88'
as alice 'rootful-net teardown --all'
assert_nothing_left
