//! What is taken already: by another attachment, by a program of the host, by the container itself.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd as _;

use anyhow::{Result, ensure};
use rootful_net_dbus::DetachOptions;
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::message;

use crate::daemon::{
    ALICE, BOB, Conversation, System, Web, container_of, ensure_nothing_is_left, ensure_refused,
    ensure_seen, ensure_silent, fd, serve,
};

pub(crate) const TESTS: &[Test] = &[
    ("conflicts::port_of_an_own_container_names_it", own_port),
    ("conflicts::port_of_another_user_does_not_name_the_container", others_port),
    ("conflicts::port_of_a_program_of_the_host_is_left_to_it", program_of_the_host),
    ("conflicts::address_in_use_or_leased_is_not_given_twice", taken_address),
    ("conflicts::same_request_again_changes_nothing", same_again),
    ("conflicts::different_request_needs_replace", different_needs_replace),
    ("conflicts::replacing_ports_keeps_connections", replacing_ports),
    ("conflicts::replacing_the_namespace_moves_the_name", replacing_the_namespace),
    ("conflicts::failed_replacement_leaves_the_old", failed_replacement),
    ("conflicts::failed_replacement_that_cannot_be_undone_says_so", impossible_undo),
    ("conflicts::detaching_twice_is_fine", detaching_twice),
    ("conflicts::dry_run_changes_nothing", dry_run),
    ("conflicts::two_users_at_once_both_succeed", two_at_once),
    ("conflicts::link_with_the_bridges_name_is_left_alone", taken_bridge_name),
    ("conflicts::link_with_the_host_links_name_is_left_alone", taken_host_link),
    ("conflicts::table_of_the_name_gives_way_to_ours", foreign_table),
];

fn own_port(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "caddy", "-p 8443:80")?;
    let other = container_of(ALICE)?;
    for publish in ["8443:80", "192.0.2.1:8443:80", "8440-8450:40-50"] {
        let message = message("web", &["rootful0"], &[publish]);
        let attempt = || ALICE.attach(fd(&other)?.as_fd(), &message);
        ensure_refused("Conflict", &["8443/tcp", "container \"caddy\""], attempt)?;
    }
    // Another protocol is another port.
    ALICE.set_up(&other, "web", "-p 8443:80/udp")?;
    system.lan.run(|| {
        rootful_net_tests::traffic::ask_tcp("192.0.2.1:8443".parse()?)?;
        Ok(())
    })
}

fn others_port(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "caddy", "-p 8443:80")?;
    let others = container_of(BOB)?;
    let message = message("web", &["rootful0"], &["8443:80"]);
    let outcome = BOB.attach(fd(&others)?.as_fd(), &message)?;
    ensure!(outcome.is_err_and(|refusal| !refusal.message.contains("caddy")));
    let attempt = || BOB.attach(fd(&others)?.as_fd(), &message);
    ensure_refused("Conflict", &["8443/tcp", "another user"], attempt)
}

fn program_of_the_host(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let _programs = (
        TcpListener::bind("0.0.0.0:8001")?,
        TcpListener::bind("[::]:8002")?,
        TcpListener::bind("127.0.0.1:8003")?,
        UdpSocket::bind("[::1]:8004")?,
    );
    let cases =
        ["8001:80", "192.0.2.1:8001:80", "8002:80", "0.0.0.0:8002:80", "8003:80", "8004:80/udp"];
    for publish in cases {
        let message = message("web", &["rootful0"], &[publish]);
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("Conflict", &["program of the host", "800"], attempt)?;
    }
    // Where the program does not listen there is room.
    ALICE.set_up(&container, "web", "-p 192.0.2.1:8003:80 -p 8001:80/udp -p [::]:8001:80")?;
    Ok(())
}

fn taken_address(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let (alices, bobs, third) = (container_of(ALICE)?, container_of(BOB)?, container_of(ALICE)?);
    let network = "rootful0:ip=10.87.0.9";
    let attachment = ALICE.set_up(&alices, "web", &format!("--network {network}"))?;
    ensure!(attachment.interfaces[0].addresses[0] == "10.87.0.9/16", "{attachment:?}");
    let own = || ALICE.attach(fd(&third)?.as_fd(), &message("other", &[network], &[]));
    let others = || BOB.attach(fd(&bobs)?.as_fd(), &message("web", &[network], &[]));
    ensure_refused("Conflict", &["10.87.0.9", "\"web\""], own)?;
    ensure_refused("Conflict", &["10.87.0.9", "another user"], others)?;
    let mac = &attachment.interfaces[0].mac;
    let same_mac = message("web", &[&format!("rootful0:mac={mac}")], &[]);
    let attempt = || BOB.attach(fd(&bobs)?.as_fd(), &same_mac);
    ensure_refused("Conflict", &[mac, "another user"], attempt)?;
    // Leased, nobody else gets it either, but another name of the user who asks for it.
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    ensure_refused("Conflict", &["10.87.0.9", "another user"], others)?;
    ALICE.set_up(&third, "other", &format!("--network {network}"))?;
    let own = || ALICE.attach(fd(&alices)?.as_fd(), &message("web", &[network], &[]));
    ensure_refused("Conflict", &["10.87.0.9", "\"other\""], own)
}

fn same_again(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let message = message("web", &["rootful0"], &["8080:80", ":81"]);
    let first = ALICE.attach(fd(&container)?.as_fd(), &message)?;
    let Ok((path, true)) = &first else { anyhow::bail!("{first:?}") };
    let before = Footprint::look()?;
    let again = ALICE.attach(fd(&container)?.as_fd(), &message)?;
    ensure!(again == Ok((path.clone(), false)), "{again:?}");
    ensure!(Footprint::look()? == before);
    let arguments = "-p 8080:80 -p :81";
    let printed = ALICE.set_up(&container, "web", arguments)?;
    ensure!(printed == ALICE.set_up(&container, "web", arguments)?);
    ensure!(Footprint::look()? == before);
    Ok(())
}

fn different_needs_replace(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let different = message("web", &["rootful0"], &["8081:80/tcp,udp"]);
    let attempt = || ALICE.attach(fd(&web.container)?.as_fd(), &different);
    ensure_refused("Conflict", &["\"web\"", "--replace"], attempt)?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    ALICE.set_up(&web.container, "web", "-p 8081:80/tcp,udp --replace")?;
    system.lan.run(|| {
        ensure_seen("192.0.2.1:8081", "192.0.2.100")?;
        ensure_silent("192.0.2.1:8080")
    })?;
    // Another address is another interface.
    let arguments = "-p 8081:80/tcp,udp --network rootful0:ip=10.87.0.9 --replace";
    let replaced = ALICE.set_up(&web.container, "web", arguments)?;
    ensure!(replaced.interfaces[0].addresses[0] == "10.87.0.9/16", "{replaced:?}");
    system.lan.run(|| ensure_seen("192.0.2.1:8081", "192.0.2.100"))?;
    web.container.run(|| {
        let shown = run("ip -brief address show dev eth0")?;
        ensure!(!shown.contains(&web.ipv4), "{shown}");
        Ok(())
    })
}

fn replacing_ports(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "-p 8080:7000")?;
    let mut conversation = Conversation::begin(&system, &container, "192.0.2.1:8080")?;
    conversation.go_on()?;
    let links = Footprint::look()?.links;
    ALICE.set_up(&container, "web", "-p 8080:7000 -p 8081:81 --replace")?;
    conversation.go_on()?;
    ALICE.set_up(&container, "web", "-p 8082:82 --replace")?;
    conversation.go_on()?;
    ensure!(Footprint::look()?.links == links);
    Ok(())
}

fn replacing_the_namespace(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let first = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let second = container_of(ALICE)?;
    let message = message("web", &["rootful0"], &["8080:80/tcp,udp"]);
    let attempt = || ALICE.attach(fd(&second)?.as_fd(), &message);
    ensure_refused("Conflict", &["\"web\"", "--replace"], attempt)?;
    let servers = serve(&second, &[80])?;
    let replaced = ALICE.set_up(&second, "web", "-p 8080:80/tcp,udp --replace")?;
    ensure!(replaced.interfaces[0].addresses == first.attachment.interfaces[0].addresses);
    ensure!(first.container.run(|| run("ip -brief link"))?.lines().count() == 1);
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    drop(servers);
    system.lan.run(|| ensure_silent("192.0.2.1:8080"))
}

/// A network without IPv6, and a container on it that new interfaces of have no IPv6.
fn on_ipv4_alone(sandbox: &Sandbox) -> Result<(System, Web)> {
    let system = System::start_with(sandbox, |installation| {
        installation.add_network(
            r#"{"name": "four", "driver": "bridge", "network_interface": "rootful4",
                "subnets": [{"subnet": "10.44.0.0/24"}]}"#,
        )?;
        installation.add_policy(
            "four.toml",
            r#"
            [[grant]]
            users = ["alice"]
            networks = ["four"]
            host_addresses = ["*"]
            ports = { tcp = ["8080"], udp = ["8080"] }
            "#,
        )
    })?;
    let container = container_of(ALICE)?;
    let servers = serve(&container, &[80])?;
    block_default_route(&container, true)?;
    let arguments = "--network four -p 8080:80/tcp,udp";
    let attachment = ALICE.set_up(&container, "web", arguments)?;
    let web =
        Web { _servers: servers, container, ipv4: String::new(), ipv6: String::new(), attachment };
    Ok((system, web))
}

/// Says whether the container's new interfaces have IPv6.
/// Has the container be in the way of a default route of IPv6, or no longer.
fn block_default_route(container: &Container, on: bool) -> Result<()> {
    let action = if on { "append" } else { "delete" };
    container.run(|| run(&format!("ip -6 route {action} blackhole default")))?;
    Ok(())
}

fn failed_replacement(sandbox: &Sandbox) -> Result<()> {
    let (system, web) = on_ipv4_alone(sandbox)?;
    let before = Footprint::look()?;
    // The old interface is unplugged by the time at which the new one cannot get its default route.
    let mut other = message("web", &["rootful0"], &["8080:80/tcp,udp"]);
    other.replace = true;
    let outcome = ALICE.attach(fd(&web.container)?.as_fd(), &other)?;
    ensure!(outcome.is_err(), "{outcome:?}");
    let after = Footprint::look()?;
    ensure!(after.records == before.records && after.ruleset == before.ruleset, "{after:#?}");
    ensure!(after.links.keys().eq(before.links.keys()), "{after:#?}");
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    let shown = ALICE.succeed(&["inspect", "web"])?;
    ensure!(shown.contains("10.44.0."), "{shown}");
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()
}

fn impossible_undo(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    // Neither the new interface nor, after it, the old one can get its default route.
    block_default_route(&web.container, true)?;
    let mut other = message("web", &["rootful0:mac=02:00:00:00:00:09"], &["8080:80/tcp,udp"]);
    other.replace = true;
    let outcome = ALICE.attach(fd(&web.container)?.as_fd(), &other)?;
    let Err(refusal) = outcome else { anyhow::bail!("replaced: {outcome:?}") };
    ensure!(refusal.message.contains("undoing it failed"), "{refusal:?}");
    // What is in the container is not what was recorded: nothing is better.
    ensure_nothing_is_left()?;
    ensure!(Daemon::log()?.contains("neither replaced nor put back"), "{}", Daemon::log()?);
    block_default_route(&web.container, false)?;
    ALICE.set_up(&web.container, "web", "-p 8080:80/tcp,udp")?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))
}

fn detaching_twice(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "")?;
    ensure!(ALICE.detach("web", &DetachOptions::default())? == Ok(true));
    ensure!(ALICE.detach("web", &DetachOptions::default())? == Ok(false));
    ensure!(ALICE.detach_namespace(fd(&container)?.as_fd())? == Ok(false));
    ensure!(ALICE.detach("nosuch", &DetachOptions::default())? == Ok(false));
    ALICE.tear_down("web")?;
    ensure!(ALICE.succeed(&["teardown", "--all"])?.is_empty());
    ensure_nothing_is_left()?;
    ALICE.set_up(&container, "web", "")?;
    ensure!(ALICE.detach_namespace(fd(&container)?.as_fd())? == Ok(true));
    ensure_nothing_is_left()
}

fn dry_run(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let pid = container.pid().to_string();
    let before = Footprint::look()?;
    let arguments = ["setup", "--pid", &pid, "--name", "web", "-p", "8080:80", "--dry-run"];
    let plan = ALICE.succeed(&arguments)?;
    ensure!(plan.contains("create bridge rootful0") && plan.contains("create veth rn"), "{plan}");
    ensure!(Footprint::look()? == before);
    ALICE.set_up(&container, "web", "-p 8080:80")?;
    ensure!(ALICE.succeed(&arguments)? == "nothing to do\n");
    Ok(())
}

fn two_at_once(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let users = [ALICE, BOB, ALICE, BOB];
    let containers = users.iter().map(|user| container_of(*user)).collect::<Result<Vec<_>>>()?;
    let attachments = std::thread::scope(|scope| {
        let threads: Vec<_> = users
            .into_iter()
            .zip(&containers)
            .zip(["one", "one", "two", "two"])
            .map(|((user, container), name)| {
                scope.spawn(move || user.set_up(container, name, "-p :80"))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let distinct = |of: fn(&rootful_net_dbus::AttachmentProperties) -> String| {
        attachments.iter().map(of).collect::<std::collections::BTreeSet<_>>().len()
    };
    ensure!(distinct(|attachment| attachment.interfaces[0].addresses[0].clone()) == 4);
    ensure!(distinct(|attachment| attachment.interfaces[0].addresses[1].clone()) == 4);
    ensure!(distinct(|attachment| attachment.interfaces[0].mac.clone()) == 4);
    ensure!(distinct(|attachment| attachment.ports[0].host_port.to_string()) == 4);
    Ok(())
}

fn taken_bridge_name(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    // Not even a bridge: it is not ours.
    for kind in ["veth peer name other", "bridge"] {
        run(&format!("ip link add rootful0 type {kind}"))?;
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message("web", &["rootful0"], &[]));
        ensure_refused("Conflict", &["rootful0", "did not make"], attempt)?;
        run("ip link delete rootful0")?;
    }
    ALICE.set_up(&container, "web", "").map(|_| ())
}

fn taken_host_link(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let host_link = ALICE.set_up(&container, "web", "")?.interfaces[0].host_link.clone();
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    run(&format!("ip link add {host_link} type bridge"))?;
    let before = Footprint::look()?;
    let outcome =
        ALICE.attach(fd(&container)?.as_fd(), &message("web", &["rootful0"], &["8080:80"]))?;
    let Err(refusal) = outcome else { anyhow::bail!("attached: {outcome:?}") };
    ensure!(refusal.message.contains(&host_link), "{refusal:?}");
    ensure!(Footprint::look()? == before, "{:#?}", Footprint::look()?);
    Ok(())
}

fn foreign_table(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    run("nft add table inet rootful_net")?;
    run("nft add table bridge rootful_net")?;
    run("nft add chain inet rootful_net mine")?;
    ALICE.set_up(&container, "web", "-p 8080:80")?;
    let ruleset = run("nft list ruleset")?;
    ensure!(!ruleset.contains("chain mine"), "{ruleset}");
    ensure!(ruleset.contains("tcp . 8080"), "{ruleset}");
    Ok(())
}
