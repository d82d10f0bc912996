# Pods without units: whichever way a pod's infra container is reached, the pod is attached once, under its own name.

readonly SERVER='busybox httpd -f -p 80 -h /srv'
readonly MODULES=/home/alice/.config/containers/containers.conf.modules

# attached_once: there is one attachment, and it is called as the pod is.
attached_once() {
    as alice 'rootful-net ps'
    expect_output "^site +rootful0 +${address:-10\.87\.[0-9.]+}[ ,]"
    check 'there is one attachment' test "$(wc -l <<<"$output")" = 2
}

lan_client up

step "a pod without a network, and two containers in it"
as alice 'podman pod create --name site --network=none'
as alice 'rootful-net setup site --publish 8080:80'
attached_once
as alice "podman run -d --init --pod site --name front $SERVER"
as alice 'podman run -d --init --pod site --name back busybox sleep 1000'
address=$(address_of alice front)
check 'they share its address' test "$(address_of alice back)" = "$address"
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'podman exec back wget -qO- http://localhost/'
expect_output '^hello from the container$'

step "the pod's name, its id, the infra container's name and id: all the same"
pod=$(run_as alice 'podman pod inspect site' | jq -r 'if type == "array" then .[0] else . end | .Id')
infra=$(run_as alice 'podman pod inspect site' | jq -r 'if type == "array" then .[0] else . end | .InfraContainerID')
for it in site "${pod:0:12}" "${pod:0:12}-infra" "$infra"; do
    as alice "rootful-net setup $it --publish 8080:80"
    attached_once
done
as alice 'rootful-net setup front --publish 8080:80'
expect_fail 5
expect_output "shares the network namespace of container ${infra:0:12}"
as alice 'rootful-net setup nosuch'
expect_fail 4
expect_output 'nosuch.*nor does such a pod'

step "stopped and started, it has its address again"
as alice 'podman pod stop --time 1 site'
as alice 'rootful-net ps'
expect_no_output 'site'
as alice 'podman init '"$infra"
as alice 'rootful-net setup site --publish 8080:80'
as alice 'podman pod start site'
attached_once
as alice 'rootful-net teardown site'
as alice 'podman pod rm --force --time 1 site'
assert_nothing_left

step "with the module, the pod is attached when it starts, and has the same address"
as alice 'podman --module rootful-net pod create --name site'
as alice "podman run -d --init --pod site --name front $SERVER"
attached_once
check 'the member has its address' test "$(address_of alice front)" = "$address"
as alice 'podman pod restart site'
attached_once
as alice 'rootful-net setup site --publish 8080:80 --replace'
attached_once
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'

step "members with the module, or with annotations, have names resolved and attach nothing"
as alice 'podman --module rootful-net run -d --init --pod site --name back busybox sleep 1000'
as alice 'podman run -d --init --pod site --name other --annotation io.rootful-net.publish=9999:80 busybox sleep 1000'
as alice 'podman exec other cat /etc/resolv.conf'
expect_output '^nameserver 10\.87\.0\.1$'
attached_once
as alice 'podman rm --force --time 1 back other'
attached_once
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'podman pod rm --force --time 1 site'
assert_nothing_left

step "a module of alice's own, with ports"
host "mkdir -p $MODULES && cat >$MODULES/site <<END
[containers]
netns = \"none\"
annotations = [\"io.rootful-net.publish=8080:80\"]
END"
as alice 'podman --module site pod create --name site'
as alice "podman run -d --init --pod site --name front $SERVER"
attached_once
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
as alice 'podman pod rm --force --time 1 site'
assert_nothing_left

step "the module also does for a container"
as alice "podman --module rootful-net run -d --init --name single --annotation io.rootful-net.publish=8080:80 $SERVER"
as alice 'rootful-net ps'
expect_output '^single +rootful0 .*8080->80/tcp'
as alice 'podman rm --force --time 1 single'
assert_nothing_left
