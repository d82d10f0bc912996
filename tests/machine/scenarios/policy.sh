# The policy with a real polkit: grants that ask it, rules that answer, what is shown of it, and reloads.

bridge() {
    host "cat >/etc/rootful-net/networks/$1.json <<END
{ \"name\": \"$1\", \"driver\": \"bridge\", \"network_interface\": \"$1\",
  \"subnets\": [ { \"subnet\": \"$2\" } ] }
END"
}

for user in alice bob mallory; do
    as $user 'podman create --network=none --name web busybox httpd -f -p 80 -h /srv'
done
host 'mkdir -p /etc/rootful-net/networks /etc/rootful-net/policy.d /etc/polkit-1/rules.d'
bridge guarded 10.95.0.0/24
host 'cat >/etc/rootful-net/policy.d/60-guarded.toml <<END
[[grant]]
users = ["alice", "bob"]
networks = ["guarded"]
host_addresses = ["*"]
ports = { tcp = ["1-1023"] }
authorize = "polkit"
END'

step "what is in force is what is shown"
as alice 'rootful-net policy show'
expect_output '50-default.toml, grant 1'
expect_output 'authorize: polkit'
as mallory 'rootful-net policy show'
expect_output 'nothing is granted'
as alice 'rootful-net policy check -p 8080:80'
expect_output '^granted +port 8080/tcp .*50-default.toml, grant 1'
as alice 'rootful-net policy check -p 80:80'
expect_fail 3
expect_output '^denied +port 80/tcp'
as alice 'rootful-net policy check --network guarded -p 80:80'
expect_output '^polkit +port 80/tcp .*60-guarded.toml, grant 1'
as alice 'rootful-net policy check --user bob'
expect_fail 3
expect_output 'only root'
host 'rootful-net policy check --user bob --network guarded --format json | jq -e .allowed'
host 'rootful-net policy check --user mallory'
expect_fail 3

step "polkit knows the actions"
host 'pkaction --verbose --action-id io.rootful-net.attach'
expect_output 'implicit active: +auth_admin_keep'
host 'pkaction --verbose --action-id io.rootful-net.manage'

step "a grant that asks polkit is a denial without its consent"
as alice 'rootful-net setup web --network guarded -p 80:80'
expect_fail 3
expect_output 'polkit'
assert_nothing_left

step "a rule of polkit's lets alice, and not bob, and looks at the details"
host 'cat >/etc/polkit-1/rules.d/10-test.rules <<END
polkit.addRule(function (action, subject) {
    if (action.id == "io.rootful-net.attach") {
        var asked = action.lookup("container") + " " + action.lookup("network") + " " + action.lookup("ports");
        return subject.user == "alice" && asked == "web guarded *:80/tcp" ? polkit.Result.YES : polkit.Result.NO;
    }
    return polkit.Result.NOT_HANDLED;
});
END'
wait_for "run_as alice 'rootful-net setup web --network guarded -p 80:80'"
as bob 'rootful-net setup web --network guarded -p 81:80'
expect_fail 3
expect_output 'polkit does not allow io.rootful-net.attach'
as alice 'rootful-net setup web --network guarded -p 80:80,81:81 --replace'
expect_refusal
as alice 'rootful-net setup web --network guarded -p 80:80 -p 81:81 --replace'
expect_fail 3
as mallory 'rootful-net setup web --network guarded -p 82:80'
expect_fail 3
expect_output 'may not use network'
as alice 'rootful-net teardown web'
assert_nothing_left

step "a policy that changes while polkit is asked is decided on anew"
host 'cat >/usr/local/bin/slow-rule <<END
#!/bin/sh
until [ -e /run/polkit-may-answer ]; do sleep 0.05; done
END
chmod 755 /usr/local/bin/slow-rule
cat >/etc/polkit-1/rules.d/05-slow.rules <<END
polkit.addRule(function (action, subject) {
    if (action.id == "io.rootful-net.attach") {
        polkit.spawn(["/usr/local/bin/slow-rule"]);
    }
    return polkit.Result.NOT_HANDLED;
});
END'
ask() {
    rm -f /run/polkit-may-answer
    run_as alice 'rootful-net setup web --network guarded -p 80:80' >/run/answer 2>&1 &
    asking=$!
    wait_for 'pgrep -f ^/bin/sh./usr/local/bin/slow-rule'
}
# polkit reads its rules when it notices.
wait_for 'ask && kill -0 $asking'
host 'systemctl reload rootful-netd.service && touch /run/polkit-may-answer'
wait "$asking" && code=0 || code=$?
check 'alice is told to try again' test "$code" = 6
host 'cat /run/answer'
expect_output 'the policy changed while polkit was asked'
ask
host 'sed -i s/alice/nobody/ /etc/rootful-net/policy.d/60-guarded.toml && systemctl reload rootful-netd.service'
host 'touch /run/polkit-may-answer'
wait "$asking" && code=0 || code=$?
check 'polkit cannot consent to what is not granted any more' test "$code" = 6
as alice 'rootful-net setup web --network guarded -p 80:80'
expect_fail 3
host 'sed -i s/nobody/alice/ /etc/rootful-net/policy.d/60-guarded.toml && systemctl reload rootful-netd.service'
host 'rm /etc/polkit-1/rules.d/05-slow.rules'
assert_nothing_left

step "what a plain grant covers does not ask polkit"
as bob 'rootful-net setup web --network rootful0 -p 8080:80'

step "others' containers need polkit, too"
detach_bobs='busctl call io.rootful_net1 /io/rootful_net1 io.rootful_net1.Manager Detach "sa{sv}" web 1 owner u $(id -u bob)'
as alice "$detach_bobs"
expect_refusal
expect_output 'may not detach'
host 'cat >/etc/polkit-1/rules.d/11-test.rules <<END
polkit.addRule(function (action, subject) {
    if (action.id == "io.rootful-net.manage" && subject.user == "alice" && action.lookup("owner") != "0") {
        return polkit.Result.YES;
    }
    return polkit.Result.NOT_HANDLED;
});
END'
as mallory "$detach_bobs"
expect_refusal
wait_for "run_as alice '$detach_bobs' | grep true"
assert_nothing_left

step "and so do networks"
as mallory 'rootful-net network create lab'
expect_fail 3
expect_output 'may not create a network'
as alice 'rootful-net network create lab --subnet 10.96.0.0/24'
expect_output '^lab$'
host 'test -e /var/lib/rootful-net/networks/lab.json'
as mallory 'rootful-net network rm lab'
expect_fail 3
expect_output 'may not remove a network'
as alice 'rootful-net network rm lab'
expect_output '^lab$'
host '! test -e /var/lib/rootful-net/networks/lab.json'

step "a reload with a bad file fails, and keeps the old policy"
as alice 'rootful-net setup web --network rootful0 -p 8080:80'
host 'echo "colour = 1" >/etc/rootful-net/policy.d/70-bad.toml'
host 'systemctl reload rootful-netd.service'
expect_refusal
host 'journalctl --no-pager -u rootful-netd.service | grep 70-bad.toml'
expect_output '70-bad.toml: line 1: unknown field'
as bob 'rootful-net setup web --network rootful0 -p 8081:80'
as bob 'rootful-net teardown web'

step "and at a start it grants nothing, and takes nothing away"
host 'systemctl restart rootful-netd.service'
as bob 'rootful-net setup web --network rootful0 -p 8081:80'
expect_fail 6
expect_output 'no policy is in force'
as alice 'rootful-net ps'
expect_output '^web '
host 'rootful-net policy show'
expect_output 'no policy is in force.*70-bad.toml: line 1'
host 'rm /etc/rootful-net/policy.d/70-bad.toml && systemctl reload rootful-netd.service'
as bob 'rootful-net setup web --network rootful0 -p 8081:80'
host 'chmod 0666 /etc/rootful-net/policy.d/60-guarded.toml; systemctl kill --signal=HUP rootful-netd.service'
wait_for 'journalctl --no-pager -o verbose -u rootful-netd.service | grep "60-guarded.toml is refused"'
host 'systemctl is-active rootful-netd.service'
host 'chmod 0644 /etc/rootful-net/policy.d/60-guarded.toml'

step "every decision is a record with its fields"
host 'journalctl --no-pager -u rootful-netd.service -o json F_ACTION=attach |
    jq -c "[.F_UID, .F_CONTAINER, .F_NETWORKS, .F_PORTS, .F_OUTCOME, .F_GRANT]"'
default_grant=/usr/share/rootful-net/policy.d/50-default.toml guarded_grant=/etc/rootful-net/policy.d/60-guarded.toml
# recorded USER NETWORK PORTS OUTCOME GRANT: there is such a record.
recorded() {
    expect_output "^\\[\"$(id -u "$1")\",\"web\",\"$2\",\"$3\",\"$4\",\"$5\"\\]\$"
}
recorded alice rootful0 8080:80 granted "$default_grant, grant 1"
recorded alice guarded 80:80 granted "$guarded_grant, grant 1"
recorded bob guarded 81:80 denied "$guarded_grant, grant 1"
recorded mallory guarded 82:80 denied ''

step "without polkit such a grant is a denial, at once"
host 'systemctl mask --runtime --now polkit.service'
as alice 'timeout 20 rootful-net setup web --network guarded -p 80:80 --replace'
expect_fail 3
expect_output 'polkit does not answer'
host 'systemctl unmask polkit.service'
as alice 'rootful-net teardown web'
as bob 'rootful-net teardown web'
assert_nothing_left
