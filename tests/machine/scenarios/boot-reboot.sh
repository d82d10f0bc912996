# A reboot, and a power cut: every kind of unit comes back by itself with its address, while the network is late.

readonly containers='web blog wiki site-web site-watch'
readonly ports='8080 8082 8081 8090'

# Where the network is, to systemd: a unit that network-online.target waits for, until the cable is plugged in.
late_network() {
    cat >/etc/systemd/system/late-network.service <<'END'
[Unit]
Before=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'until test -e /run/plugged-in; do sleep 0.1; done'
[Install]
WantedBy=network-online.target
END
    systemctl enable --quiet late-network.service
    # The machine's own stand-in for podman's unit does not wait.
    rm /etc/systemd/user/podman-user-wait-network-online.service
    # multi-user.target waits for the system unit, and that for the network, which the scenario brings.
    sed -i 's/^After=multi-user.target /After=/' /etc/systemd/system/scenario.service
}

addresses() {
    local container
    for container in $containers; do
        echo "$container $(address_of alice "$container" 4) $(address_of alice "$container" 6)"
    done
}

# everything_serves: every port answers, from the LAN.
everything_serves() {
    local port
    for port in $ports; do
        wait_for "run_on_lan 'curl -fsS -m 1 http://192.0.2.1:$port/ | grep -q hello'" 60
    done
}

nothing_failed() {
    host 'systemctl --failed --no-legend; systemctl --user --machine=alice@ --failed --no-legend'
    expect_no_output '.'
}

first_boot() {
    examples_for alice user/web.container user/blog.service user/site.pod user/site-web.container \
        user/site-watch.container system/wiki.service
    step "alice enables what is no quadlet, the administrator the system unit"
    as alice 'systemctl --user enable blog'
    host 'systemctl enable wiki'
    lan_client up
    touch /run/plugged-in
    late_network
    as alice 'systemctl --user start default.target web blog site-pod'
    host 'systemctl start wiki'
    everything_serves
    as alice 'rootful-net ps'
    nothing_failed
    before=$(addresses)
    check 'all have addresses' test "$(grep -cE ' 10\.87\.[0-9.]+ f' <<<"$before")" = 5

    step "the machine reboots"
    reboot_machine before
}

comes_back() {
    step "the network is late: nothing has started, and nothing has failed"
    host 'systemctl is-active network-online.target'
    expect_refusal
    wait_for '[[ $(run_as alice "systemctl --user is-active podman-user-wait-network-online") == activating ]]'
    check '/run is new' test ! -e /run/plugged-in
    # Not podman ps: podman 5.4 can panic when that is what comes first after a power cut with a pod.
    check 'no container runs' test -z "$(pgrep conmon)"
    nothing_failed

    step "the cable is plugged in"
    lan_client up
    host 'touch /run/plugged-in'
    everything_serves
    as alice 'rootful-net ps'
    check 'every container has the address that it had' test "$(addresses)" = "$before"
    nothing_failed
    wait_for 'systemctl is-system-running'
    check 'each port is published once' test "$(run_as alice 'rootful-net ps --format json' | jq '[.[].ports[]] | length')" = 4
}

case $MACHINE_BOOT in
    1) first_boot ;;
    2)
        comes_back
        step "when the machine went down, everything was detached first"
        host 'journalctl --boot -1 --output cat | grep -E "Stopped rootful-netd|wiki.service: Failed|unit .rootful-netd.service.: Refusing"'
        expect_output 'Stopped rootful-netd'
        expect_no_output 'Failed|Refusing'
        step "the power fails"
        cut_power before
        ;;
    3)
        comes_back
        step "everything stops, and leaves nothing"
        as alice 'systemctl --user stop web blog site-pod'
        host 'systemctl stop wiki'
        nothing_failed
        assert_nothing_left
        ;;
esac
