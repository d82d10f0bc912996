# The verbs of the scenarios. Sourced inside the machine, as root, with `set -euo pipefail`.
#
# A command verb (as, host, on_lan) prints its command as at a prompt, then what it printed. A command that fails ends
# the scenario, unless the next line expects it to: expect_fail CODE. The last command's exit code and output are in
# $status and $output.
# shellcheck shell=bash

readonly HOST4=192.0.2.1 HOST6=2001:db8:1::1
readonly LAN4=192.0.2.100 LAN6=2001:db8:1::100

status=0
output=''
_unseen=''   # the last command, while nobody has looked at how it ended
_step=0
if ((MACHINE_BOOT > 1)); then
    # shellcheck source=/dev/null # written by reboot_machine
    . /machine/kept
fi

# ---- what somebody does

# as USER COMMAND: a command in a login session of the user: PAM, logind, XDG_RUNTIME_DIR, session bus.
as() {
    _command "$1\$" "$2" run_as "$1" "$2"
}

# host COMMAND: a command of the administrator.
host() {
    _command 'root#' "$1" bash -c "$1"
}

# on_lan COMMAND: a command on a machine of the LAN, see lan_client.
on_lan() {
    _command 'lan-client$' "$1" run_on_lan "$1"
}

# The same without a prompt, and without any expectation: for conditions and for finding something out.
run_as() {
    runuser --login "$1" --command "$2"
}

run_on_lan() {
    ip netns exec lan bash -c "$1"
}

# address_of USER CONTAINER [4|6]: the address of a running container's interface, as the container sees it.
address_of() {
    run_as "$1" "podman exec $2 ip -o -${3:-4} address show scope global" | awk '{ sub("/.*", "", $4); print $4; exit }'
}

# attachment_of UID: the object paths of what a user's containers are attached as.
attachment_of() {
    local path
    busctl --system tree --list io.rootful_net1 | grep -oE '/io/rootful_net1/attachment/[^/ ]+' | while IFS= read -r path; do
        if [[ $(busctl --system get-property io.rootful_net1 "$path" io.rootful_net1.Attachment Owner) == "u $1" ]]; then
            printf '%s\n' "$path"
        fi
    done || true
}

# lan_client up: a network namespace `lan`, connected to the machine as a neighbour on its LAN would be.
lan_client() {
    [[ $1 == up ]] || _fail "lan_client $1: not known"
    ip netns add lan
    ip link add uplink type veth peer name eth0 netns lan
    ip address add "$HOST4/24" dev uplink
    ip address add "$HOST6/64" dev uplink nodad
    ip link set uplink up
    ip -n lan link set lo up
    ip -n lan address add "$LAN4/24" dev eth0
    ip -n lan address add "$LAN6/64" dev eth0 nodad
    ip -n lan link set eth0 up
    ip -n lan route add default via "$HOST4"
    ip -n lan -6 route add default via "$HOST6"
}

# lan_server PORT: a TCP server on the LAN, IPv4 and IPv6, that answers with the address it is asked from.
lan_server() {
    local family only6=
    for family in 4 6; do
        # shellcheck disable=SC2016 # expanded by socat's shell
        ip netns exec lan socat "TCP$family-LISTEN:$1,fork,reuseaddr$only6" 'SYSTEM:echo $SOCAT_PEERADDR' &>/dev/null &
        only6=,ipv6only=1
    done
    wait_for "[[ \$(ip netns exec lan ss -Hltn sport = $1 | wc -l) == 2 ]]"
}

# examples_for USER FILE...: puts example units where they belong, as they are, and their content into ~/www. The image
# that they name is the machine's own.
examples_for() {
    local user=$1 file dir
    shift
    run_as "$user" 'podman tag localhost/busybox docker.io/library/busybox:latest
        mkdir -p ~/www && echo "hello from the container" >~/www/index.html
        mkdir -p ~/.config/containers/systemd ~/.config/systemd/user'
    for file in "$@"; do
        case $file in
            system/*) dir=/etc/systemd/system ;;
            user/*.service) dir=/home/$user/.config/systemd/user ;;
            user/*) dir=/home/$user/.config/containers/systemd ;;
            *) _fail "example $file: not known" ;;
        esac
        host "install -m 644 /usr/share/doc/rootful-net/examples/$file $dir/"
        _settle
    done
    systemctl daemon-reload
    run_as "$user" 'systemctl --user daemon-reload'
}

# reboot_machine VARIABLE...: reboots. The scenario then runs again from its first line with $MACHINE_BOOT one higher,
# and the variables as they are now: case $MACHINE_BOOT in 1) …; reboot_machine address ;; 2) …; esac
reboot_machine() {
    _reboot 133 reboot "$@"
}

# cut_power VARIABLE...: the same without stopping anything first.
cut_power() {
    _reboot 134 'reboot -ff' "$@"
}

# ---- what a scenario expects

step() {
    _settle
    _step=$((_step + 1))
    printf '%s\n' "$(_in 1 "== $_step. $1")"
}

expect_ok() {
    _unseen=''
    ((status == 0)) || _fail "expected success, got exit code $status"
}

expect_fail() {
    _unseen=''
    ((status == $1)) || _fail "expected exit code $1, got $status"
}

# expect_refusal: any failure at all, where the tool that fails has its own exit codes.
expect_refusal() {
    _unseen=''
    ((status != 0)) || _fail 'expected a refusal, got success'
}

# expect_output REGEX: a line of the output matches the extended regular expression.
expect_output() {
    _settle
    grep -qE -- "$1" <<<"$output" || _fail "expected output that matches: $1"
}

expect_no_output() {
    _settle
    ! grep -qE -- "$1" <<<"$output" || _fail "expected no output that matches: $1"
}

# check DESCRIPTION COMMAND...: a condition that has to hold now.
check() {
    _settle
    local what=$1
    shift
    "$@" >/dev/null 2>&1 || _fail "$what: not so"
    _note "$what"
}

# wait_for CONDITION [SECONDS]: a shell condition that has to hold before the time is over (default: 10 s).
wait_for() {
    _settle
    local deadline=$((SECONDS + ${2:-10}))
    until eval "$1" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || _fail "waited in vain for: $1"
        sleep 0.05
    done
}

# assert_nothing_left: nothing of the product's is in the kernel or in its state.
assert_nothing_left() {
    _settle
    # shellcheck disable=SC2016 # evaluated by wait_for
    wait_for '[[ -z $(_leftovers) ]]'
    _note 'nothing is left in links, nftables and state'
}

skip() {
    printf 'skip: %s\n' "$1"
    exit 77
}

# finish: called when the scenario's last line is done.
finish() {
    _settle
}

# ---- inside

_leftovers() {
    ip -o link | grep -E '^[0-9]+: (rn[0-9a-f]{10}|rootful[^:@]*)[:@]' || true
    nft list tables | grep -E '(inet|bridge) rootful_net$' || true
    find /run/rootful-net/attachments -mindepth 1 2>/dev/null || true
}

_command() {
    local prompt=$1 text=$2
    shift 2
    _settle
    printf '%s %s\n' "$(_in 36 "$prompt")" "$text"
    status=0
    output=$("$@" 2>&1 </dev/null) || status=$?
    [[ -z $output ]] || printf '%s\n' "$output"
    _unseen=$text
}

# `start` reboots when the scenario ends with this exit code.
_reboot() {
    local code=$1
    _settle
    printf '%s systemctl %s\n' "$(_in 36 'root#')" "$2"
    shift 2
    declare -p _step "$@" >/machine/kept
    exit "$code"
}

# Ends the scenario when the last command failed and nobody expected it to.
_settle() {
    if [[ $_unseen ]] && ((status != 0)); then
        _fail "exit code $status from: $_unseen"
    fi
    _unseen=''
}

_fail() {
    printf '%s\n' "$(_in 31 "FAILED: $1")"
    local left
    left=$(_leftovers)
    [[ -z $left ]] || printf 'in the machine now:\n%s\n' "$left"
    exit 1
}

_note() {
    [[ ${MACHINE_DEMO:-} ]] || printf '   (%s)\n' "$1"
}

_in() {
    if [[ ${MACHINE_COLOR:-} ]]; then
        printf '\033[%sm%s\033[0m' "$1" "$2"
    else
        printf '%s' "$2"
    fi
}
