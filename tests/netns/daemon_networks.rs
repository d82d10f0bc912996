//! Networks of the administrator's, at work and where they cannot be.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::installation::Installation;
use rootful_net_tests::lan::Lan;
use rootful_net_tests::namespace::{run, run_json};
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::Server;
use rootful_net_tests::user::message;

use crate::daemon::{
    ALICE, BOB, MALLORY, System, container_of, ensure_nothing_is_left, ensure_refused, ensure_seen,
    ensure_silent, fd, seen_by, serve,
};

pub(crate) const TESTS: &[Test] = &[
    ("networks::two_interfaces_have_one_default_route", two_interfaces),
    ("networks::mtu_is_that_of_bridge_and_interface", mtu),
    ("networks::internal_one_reaches_nothing_outside", internal),
    ("networks::port_is_published_from_the_network_that_is_not_internal", beside_internal),
    ("networks::isolated_ones_are_out_of_each_others_reach", isolated),
    ("networks::subnet_that_the_host_routes_is_a_conflict", routed_subnet),
    ("networks::default_one_avoids_what_the_host_routes", default_avoids_routes),
    ("networks::wrong_definition_leaves_out_that_network_alone", wrong_definition),
    ("networks::host_forwards_once_needed_and_stays_so", forwarding_stays),
];

const GRANT: &str = r#"
    [[grant]]
    users = ["alice", "bob"]
    networks = ["*"]
    host_addresses = ["*"]
    ports = { tcp = ["1-65535"], udp = ["1-65535"] }
"#;

/// A dual-stack network with `10.NUMBER.0.0/24` and further fields.
fn add(installation: &Installation, name: &str, number: u8, fields: &str) -> Result<()> {
    installation.add_policy("networks.toml", GRANT)?;
    installation.add_network(&format!(
        r#"{{"name": "{name}", "driver": "bridge", "network_interface": "rootful{number}",
            "subnets": [{{"subnet": "10.{number}.0.0/24"}}, {{"subnet": "fd00:{number}::/64"}}],
            "ipv6_enabled": true{fields}}}"#
    ))
}

fn two_interfaces(sandbox: &Sandbox) -> Result<()> {
    let system = System::start_with(sandbox, |installation| add(installation, "back", 99, ""))?;
    let container = container_of(ALICE)?;
    let _servers = serve(&container, &[80])?;
    let arguments = "--network rootful0 --network back:interface_name=db0 -p 8080:80/tcp,udp";
    let attachment = ALICE.set_up(&container, "web", arguments)?;
    let names: Vec<_> = attachment.interfaces.iter().map(|own| own.name.as_str()).collect();
    ensure!(names == ["eth0", "db0"], "{attachment:?}");
    container.run(|| {
        for family in ["-4", "-6"] {
            let routes = run_json(&format!("ip -json {family} route show default"))?;
            let routes = routes.as_array().context("a list")?;
            ensure!(routes.len() == 1 && routes[0]["dev"] == "eth0", "{routes:?}");
        }
        Ok(())
    })?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    let neighbour = container_of(BOB)?;
    BOB.set_up(&neighbour, "db", "--network back")?;
    let back = attachment.interfaces[1].addresses[0].trim_end_matches("/24").to_owned();
    neighbour.run(|| seen_by(&format!("{back}:80")))?;
    ALICE.tear_down("web")?;
    let shown = container.run(|| run("ip -brief link"))?;
    rootful_net_tests::deadline::eventually(crate::daemon::DEADLINE, || {
        let shown = container.run(|| run("ip -brief link"))?;
        ensure!(shown.lines().count() == 1, "{shown}");
        Ok(())
    })
    .context(shown)
}

fn mtu(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        add(installation, "small", 99, r#", "options": {"mtu": "1400"}"#)
    })?;
    let container = container_of(ALICE)?;
    let attachment = ALICE.set_up(&container, "web", "--network small")?;
    let mtu_of = |link: &str| Ok(run_json(&format!("ip -json link show {link}"))?[0]["mtu"].take());
    ensure!(mtu_of("rootful99")? == 1400);
    ensure!(mtu_of(&attachment.interfaces[0].host_link)? == 1400);
    ensure!(container.run(|| mtu_of("eth0"))? == 1400);
    // Others keep theirs.
    let other = container_of(ALICE)?;
    ALICE.set_up(&other, "other", "")?;
    ensure!(mtu_of("rootful0")? == 1500);
    Ok(())
}

fn internal(sandbox: &Sandbox) -> Result<()> {
    let system = System::start_with(sandbox, |installation| {
        add(installation, "inner", 99, r#", "internal": true"#)
    })?;
    let (first, second) = (container_of(ALICE)?, container_of(BOB)?);
    let _servers = serve(&first, &[80])?;
    let published = message("web", &["inner"], &["8080:80"]);
    let attempt = || ALICE.attach(fd(&first)?.as_fd(), &published);
    ensure_refused("InvalidArgument", &["80/tcp", "internal"], attempt)?;
    let attachment = ALICE.set_up(&first, "web", "--network inner")?;
    BOB.set_up(&second, "web", "--network inner")?;
    let [ipv4, ipv6] = crate::daemon::addresses(&attachment)?;
    second.run(|| {
        seen_by(&format!("{ipv4}:80"))?;
        seen_by(&format!("[{ipv6}]:80")).map(|_| ())
    })?;
    let _lan_server = system.lan.run(|| Server::tcp("[::]:7777".parse()?))?;
    first.run(|| {
        // Not even with a route that its root adds.
        ensure!(run("ip route show default")?.is_empty());
        run("ip route add default via 10.99.0.1")?;
        run("ip route add default via fd00:99::1")?;
        ensure_silent("192.0.2.100:7777")?;
        ensure_silent("[2001:db8:1::100]:7777")
    })?;
    system.lan.run(|| ensure_silent(&format!("{ipv4}:80")))
}

fn beside_internal(sandbox: &Sandbox) -> Result<()> {
    let system = System::start_with(sandbox, |installation| {
        add(installation, "inner", 99, r#", "internal": true"#)
    })?;
    let container = container_of(ALICE)?;
    let _servers = serve(&container, &[80])?;
    ALICE.set_up(&container, "web", "--network inner --network rootful0 -p 8080:80/tcp,udp")?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    let _servers = system.lan.run(|| {
        let address = "192.0.2.100:7777".parse()?;
        Ok((Server::tcp(address)?, Server::udp(address)?))
    })?;
    container.run(|| ensure_seen("192.0.2.100:7777", &Lan::HOST_IPV4.to_string()))
}

fn isolated(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        add(installation, "one", 98, r#", "options": {"isolate": "true"}"#)?;
        add(installation, "two", 99, r#", "options": {"isolate": "true"}"#)
    })?;
    let (one, two, open) = (container_of(ALICE)?, container_of(BOB)?, container_of(BOB)?);
    let _servers = (serve(&one, &[80])?, serve(&open, &[80])?);
    let ones = ALICE.set_up(&one, "one", "--network one")?;
    BOB.set_up(&two, "two", "--network two")?;
    let opens = BOB.set_up(&open, "open", "")?;
    let [ones, opens] = [crate::daemon::addresses(&ones)?, crate::daemon::addresses(&opens)?];
    two.run(|| {
        ensure_silent(&format!("{}:80", ones[0]))?;
        ensure_silent(&format!("[{}]:80", ones[1]))?;
        seen_by(&format!("{}:80", opens[0])).map(|_| ())
    })
}

fn routed_subnet(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        installation.add_policy("networks.toml", GRANT)?;
        installation.add_network(
            r#"{"name": "clash", "driver": "bridge", "network_interface": "rootful1",
                "subnets": [{"subnet": "192.0.2.0/25"}]}"#,
        )
    })?;
    let container = container_of(ALICE)?;
    for networks in [&["clash"][..], &["rootful0", "clash"][..]] {
        let message = message("web", networks, &[]);
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("Conflict", &["192.0.2.0/25", "192.0.2.0/24", "lan0"], attempt)?;
    }
    ensure_nothing_is_left()
}

fn default_avoids_routes(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |_| {
        run("ip route add 10.87.4.0/24 via 192.0.2.100")?;
        run("ip route add 10.88.0.0/15 via 192.0.2.100").map(|_| ())
    })?;
    let container = container_of(ALICE)?;
    let attachment = ALICE.set_up(&container, "web", "")?;
    let address = &attachment.interfaces[0].addresses[0];
    ensure!(address.starts_with("10.90.") && address.ends_with("/16"), "{address}");
    Ok(())
}

fn wrong_definition(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation| {
        add(installation, "wrong", 99, r#", "options": {"colour": "red"}"#)?;
        add(installation, "right", 98, "")
    })?;
    let log = Daemon::log()?;
    ensure!(log.contains("wrong.json") && log.contains("colour"), "{log}");
    let container = container_of(ALICE)?;
    let message = message("web", &["wrong"], &[]);
    let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
    ensure_refused("NotFound", &["wrong"], attempt)?;
    ALICE.set_up(&container, "web", "--network right")?;
    let listed = MALLORY.succeed(&["network", "ls"])?;
    ensure!(listed.contains("right") && !listed.contains("wrong"), "{listed}");
    Ok(())
}

fn forwarding_stays(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let paths = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];
    let read = |path| std::fs::read_to_string(path);
    for path in paths {
        ensure!(read(path)? == "0\n", "{path}");
    }
    // The host takes router advertisements here; forwarding must not end that.
    let accept_ra = "/proc/sys/net/ipv6/conf/lan0/accept_ra";
    ensure!(read(accept_ra)? == "1\n");
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "")?;
    for path in paths {
        ensure!(read(path)? == "1\n", "{path}");
    }
    ensure!(read(accept_ra)? == "2\n");
    ensure!(read("/proc/sys/net/ipv6/conf/rootful0/accept_ra")? == "0\n");
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    for path in paths {
        ensure!(read(path)? == "1\n", "{path}");
    }
    Ok(())
}
