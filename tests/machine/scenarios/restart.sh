# The service stops, is replaced, is killed, is removed and installed again: what is attached stays, and goes when the
# administrator says so.

readonly RUN='podman run --detach --network=none'
readonly SERVER='busybox httpd -f -p 80 -h /srv'

pid_of_service() {
    systemctl show --property MainPID --value rootful-netd.service
}

# What the kernel has of the product's, with the handles of rules.
seen() {
    nft --handle list ruleset
    {
        ip -o address
        ip -o link
        bridge fdb show
    } | grep -E ' (rn[0-9a-f]{10}|rootful0)[ :@]'
}

# nothing_changed: since `before` was taken.
nothing_changed() {
    seen | diff <(echo "$before") - || true
    check 'nothing in the kernel has changed' test "$(seen)" = "$before"
    on_lan 'curl -fsS http://192.0.2.1:8080/'
    expect_output '^hello from the container$'
    check 'the connection from before goes on' conversation_goes_on
}

# conversation_goes_on: what is said to bob's container, over one connection from the LAN, is said back.
conversation_goes_on() {
    local said="line $RANDOM" heard
    echo "$said" >&"${conversation[1]}"
    read -r -t 5 -u "${conversation[0]}" heard
    [[ $heard == "$said" ]]
}

lan_client up
as alice "$RUN --name web --annotation io.rootful-net.publish=8080:80 $SERVER"
as bob "$RUN --name web --annotation io.rootful-net.publish=8081:80 busybox socat TCP-LISTEN:80,fork,reuseaddr EXEC:cat"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
wait_for '[[ $(run_on_lan "echo ready | socat -t 1 - TCP:192.0.2.1:8081") == ready ]]'
coproc conversation { exec ip netns exec lan socat - TCP:192.0.2.1:8081; }
check 'a connection is open' conversation_goes_on
before=$(seen)

step "it stops: the containers' network stays"
host 'systemctl stop rootful-netd.service'
nothing_changed

step "whoever asks has it start"
as alice 'rootful-net ps'
expect_output '^web .*8080->80'
nothing_changed

step "it is replaced by another program file and started again"
host 'cp /usr/libexec/rootful-net/rootful-netd /usr/libexec/rootful-net/rootful-netd.new'
host 'mv /usr/libexec/rootful-net/rootful-netd.new /usr/libexec/rootful-net/rootful-netd'
pid=$(pid_of_service)
host 'systemctl restart rootful-netd.service'
check 'it is another process' test "$(pid_of_service)" != "$pid"
nothing_changed

step "it is killed"
pid=$(pid_of_service)
host "kill -KILL $pid"
wait_for "[[ \$(pid_of_service) != @(0|$pid) ]] && systemctl is-active rootful-netd.service"
as alice 'rootful-net ps'
nothing_changed

step "restarts while somebody sets up and takes down: nobody is told no"
(for _ in 1 2 3 4 5 6; do
    run_as bob "$RUN --replace --stop-timeout 0 --name busy --annotation io.rootful-net.publish=8082:80 $SERVER" || echo "no: $?"
done) >/run/busy 2>&1 &
busy=$!
restarts=0
while kill -0 "$busy" 2>/dev/null; do
    systemctl restart rootful-netd.service
    # systemd takes more than a few for a loop.
    systemctl reset-failed rootful-netd.service
    restarts=$((restarts + 1))
done
wait "$busy"
check "the service was restarted $restarts times" test "$restarts" -ge 3
check 'every container was started' test "$(grep -c '^no:' /run/busy)" = 0
as bob 'podman rm --force --time 0 busy'

step "it is removed: the containers' network stays"
host 'systemctl stop rootful-netd.service'
before=$(seen)
host 'bash -e /machine/uninstall'
expect_output '^What is attached stays'
host 'systemctl daemon-reload && systemctl reload dbus.service'
check 'no program and no unit is left' \
    test ! -e /usr/libexec/rootful-net -a ! -e /usr/bin/rootful-net -a ! -e /usr/lib/systemd/system/rootful-netd.service
host 'systemctl start rootful-netd.service'
expect_fail 5
expect_output 'not found'
nothing_changed

step "it is installed again, and finds them attached"
host 'cp --archive --no-target-directory /machine/product / && systemctl daemon-reload && systemctl reload dbus.service'
host 'systemctl start rootful-netd.service'
as alice 'rootful-net ps'
expect_output '^web .*8080->80'
as bob 'rootful-net ps'
expect_output '^web .*8081->80'
nothing_changed
host 'busctl call io.rootful_net1 /io/rootful_net1 io.rootful_net1.Manager Repair "a{sv}" 1 dry-run b true'
expect_output '^as 0$'

step "root takes down everything of everybody"
host 'rootful-net ps --all'
check 'both are there' test "$(grep -c ' web ' <<<"$output")" = 2
host 'rootful-net teardown --all'
check 'two names are printed' test "$(grep -c '^web$' <<<"$output")" = 2
assert_nothing_left
host 'systemctl stop rootful-netd.service'
as alice 'podman rm --force --time 0 web'
as bob 'podman rm --force --time 0 web'
