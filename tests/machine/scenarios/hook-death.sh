# The hook: however a container ends, nothing of it is left within a second, with or without its poststop.

readonly RUN='podman run --detach --network=none --annotation io.rootful-net.publish=8080:80'

# up NAME [OPTIONS]: a running container of alice's, which is attached.
up() {
    as alice "$RUN --name $1 ${2:-} busybox sleep 1000"
    check 'it is attached' test -n "$(address_of alice "$1")"
    pid=$(run_as alice "podman inspect --format '{{.State.Pid}}' $1")
    conmon=$(run_as alice "podman inspect --format '{{.State.ConmonPid}}' $1")
}

# gone_within_a_second
gone_within_a_second() {
    _settle
    wait_for '[[ -z $(_leftovers) ]]' 1
    _note 'a second later nothing is left'
}

lan_client up

step "its process crashes"
up crash
host "kill -KILL $pid"
gone_within_a_second
as alice 'podman rm --force --time 0 crash'

step "it ends by itself, and is removed"
as alice "podman run --rm --network=none --annotation io.rootful-net.publish=8080:80 busybox false"
expect_fail 1
gone_within_a_second

step "conmon is killed, and then the process: nobody runs the hook"
up orphan
host "kill -KILL $conmon"
host "kill -KILL $pid"
gone_within_a_second
# Podman misses its conmon, and says so the first time.
run_as alice 'podman rm --force --time 0 orphan || podman rm --force --time 0 orphan'
gone_within_a_second

step "the whole of it is killed at once"
up all --rm
host "kill -KILL $conmon $pid"
gone_within_a_second
run_as alice 'podman rm --force --time 0 --ignore all || podman rm --force --time 0 --ignore all'

step "its executable does not exist"
as alice "$RUN --name missing busybox /no/such/program"
expect_fail 127
gone_within_a_second
as alice 'podman rm missing'

step "podman rm --force"
up removed
as alice 'podman rm --force --time 0 removed'
gone_within_a_second

step "podman kill"
up killed
as alice 'podman kill killed'
gone_within_a_second
as alice 'podman rm killed'

step "an initialized container that never starts"
as alice 'podman create --network=none --name early --annotation io.rootful-net.publish=8080:80 busybox true'
as alice 'podman init early'
as alice 'rootful-net ps'
expect_output '^early '
as alice 'podman rm --force --time 0 early'
gone_within_a_second

step "it dies while the daemon does not run: the next one finds out"
up alone
host 'systemctl stop rootful-netd.service'
host "kill -KILL $pid"
run_as alice 'podman rm --force --time 0 --ignore alone'
as alice 'rootful-net ps'
expect_no_output 'alone'
gone_within_a_second

step "after all this the port is free"
up last
as alice 'rootful-net ps'
expect_output '^last .*8080->80'
as alice 'podman rm --force --time 0 last'
assert_nothing_left
