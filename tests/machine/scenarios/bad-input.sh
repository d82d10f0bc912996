# What goes wrong at the command line: each mistake has its exit code and a sentence that helps, and leaves nothing.

# refused CODE REGEX COMMAND
refused() {
    as alice "$3"
    expect_fail "$1"
    expect_output "$2"
}

as alice 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'

step "arguments that cannot be right"
refused 2 'not a port'        'rootful-net setup web --network rootful0 -p 70000:80'
refused 2 'not a port'        'rootful-net setup web --network rootful0 -p 0:80'
refused 2 'not ascend'        'rootful-net setup web --network rootful0 -p 8080:80-80'
refused 2 'not ascend'        'rootful-net setup web --network rootful0 -p 8010-8000:80-90'
refused 2 'differ in number'  'rootful-net setup web --network rootful0 -p 8000-8010:80-85'
refused 2 'not a protocol'    'rootful-net setup web --network rootful0 -p 8080:80/icmp'
refused 2 'not a host address' 'rootful-net setup web --network rootful0 -p 300.1.1.1:8080:80'
refused 2 'more than once|twice' 'rootful-net setup web --network rootful0 -p 8080:80/tcp,tcp'
refused 2 'name'              'rootful-net setup web --network rootful0 --name a/b'
refused 2 'name'              'rootful-net setup web --network ../etc'
refused 2 'option'            'rootful-net setup web --network rootful0:colour=red'
refused 2 'address'           'rootful-net setup web --network rootful0:ip=10.87.0.300'
refused 2 'Usage|usage'       'rootful-net setup'

step "what is not there"
refused 4 'nosuch'            'rootful-net setup web --network nosuch'
refused 4 'nosuch'            'rootful-net setup nosuch --network rootful0'
refused 4 'nosuch'            'rootful-net inspect nosuch'

step "addresses that are not to be had"
refused 2 '10\.86\.0\.9'      'rootful-net setup web --network rootful0:ip=10.86.0.9'
refused 2 '10\.87\.0\.1'      'rootful-net setup web --network rootful0:ip=10.87.0.1'

step "what the policy does not grant"
refused 3 '80/tcp'            'rootful-net setup web --network rootful0 -p 80:80'

step "containers that cannot be attached"
as alice 'podman run --name stopped --network=none busybox true'
refused 7 'stopped'           'rootful-net setup stopped --network rootful0'
as alice 'podman run --detach --name elsewhere busybox sleep 1000'
refused 5 'elsewhere'         'rootful-net setup elsewhere --network rootful0'

step "namespaces that are not alice's"
refused 3 'namespace'         'rootful-net setup --netns /proc/self/ns/net --name web --network rootful0'
refused 3 'namespace'         'rootful-net setup --netns /etc/passwd --name web --network rootful0'

step "a port that a process of the host listens on"
host 'systemd-run --quiet --unit=listener socat TCP-LISTEN:8088,fork,reuseaddr EXEC:cat'
wait_for 'ss -Hltn sport = 8088 | grep -q LISTEN'
refused 5 '8088/tcp'          'rootful-net setup web --network rootful0 -p 8088:80'

step "nothing of all this is left"
assert_nothing_left

step "a dry run says what would be done, and does nothing"
as alice 'rootful-net setup web --network rootful0 -p 8080:80 --dry-run'
expect_output 'rootful0'
assert_nothing_left

step "the same set-up again is the same answer"
as alice 'rootful-net setup web --network rootful0 -p 8080:80'
first=$output
as alice 'rootful-net setup web --network rootful0 -p 8080:80'
check 'the answers are the same' test "$output" = "$first"

step "another one is a conflict, unless it replaces"
refused 5 '--replace'         'rootful-net setup web --network rootful0 -p 8081:80'
as alice 'podman create --network=none --name other busybox httpd -f -p 80 -h /srv'
refused 5 'port 8080/tcp is already published by container "web"' \
                              'rootful-net setup other --network rootful0 -p 8080:80'
as alice 'rootful-net setup web --network rootful0 -p 8081:80 --replace'
as alice 'rootful-net setup other --network rootful0 -p 8080:80'
as alice 'podman create --network=none --name third busybox httpd -f -p 80 -h /srv'
as alice 'podman start web'
taken=$(address_of alice web)
refused 5 "${taken//./\\.}"   "rootful-net setup third --network rootful0:ip=$taken"
as alice 'rootful-net teardown other'

step "teardown of what is not there is success"
as alice 'rootful-net teardown web'
as alice 'rootful-net teardown web'
as alice 'rootful-net teardown --all'
assert_nothing_left

step "a network that overlaps a route of the host"
lan_client up
host 'mkdir -p /etc/rootful-net/networks /etc/rootful-net/policy.d'
host 'cat >/etc/rootful-net/networks/clash.json <<END
{ "name": "clash", "driver": "bridge", "network_interface": "rootful9",
  "subnets": [ { "subnet": "192.0.2.0/24", "gateway": "192.0.2.254" } ] }
END'
host 'cat >/etc/rootful-net/policy.d/60-clash.toml <<END
[[grant]]
users = ["alice"]
networks = ["clash"]
END'
host 'systemctl stop rootful-netd.service'
refused 5 '192\.0\.2\.0/24'   'rootful-net setup web --network clash'
assert_nothing_left

step "no daemon to be had"
host 'systemctl stop rootful-netd.service'
host 'mv /usr/share/dbus-1/system-services/io.rootful_net1.service /root/ && systemctl reload dbus.service'
refused 6 'rootful-netd|service' 'rootful-net setup web --network rootful0'
refused 6 'rootful-netd|service' 'rootful-net ps'
host 'mv /root/io.rootful_net1.service /usr/share/dbus-1/system-services/ && systemctl reload dbus.service'
as alice 'rootful-net setup web --network rootful0'
as alice 'rootful-net teardown web'
assert_nothing_left
