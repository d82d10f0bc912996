# Without aardvark-dns containers are attached as ever, without names; the log says so once.

rm /usr/lib/podman/aardvark-dns
lan_client up
echo 'nameserver 192.0.2.53' >/etc/resolv.conf

step "two containers are attached, and reach each other by address"
for name in web db; do
    as alice "podman create --network=none --name $name busybox httpd -f -p 80 -h /srv"
    as alice "rootful-net setup $name"
    as alice "podman start $name"
done
address=$(address_of alice db)
wait_for "run_as alice 'podman exec web wget -qO- -T 1 http://$address/'"

step "they ask the host's resolver"
as alice 'podman exec web cat /etc/resolv.conf'
expect_output '^nameserver 192\.0\.2\.53$'
expect_no_output '10\.87'
as alice 'rootful-net network inspect rootful0'
check 'the network says that it has no names' jq -e '.[0].name_servers == []' <<<"$output"

step "the log says it once, with the reason"
host 'journalctl --no-pager -b -u rootful-netd.service -o json'
check 'one record' test "$(jq -r 'select(.MESSAGE == "names of containers are not served") | .F_REASON' <<<"$output")" \
    = 'aardvark-dns is not installed'
check 'nothing was started in vain' test "$(systemctl show -P InactiveExitTimestamp rootful-net-dns.service)" = ''

step "doctor says it, too"
as alice 'rootful-net doctor'
expect_output '^ok +the service answers'
expect_output '^warning +aardvark-dns is not installed'
expect_output '^warning +network "rootful0" has no names'

step "nothing is left"
as alice 'rootful-net teardown --all'
assert_nothing_left
check 'no records either' test ! -e /run/rootful-net/dns
