# A service that hangs: systemd ends it and starts it again. Containers do not notice.

readonly RUN='podman run --detach --network=none --annotation io.rootful-net.publish=8080:80'

pid_of_service() {
    systemctl show --property MainPID --value rootful-netd.service
}

lan_client up
step "the unit asks for it"
host 'systemctl start rootful-netd.service'
host 'systemctl show --property WatchdogUSec,FileDescriptorStoreMax rootful-netd.service'
expect_output '^WatchdogUSec=30s$'
expect_output '^FileDescriptorStoreMax=128$'
host 'systemctl stop rootful-netd.service'

step "the administrator wants it sooner"
host 'mkdir -p /etc/systemd/system/rootful-netd.service.d'
host 'cat >/etc/systemd/system/rootful-netd.service.d/watchdog.conf <<END
[Service]
WatchdogSec=2
END'
host 'systemctl daemon-reload'
as alice "$RUN --name web busybox httpd -f -p 80 -h /srv"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
address=$(address_of alice web)

step "a service that works is left alone"
pid=$(pid_of_service)
# Longer than the watchdog waits.
wait_for "[[ \$(ps -o etimes= -p $pid) -ge 5 ]]" 20
check 'it is the same process' test "$(pid_of_service)" = "$pid"

step "it hangs"
# The container is asked without a break from before until after.
(while [[ ! -e /run/enough ]]; do
    run_on_lan 'curl -fsS -m 2 http://192.0.2.1:8080/' || echo failed
done) >/run/answers 2>&1 &
asking=$!
wait_for '[[ -s /run/answers ]]'
host "kill -STOP $pid"
wait_for "[[ \$(pid_of_service) != @(0|$pid) ]] && systemctl is-active rootful-netd.service" 30
host 'journalctl --unit rootful-netd.service --output cat'
expect_output 'Watchdog timeout'
touch /run/enough
wait "$asking"
check 'the container answered all the while' test "$(grep -vc '^hello from the container$' /run/answers)" = 0

step "the next one has it all"
as alice 'rootful-net ps'
expect_output "^web .*${address//./\\.}.*8080->80"
as bob "podman run --detach --network=none --name other --annotation io.rootful-net.publish=8081:80 busybox httpd -f -p 80 -h /srv"
on_lan 'curl -fsS http://192.0.2.1:8081/'
expect_output '^hello from the container$'
as bob 'podman rm --force --time 0 other'
as alice 'podman rm --force --time 0 web'
assert_nothing_left
