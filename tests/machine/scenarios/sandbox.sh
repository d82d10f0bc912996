# What a daemon that was taken over could still reach: the exposure that systemd computes, what the kernel says of the
# process, what there is of the file system; and that containers are attached in spite of it.

# exposed_at_most LIMIT UNIT: the number that systemd gives the unit, from 0 (nothing) to 10.
exposed_at_most() {
    local found
    found=$(systemd-analyze security --no-pager "$2" | sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p')
    awk -v found="$found" -v limit="$1" 'BEGIN { exit !(found != "" && found <= limit) }'
}

# in_status FIELD VALUE [PID]: what the kernel says of the daemon, or of another process.
in_status() {
    [[ $(awk -v field="$1:" '$1 == field { print $2 }' "/proc/${3:-$daemon}/status") == "$2" ]]
}

# The daemon's view of a path, as root outside sees it.
view() {
    printf '/proc/%s/root%s\n' "$daemon" "$1"
}

is_absent() {
    [[ ! -e $(view "$1") ]]
}

# Nothing is behind it, and without CAP_DAC_OVERRIDE nobody gets even that far.
is_masked() {
    [[ ! -e $(view "$1") || $(stat --format=%a "$(view "$1")") == 0 ]]
}

# What can be written, apart from devices: mount points without the option ro.
writable_mounts() {
    awk '$6 !~ /(^|,)ro(,|$)/ && $5 !~ "^/dev" { print $5 }' "/proc/$daemon/mountinfo" | LC_ALL=C sort | paste -sd' '
}

# Where there can be programs, or libraries, that are run. Single sockets below /run, and what systemd shows of the host's
# os-release, are mount points as well.
executable_mounts() {
    awk '$6 !~ /(^|,)noexec(,|$)/ && $5 !~ "^/(dev|run/systemd|run/host)/" { print $5 }' "/proc/$daemon/mountinfo" | LC_ALL=C sort | paste -sd' '
}

# is_filtered CALL...: none of them is on the service's list.
is_filtered() {
    local allowed
    allowed=" $(systemctl show --property SystemCallFilter --value rootful-netd.service) "
    [[ $allowed == *' setns '* ]] || return 1
    for call; do
        [[ $allowed != *" $call "* ]] || return 1
    done
}

cannot_run() {
    ! nsenter --target "$daemon" --mount -- "$1"
}

step "alice attaches a container"
as alice 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'
as alice 'rootful-net setup web --network rootful0 --publish 8080:80'
as alice 'podman start web'
wait_for 'curl -fsS -m 1 http://127.0.0.1:8080/'
daemon=$(systemctl show --property MainPID --value rootful-netd.service)

step "the exposure of the units is small"
host 'systemd-analyze security --no-pager rootful-netd.service | tail -n 1'
check 'rootful-netd.service has 2.0 or less' exposed_at_most 2.0 rootful-netd.service
check 'rootful-net-dns.service has 1.5 or less' exposed_at_most 1.5 rootful-net-dns.service

step "the process has three capabilities, gets no others, and calls what it may call"
host "grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/$daemon/status"
# CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_SYS_ADMIN 21.
check 'the bounding set is these three' in_status CapBnd 0000000000201400
check 'no more than these are in use' in_status CapEff 0000000000201400
check 'none is ambient' in_status CapAmb 0000000000000000
check 'a program that is run gains nothing' in_status NoNewPrivs 1
check 'system calls are filtered' in_status Seccomp 2
check 'no call that makes more of CAP_SYS_ADMIN passes' is_filtered mount umount2 move_mount fsopen open_tree pivot_root chroot \
    unshare bpf perf_event_open ptrace process_vm_writev kexec_load init_module finit_module swapon quotactl sethostname \
    iopl ioperm setuid setresuid capset keyctl userfaultfd io_uring_setup open_by_handle_at mknod mknodat accept4
check 'other programs are not run' cannot_run /usr/bin/true
check 'memory, tasks and descriptors are limited, and there are no core dumps' \
    test "$(systemctl show --property MemoryMax,TasksMax,LimitNOFILE,LimitCORE --value rootful-netd.service | sort -n | paste -sd' ')" \
    = '0 256 131072 1073741824'

step "the name server is a user of its own and may do one thing that users may not"
wait_for 'systemctl is-active rootful-net-dns.service'
names=$(systemctl show --property MainPID --value rootful-net-dns.service)
check 'it is aardvark-dns that runs' test "$(basename "$(readlink "/proc/$names/exe")")" = aardvark-dns
host "ps -o user=,uid=,args= -p $names"
host "grep -E '^(Uid|Cap.*|NoNewPrivs|Seccomp):' /proc/$names/status"
# A dynamic user's, systemd.exec(5), in each of real, effective, saved and file system uid.
check 'its user is nobody else' test \
    "$(awk '$1 == "Uid:" && $2 >= 61184 && $2 <= 65519 && $2 == $3 && $3 == $4 && $4 == $5 { print "own" }' "/proc/$names/status")" = own
for set in CapBnd CapEff CapPrm CapInh CapAmb; do
    check "$set is CAP_NET_BIND_SERVICE" in_status "$set" 0000000000000400 "$names"
done
check 'a program that it runs gains nothing' in_status NoNewPrivs 1 "$names"
check 'its system calls are filtered' in_status Seccomp 2 "$names"

step "its file system has nothing but its own"
for path in /proc/sys /proc/cmdline /home/alice /home/bob /srv /boot /opt /mnt /var/log /var/lib/containers /run/user/1000 /run/podman /sys/kernel \
    /run/systemd/private /run/systemd/system /var/lib/systemd; do
    check "there is no $path" is_absent "$path"
done
for path in /home /root /etc/shadow /etc/gshadow /etc/ssh; do
    check "$path cannot be looked into" is_masked "$path"
done
check 'only its own state and parameters of the network can be written' \
    test "$(writable_mounts)" = '/proc /run/rootful-net /sysctl/net /tmp /var/lib/rootful-net /var/tmp'
check 'only libraries, the daemon itself and what reloads it can be run' \
    test "$(executable_mounts)" = '/lib /lib64 /usr/bin/busctl /usr/lib /usr/lib64 /usr/libexec/rootful-net/rootful-netd'

step "published ports are kept from other programs, also those below 1024"
as alice 'podman create --network=none --name dns busybox httpd -f -p 53 -h /srv'
host "rootful-net setup --pid $(run_as alice 'podman init dns >/dev/null && podman inspect --format {{.State.Pid}} dns') \
    --name dns --network rootful0 --publish 192.0.2.1:53:53/tcp,udp"
for socket in TCP-LISTEN:8080 TCP-LISTEN:8080,reuseaddr,reuseport UDP-RECV:53; do
    host "timeout 5 socat -u $socket STDOUT"
    expect_fail 1
    expect_output 'Address already in use'
done
check 'no parameter of the host was changed for that' \
    test "$(sysctl --values net.ipv4.ip_unprivileged_port_start net.ipv4.ip_local_reserved_ports | paste -sd' ')" = '1024 '
as alice 'rootful-net teardown dns'

step "a new member of the group is seen at once"
as mallory 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'
as mallory 'rootful-net setup web --network rootful0'
expect_fail 3
host 'usermod -aG rootful-net mallory'
as mallory 'rootful-net setup web --network rootful0'

step "it can be reloaded, and a restarted service goes on where it was"
host 'systemctl reload rootful-netd.service'
host 'systemctl restart rootful-netd.service'
as alice 'rootful-net ps'
expect_output '^web .*8080->80/tcp'
host 'curl -fsS http://127.0.0.1:8080/'
expect_output '^hello from the container$'
check 'nothing was refused to it' bash -c '! journalctl --unit rootful-netd.service --grep "Operation not permitted|Permission denied"'

as alice 'rootful-net teardown web'
as mallory 'rootful-net teardown web'
assert_nothing_left

step "the key can be a credential of systemd's"
host 'mkdir -p /etc/systemd/system/rootful-netd.service.d && cat >/etc/systemd/system/rootful-netd.service.d/key.conf <<END
[Service]
SetCredential=address-key:0123456789abcdef0123456789abcdef
END'
host 'rm /var/lib/rootful-net/address.key && systemctl daemon-reload && systemctl restart rootful-netd.service'
as alice 'rootful-net setup web --network rootful0'
check 'no other key was made' test ! -e /var/lib/rootful-net/address.key
as alice 'rootful-net teardown web'
assert_nothing_left
