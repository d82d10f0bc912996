# The hook: name resolution files and attachments in every kind of user namespace, with a read-only root, and in pods.

readonly ANNOTATION='--annotation io.rootful-net.network=rootful0'

# works OPTIONS: a container with these options is attached and knows its name server.
works() {
    as alice "podman run --rm --network=none $ANNOTATION $1 busybox sh -c 'ip -o -4 address show eth0; cat /etc/resolv.conf; ls -ln /etc/resolv.conf /etc/hosts; id -u'"
    expect_output ' inet 10\.87\.[0-9.]+/16'
    expect_output '^nameserver 10\.87\.0\.1$'
    expect_output "^-rw-r--r-- +1 ${2:-0} +${2:-0} .* /etc/resolv.conf$"
    expect_output '/etc/hosts$'
    assert_nothing_left
}

lan_client up

step "user namespaces"
works ''
works '--read-only'
works '--userns=keep-id'
works '--userns=keep-id --read-only'
works '--userns=auto'
works '--userns=auto --read-only'
works '--userns=nomap'
works '--uidmap 0:1:10 --uidmap 10:20:10 --uidmap 30:0:1'
works '--user nobody'

step "a container's root may change what is not read-only, as with podman's own"
as alice "podman run --rm --network=none $ANNOTATION --userns=auto busybox sh -c 'echo search example >>/etc/resolv.conf && cat /etc/resolv.conf'"
expect_output '^search example$'
as alice "podman run --rm --network=none $ANNOTATION --read-only busybox sh -c 'echo search example >>/etc/resolv.conf'"
expect_refusal

step "every run begins anew"
as alice "podman run --name again --network=none $ANNOTATION busybox sh -c 'echo search example >>/etc/resolv.conf; cat /etc/resolv.conf'"
as alice 'podman start --attach again'
check 'there is one search line' test "$(grep -c '^search example' <<<"$output")" = 1
as alice 'podman rm again'

step "a hosts file where podman makes none"
as alice "podman run --rm --network=none --no-hosts --hostname front $ANNOTATION --annotation io.rootful-net.ip=10.87.9.8 busybox cat /etc/hosts"
expect_output '^127\.0\.0\.1.localhost$'
expect_output '^10\.87\.9\.8.front'

step "servers of one's own"
as alice "podman run --rm --network=none --annotation io.rootful-net.dns=192.0.2.53,2001:db8::53 busybox cat /etc/resolv.conf"
expect_output '^nameserver 192\.0\.2\.53$'
expect_output '^nameserver 2001:db8::53$'
expect_no_output '10\.87\.0\.1'

step "a file of one's own is left alone"
as alice 'echo "nameserver 198.51.100.1" >own.conf'
as alice "podman run --rm --network=none $ANNOTATION --volume ./own.conf:/etc/resolv.conf busybox cat /etc/resolv.conf"
expect_output '^nameserver 198\.51\.100\.1$'
expect_no_output '10\.87\.0\.1'

step "names and addresses that are asked for"
as alice "podman run --rm --network=none --annotation io.rootful-net.ip=10.87.9.9 --annotation io.rootful-net.mac=02:00:00:00:09:09 busybox ip address show eth0"
expect_output 'inet 10\.87\.9\.9/16'
expect_output 'link/ether 02:00:00:00:09:09'
as alice "podman run --detach --name other --network=none --annotation io.rootful-net.name=shop --annotation io.rootful-net.alias=www,api --annotation 'io.rootful-net.publish=5353:53/udp,tcp' busybox sleep 1000"
as alice 'rootful-net inspect shop'
expect_output '"www"'
as alice 'rootful-net ps'
expect_output '^shop .*5353->53/udp, 5353->53/tcp|^shop .*5353->53/tcp, 5353->53/udp'
as alice 'podman rm --force --time 0 other'
assert_nothing_left

step "a pod: its infra container is attached, and the hook does its members no harm"
host 'install -d -o alice -g alice /home/alice/.config/containers'
host 'cat >/home/alice/.config/containers/pods.conf <<END
[containers]
annotations = ["io.rootful-net.publish=8080:80"]
END'
as alice "export CONTAINERS_CONF_OVERRIDE=~/.config/containers/pods.conf
podman pod create --name shop --network=none --infra-image busybox --infra-command 'sleep 1000' --infra-name shop-infra
podman run --detach --pod shop --name front busybox httpd -f -p 80 -h /srv
podman run --detach --pod shop --name back $ANNOTATION busybox sleep 1000"
as alice 'rootful-net ps'
expect_output '^shop +.*8080->80'
expect_no_output '^(front|back|shop-infra) '
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'podman exec back cat /etc/resolv.conf'
expect_output '^nameserver 10\.87\.0\.1$'
as alice 'podman rm --force --time 0 back'
on_lan 'curl -fsS http://192.0.2.1:8080/'
expect_output '^hello from the container$'
as alice 'podman pod rm --force --time 0 shop'
assert_nothing_left

step "a container in another one's network"
as alice "podman run --detach --name web $ANNOTATION --network=none busybox httpd -f -p 80 -h /srv"
as alice "podman run --rm $ANNOTATION --network=container:web busybox wget -qO- http://127.0.0.1/"
expect_output '^hello from the container$'
as alice 'rootful-net ps'
expect_output '^web '
as alice 'podman rm --force --time 0 web'
assert_nothing_left
