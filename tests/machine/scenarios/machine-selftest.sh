# The machine itself: systemd, users, rootless podman and a neighbour on the LAN, without the product.

step "systemd runs, and nothing failed"
host 'systemctl is-system-running'
expect_output '^running$'
check 'only lo' test "$(ip -o link | wc -l)" = 1
check 'nftables is empty' test -z "$(nft list ruleset)"

step "alice has a session of her own"
as alice 'id -un; echo "$XDG_RUNTIME_DIR"; systemctl --user is-active default.target; busctl --user status >/dev/null && echo bus'
expect_output '^/run/user/1000$'
expect_output '^active$'
expect_output '^bus$'
as alice 'loginctl show-session "$XDG_SESSION_ID" --property=Name --property=State'
expect_output '^Name=alice$'
as alice 'busctl --system call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetId'
as alice 'pkcheck --action-id org.freedesktop.login1.reboot --process $$'
expect_fail 2 # polkit answers: only with authentication, and there is no agent

step "alice runs a rootless container"
as alice 'podman info --format "{{.Host.Security.Rootless}} {{.Host.OCIRuntime.Name}} {{.Store.GraphDriverName}} {{.Host.CgroupsVersion}} {{.Version.Version}}"'
expect_output '^true crun overlay v2 5\.'
as alice 'podman run --rm --network=none busybox id'
expect_output '^uid=0\(root\)'

step "a created container can be initialized, and started later"
as alice 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'
as alice 'podman init web'
as alice 'podman inspect --format "{{.State.Status}}" web'
expect_output '^initialized$'
as alice 'podman start web'
as alice 'podman exec web wget -qO- http://127.0.0.1/'
expect_output '^hello from the container$'
as alice 'podman exec web wget -qO- http://127.0.0.1/cgi-bin/peer'
expect_output '127\.0\.0\.1'
as alice 'podman exec --detach web socat UDP4-RECVFROM:53,fork EXEC:cat'
wait_for "run_as alice 'podman exec web netstat -lun' | grep -q ':53 '"
as alice 'podman exec web sh -c "echo question | socat -T 1 - UDP:127.0.0.1:53"'
expect_output '^question$'
as alice 'podman rm -f -t 0 web'

step "bob has podman too, with pasta"
as bob 'podman run --rm busybox ip -o link'
as bob 'podman images --format "{{.Repository}}"'
expect_output '^localhost/busybox$'

step "mallory is nobody special"
host 'id mallory'
expect_no_output 'rootful-net'

step "a client on the LAN reaches the machine"
lan_client up
on_lan 'ping -c 1 -W 2 192.0.2.1'
on_lan 'ping -c 1 -W 2 2001:db8:1::1'
lan_server 7777
host 'socat -T 2 - TCP:192.0.2.100:7777'
expect_output '^192\.0\.2\.1$'
host 'socat -T 2 - TCP:[2001:db8:1::100]:7777'
expect_output '^\[2001:0db8:0001:0000:0000:0000:0000:0001\]$'
