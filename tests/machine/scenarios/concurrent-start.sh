# 50 containers of five users start at once by the hook, again and again: none fails, and none has what is another's.
# How often is in MACHINE_ROUNDS, 3 without it; `make soak` does it 20 times.

readonly PER_USER=10
readonly USERS='alice bob carol dave erin'
readonly rounds=${MACHINE_ROUNDS:-3}

step "three more users"
for user in carol dave erin; do
    host "useradd --create-home --groups rootful-net $user && loginctl enable-linger $user"
done
for user in carol dave erin; do
    wait_for "[[ -S /run/user/\$(id -u $user)/bus ]]"
    run_as alice 'podman save busybox' | run_as "$user" 'podman load --quiet' >/dev/null
done
# Everything but the container's start is done before.
for user in $USERS; do
    as "$user" "for i in \$(seq $PER_USER); do
        podman create --network=none --stop-timeout 0 --name web\$i --annotation io.rootful-net.publish=:80 \
            busybox httpd -f -p 80 -h /srv >/dev/null || exit 1
    done"
done

# start_all: what failed is in /run/failed.
start_all() {
    local user
    rm -f /run/failed
    for user in $USERS; do
        # One login session a user, from which all of theirs start at once.
        run_as "$user" "for i in \$(seq $PER_USER); do podman start web\$i & done; wait" >/dev/null 2>>/run/failed &
    done
    wait
}

first=''
for round in $(seq "$rounds"); do
    step "round $round of $rounds"
    started=$EPOCHREALTIME
    start_all
    took=$(((${EPOCHREALTIME/./} - ${started/./}) / 1000))
    _note "$((5 * PER_USER)) containers started in $took ms"
    check "none failed: $(head -c 500 /run/failed)" test ! -s /run/failed
    rootful-net ps --all --format json >/run/attached.json
    check 'all are attached' test "$(jq length /run/attached.json)" = $((5 * PER_USER))
    for what in '.[].interfaces[].addresses[]' '.[].interfaces[].mac' '.[].interfaces[].host_link' '.[].ports[].host_port' \
        '.[].interfaces[].names[]'; do
        check "no $what is there twice" test -z "$(jq "$what" /run/attached.json | sort | uniq -d)"
    done
    addresses=$(jq -c 'map({owner, name, addresses: [.interfaces[].addresses[]]}) | sort_by([.owner, .name])' /run/attached.json)
    first=${first:-$addresses}
    check 'all addresses are those of the first round' test "$addresses" = "$first"
    for user in $USERS; do
        run_as "$user" 'podman stop --time 0 --all' >/dev/null &
    done
    wait
    assert_nothing_left
done
