# Two units of alice's, as behind a proxy: one stops and starts, and nobody who talks to the other notices.

examples_for alice user/web.container user/blog.service
lan_client up

as alice 'systemctl --user start web blog'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8080/"'
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8082/"'
address=$(address_of alice web)
record=$(run_as alice 'rootful-net inspect web')

step "somebody asks web all the time, and holds one connection open"
as alice 'podman exec --detach web nc -ll -p 7 -e cat'
wait_for "run_as alice 'podman exec web netstat -ltn' | grep -q ':7 '"
cat >/run/ask <<'END'
while [[ ! -e /run/asked-enough ]]; do
    if curl -fsS -m 2 -o /dev/null http://192.0.2.1:8080/; then echo answered; else echo failed; fi
done >/run/answers 2>&1
END
run_on_lan 'bash /run/ask' &
asking=$!
exec {connection}<>"/dev/tcp/$address/7"
say() {
    local answer
    echo "$1" >&"$connection" && read -r -t 2 -u "$connection" answer && [[ $answer == "$1" ]]
}
wait_for 'grep -q answered /run/answers'
wait_for 'say before'

step "blog stops and starts, ten times"
for i in {1..10}; do
    host 'systemctl --user --machine=alice@ stop blog'
    check 'web answers on the connection' say "stopped-$i"
    on_lan 'curl -sS -m 1 http://192.0.2.1:8082/'
    expect_fail 7
    host 'systemctl --user --machine=alice@ start blog'
    check 'web answers on the connection' say "started-$i"
done
wait_for 'run_on_lan "curl -fsS -m 1 http://192.0.2.1:8082/"'

step "web has answered every time, and is as it was"
touch /run/asked-enough
wait "$asking"
host 'sort /run/answers | uniq -c'
expect_output '[0-9]{2,} answered$'
expect_no_output 'failed|curl'
check 'its attachment is the same' test "$(run_as alice 'rootful-net inspect web')" = "$record"
exec {connection}>&-
as alice 'systemctl --user stop web blog'
assert_nothing_left
