# An administrator's dual-stack network: ports published on one IPv6 address and on one IPv4 address of the host are
# there for the LAN, and nowhere else.

lan_client up
# The host's second addresses, which are not the source of what it sends.
host 'ip address add 192.0.2.2/24 dev uplink'
host 'ip address add 2001:db8:1::2/64 dev uplink nodad preferred_lft 0'

step "the administrator defines a network and grants it to bob"
host 'mkdir -p /etc/rootful-net/networks /etc/rootful-net/policy.d'
host 'cat >/etc/rootful-net/networks/dual.json <<END
{
  "name": "dual",
  "driver": "bridge",
  "network_interface": "rootful1",
  "subnets": [
    { "subnet": "10.99.0.0/24", "gateway": "10.99.0.1" },
    { "subnet": "fd00:99::/64", "gateway": "fd00:99::1" }
  ],
  "ipv6_enabled": true,
  "internal": false,
  "dns_enabled": false,
  "options": { "mtu": "1400" },
  "ipam_options": { "driver": "host-local" }
}
END'
host 'cat >/etc/rootful-net/policy.d/50-dual.toml <<END
[[grant]]
users = ["bob"]
networks = ["dual"]
host_addresses = ["192.0.2.1", "2001:db8:1::1"]
ports = { tcp = ["8080-8081"] }
END'

step "bob uses it"
as bob 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'
as bob "rootful-net setup web --network dual -p '[2001:db8:1::1]:8080:80' -p 192.0.2.1:8081:80"
as bob 'podman start web'
as bob 'podman exec web ip address show dev eth0'
expect_output 'mtu 1400'
expect_output 'inet 10\.99\.0\.'
expect_output 'inet6 fd00:99::'
as bob 'rootful-net ps'
expect_output '10\.99\.0\..*fd00:99:'
as bob 'rootful-net network ls'
expect_output 'dual'

step "the LAN reaches each port at its address"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8081/"'
on_lan 'curl -fsS http://192.0.2.1:8081/cgi-bin/peer'
expect_output '192\.0\.2\.100'
on_lan 'curl -fsS http://[2001:db8:1::1]:8080/'
expect_output '^hello from the container$'
on_lan 'curl -fsS http://[2001:db8:1::1]:8080/cgi-bin/peer'
expect_output '2001:db8:1::100'

step "and at no other"
for url in http://192.0.2.1:8080/ http://192.0.2.2:8081/ 'http://[2001:db8:1::1]:8081/' 'http://[2001:db8:1::2]:8080/'; do
    on_lan "curl -sS -m 2 $url"
    expect_fail 7
done

step "the container reaches the LAN over both, with the address of the host"
lan_server 7777
as bob 'podman exec web socat -T 2 - TCP:192.0.2.100:7777'
expect_output '^192\.0\.2\.1$'
as bob 'podman exec web socat -T 2 - TCP:[2001:db8:1::100]:7777'
expect_output '^\[2001:0db8:0001:0000:0000:0000:0000:0001\]$'

step "what the grant does not name is refused"
as bob 'rootful-net setup web --network dual -p 192.0.2.2:8081:80 --replace'
expect_fail 3
as bob 'rootful-net setup web --network dual -p 192.0.2.1:8082:80 --replace'
expect_fail 3
on_lan 'curl -fsS http://192.0.2.1:8081/'
expect_output '^hello from the container$'
as alice 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'
as alice 'rootful-net setup web --network dual'
expect_fail 3

step "nothing of it stays"
as bob 'rootful-net teardown web'
assert_nothing_left
