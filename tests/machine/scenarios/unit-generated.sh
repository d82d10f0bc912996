# The example user/blog.service as it stands: what "podman generate systemd --new" writes, with one annotation.

lan_client up
examples_for alice user/blog.service

step "the example is what podman generates, but for the lines that it explains"
as alice 'podman create --name blog --network=none --annotation io.rootful-net.publish=8082:80 --init --rm busybox httpd -f'
as alice 'podman generate systemd --new --name blog 2>/dev/null | grep -oE "^(Type|NotifyAccess|ExecStop|ExecStopPost)=[^ ]*|--(cidfile|cgroups|sdnotify)=[^ ]*" | sort -u >generated
    grep -oE "^(Type|NotifyAccess|ExecStop|ExecStopPost)=[^ ]*|--(cidfile|cgroups|sdnotify)=[^ ]*" ~/.config/systemd/user/blog.service | sort -u >example
    diff generated example && podman rm blog'

step "alice starts it"
as alice 'systemctl --user start blog'
as alice 'rootful-net ps'
expect_output '^blog +rootful0 +10\.87\.[0-9.]+.*8082->80/tcp'
address=$(address_of alice blog)
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8082/"'

step "restarts keep the address"
for _ in 1 2 3; do
    as alice 'systemctl --user restart blog'
    check "it has $address" test "$(address_of alice blog)" = "$address"
done
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8082/"'

step "alice stops it"
as alice 'systemctl --user stop blog'
as alice 'systemctl --user show --property=ActiveState --value blog'
expect_output '^inactive$'
assert_nothing_left
