//! What outlives a teardown, the daemon, a crash, a reboot; and what must not outlive a container.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::sealed;

use crate::daemon::{
    ALICE, BOB, Conversation, DEADLINE, System, Web, addresses, container_of,
    ensure_nothing_is_left, ensure_seen, ensure_silent,
};

pub(crate) const TESTS: &[Test] = &[
    ("persistence::address_stays_after_teardown_restart_and_reboot", address_stays),
    ("persistence::address_is_the_same_without_its_lease", address_without_lease),
    ("persistence::attachments_outlive_the_daemon", attachments_outlive_the_daemon),
    ("persistence::attachments_outlive_a_killed_daemon", attachments_outlive_a_kill),
    ("persistence::dead_containers_are_released_at_start", dead_are_released_at_start),
    ("persistence::dead_container_is_released_at_once", dead_is_released),
    ("persistence::last_attachment_takes_bridge_and_table_along", last_attachment),
    ("persistence::damaged_record_is_set_aside", damaged_record),
    ("persistence::unfinished_attachment_is_undone_at_start", unfinished_attachment),
    ("persistence::lost_ruleset_is_made_anew_at_start", lost_ruleset),
    ("persistence::edited_network_is_what_it_was_until_its_last_container_is_gone", edited_network),
    (
        "persistence::removed_network_is_what_it_was_until_its_last_container_is_gone",
        removed_network,
    ),
    ("persistence::secrets_and_records_are_roots_alone", files_are_roots),
];

fn address_stays(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let first = ALICE.set_up(&container, "web", "-p :80")?;
    let again = |occasion: &'static str| -> Result<()> {
        let again = ALICE.set_up(&container, "web", "-p :80")?;
        ensure!(again == first, "{occasion}: {again:#?} after {first:#?}");
        ALICE.tear_down("web")?;
        ensure_nothing_is_left()
    };
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    again("teardown")?;
    system.end(Daemon::stop)?;
    system.start_again()?;
    again("restart")?;
    system.end(Daemon::stop)?;
    fs::remove_dir_all("/run/rootful-net")?;
    system.start_again()?;
    again("reboot")
}

fn address_without_lease(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let first = ALICE.set_up(&container, "web", "")?;
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    system.end(Daemon::stop)?;
    fs::remove_file("/var/lib/rootful-net/leases.json")?;
    system.start_again()?;
    // A lease that is in the way, and a name that comes earlier, change nothing.
    let other = container_of(ALICE)?;
    ALICE.set_up(&other, "other", "")?;
    ensure!(ALICE.set_up(&container, "web", "")? == first);
    Ok(())
}

fn attachments_outlive(sandbox: &Sandbox, end: fn(Daemon) -> Result<()>) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp -p 7000:7000")?;
    let mut conversation = Conversation::begin(&system, &web.container, "192.0.2.1:7000")?;
    conversation.go_on()?;
    let before = Footprint::look()?;
    system.end(end)?;
    conversation.go_on()?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    system.start_again()?;
    conversation.go_on()?;
    ensure!(Footprint::look()? == before, "{before:#?} became {:#?}", Footprint::look()?);
    system.lan.run(|| ensure_seen("[2001:db8:1::1]:8080", "2001:db8:1::100"))?;
    let shown = ALICE.set_up(&web.container, "web", "-p 8080:80/tcp,udp -p 7000:7000")?;
    ensure!(shown == web.attachment, "{shown:#?}");
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()
}

fn attachments_outlive_the_daemon(sandbox: &Sandbox) -> Result<()> {
    attachments_outlive(sandbox, Daemon::stop)
}

fn attachments_outlive_a_kill(sandbox: &Sandbox) -> Result<()> {
    attachments_outlive(sandbox, Daemon::kill)
}

fn dead_are_released_at_start(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let dying = container_of(ALICE)?;
    let link = ALICE.set_up(&dying, "dying", "-p 8081:80")?.interfaces[0].host_link.clone();
    let web = Web::set_up(BOB, "web", "-p 8080:80/tcp,udp")?;
    system.end(Daemon::kill)?;
    dying.kill()?;
    eventually(DEADLINE, || {
        ensure!(!Footprint::look()?.links.contains_key(&link), "{link} is still there");
        Ok(())
    })?;
    system.start_again()?;
    let footprint = Footprint::look()?;
    ensure!(footprint.records.len() == 1, "{footprint:#?}");
    ensure!(!footprint.ruleset.contains("8081"), "{footprint:#?}");
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    // And where nobody is left, nothing is.
    system.end(Daemon::kill)?;
    drop(web);
    eventually(DEADLINE, || {
        let links = Footprint::look()?.links;
        ensure!(!links.keys().any(|name| name.starts_with("rn")), "{links:?}");
        Ok(())
    })?;
    system.start_again()?;
    ensure_nothing_is_left()
}

fn dead_is_released(sandbox: &Sandbox) -> Result<()> {
    const RELEASE: Duration = Duration::from_secs(1);
    let _system = System::start(sandbox)?;
    let dying = container_of(ALICE)?;
    let attachment = ALICE.set_up(&dying, "dying", "-p 8081:80/tcp,udp")?;
    let _web = Web::set_up(BOB, "web", "-p 8080:80")?;
    let link = &attachment.interfaces[0].host_link;
    let [ipv4, ipv6] = addresses(&attachment)?;
    // Of the forwards, of the guard, and of both.
    let traces = ["8081", link, &ipv4, &ipv6];
    let ruleset = Footprint::look()?.ruleset;
    let missing = traces.iter().find(|trace| !mentions(&ruleset, trace));
    ensure!(missing.is_none(), "{missing:?} is not in {ruleset}");
    let names = || fs::read_to_string("/run/rootful-net/dns/rootful0");
    eventually(DEADLINE, || {
        let names = names()?;
        ensure!(mentions(&names, "dying"), "{names}");
        Ok(())
    })?;
    for taken in [TcpListener::bind(ON_HOST).map(drop), UdpSocket::bind(ON_HOST).map(drop)] {
        let error = taken.expect_err("the port is reserved");
        ensure!(error.kind() == ErrorKind::AddrInUse, "{error}");
    }
    dying.kill()?;
    // How long the kernel takes to end the namespace is its own affair.
    eventually(DEADLINE, || {
        let links = run("ip -oneline link show")?;
        ensure!(!links.contains(link), "{link} is still there");
        Ok(())
    })?;
    let died = Instant::now();
    eventually(RELEASE, || {
        let footprint = Footprint::look()?;
        ensure!(footprint.records.len() == 1, "{footprint:#?}");
        let trace = traces.iter().find(|trace| mentions(&footprint.ruleset, trace));
        ensure!(trace.is_none(), "{trace:?} is in {footprint:#?}");
        let names = names()?;
        ensure!(!mentions(&names, "dying") && mentions(&names, "web"), "{names}");
        TcpListener::bind(ON_HOST).context("TCP")?;
        UdpSocket::bind(ON_HOST).context("UDP")?;
        let listed = ALICE.succeed(&["ps", "--all"])?;
        ensure!(listed.contains("web") && !listed.contains("dying"), "{listed}");
        Ok(())
    })?;
    println!("all of a dead container's is released {:?} after its link", died.elapsed());
    // Its name, addresses and ports are free again.
    let next = Web::set_up(ALICE, "dying", "-p 8081:80/tcp,udp")?;
    ensure!([&next.ipv4, &next.ipv6] == [&ipv4, &ipv6], "{:#?}", next.attachment);
    Ok(())
}

/// Where the host's own programs would have the published port.
const ON_HOST: &str = "0.0.0.0:8081";

/// Whether a word of the text is this one, up to punctuation.
fn mentions(text: &str, word: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, ':' | '.' | '_');
    text.split(|char| !is_part(char)).any(|found| found == word)
}

fn last_attachment(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    run("nft add table inet foreign")?;
    run("ip link add br0 type bridge")?;
    let before = Footprint::look()?;
    let (first, second) = (container_of(ALICE)?, container_of(BOB)?);
    ALICE.set_up(&first, "web", "-p 8080:80")?;
    BOB.set_up(&second, "web", "")?;
    ALICE.tear_down("web")?;
    ensure!(Footprint::look()?.links.contains_key("rootful0"));
    BOB.tear_down("web")?;
    let ensure_as_before = || {
        let after = Footprint::look()?;
        ensure!(after.links == before.links && after.ruleset == before.ruleset, "{after:#?}");
        ensure!(after.records.is_empty(), "{after:#?}");
        Ok(())
    };
    eventually(DEADLINE, ensure_as_before)?;
    // The same where it dies instead.
    ALICE.set_up(&first, "web", "-p 8080:80")?;
    first.kill()?;
    eventually(DEADLINE, ensure_as_before)?;
    drop(system);
    Ok(())
}

const RECORD_DIR: &str = "/run/rootful-net/attachments";

fn record_of(id: &str) -> String {
    format!("{RECORD_DIR}/{id}.json")
}

fn damaged_record(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let damaged = ALICE.set_up(&container, "damaged", "-p 8081:80")?;
    let _web = Web::set_up(BOB, "web", "-p 8080:80/tcp,udp")?;
    system.end(Daemon::stop)?;
    let path = record_of(&damaged.id);
    let text = fs::read_to_string(&path)?;
    fs::write(&path, &text[..text.len() / 2])?;
    system.start_again()?;
    let log = Daemon::log()?;
    ensure!(log.contains(&path) && log.contains("set aside"), "{log}");
    ensure!(!Path::new(&path).exists());
    ensure!(fs::read_to_string(format!("{path}.damaged"))? == text[..text.len() / 2]);
    // The others are as they were, and this one can be set up again.
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    let links = Footprint::look()?.links;
    ensure!(!links.contains_key(&damaged.interfaces[0].host_link), "{links:?}");
    let again = ALICE.set_up(&container, "damaged", "-p 8081:80")?;
    ensure!(addresses(&again)? == addresses(&damaged)?, "{again:?}");
    Ok(())
}

fn unfinished_attachment(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    system.end(Daemon::kill)?;
    let path = record_of(&web.attachment.id);
    let text = sealed::read(&path)?;
    // Killed right behind the answer.
    let phases = [r#""phase":"live""#, r#""phase":"settling""#];
    let phase = phases.into_iter().find(|phase| text.contains(phase)).context("done")?;
    sealed::write(&path, &text.replace(phase, r#""phase":"pending""#))?;
    system.start_again()?;
    ensure_nothing_is_left()?;
    ALICE.set_up(&web.container, "web", "-p 8080:80/tcp,udp")?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))
}

fn lost_ruleset(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let before = Footprint::look()?;
    system.end(Daemon::stop)?;
    run("nft flush ruleset")?;
    run("nft add table inet foreign")?;
    system.lan.run(|| ensure_silent("192.0.2.1:8080"))?;
    system.start_again()?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    run("nft delete table inet foreign")?;
    ensure!(Footprint::look()? == before, "{:#?}", Footprint::look()?);
    Ok(())
}

const NETWORK_PATH: &str = "/etc/rootful-net/networks/lab.json";

fn network(subnets: &str, mtu: u16) -> String {
    format!(
        r#"{{"name": "lab", "network_interface": "lab0", "ipv6_enabled": true,
            "subnets": [{subnets}], "options": {{"mtu": "{mtu}"}}}}"#
    )
}

/// Changes the file of a network that a container is attached to; answers with what is in force in the end.
fn network_changed_in_use(
    sandbox: &Sandbox,
    change: impl Fn() -> Result<()>,
    told: &str,
) -> Result<System> {
    let mut system = System::start_with(sandbox, |installation| {
        installation
            .add_policy("lab.toml", "[[grant]]\nusers = [\"alice\"]\nnetworks = [\"lab\"]\n")?;
        let subnets = r#"{"subnet": "10.77.0.0/24"}, {"subnet": "fd00:77::/64"}"#;
        installation.add_network(&network(subnets, 1400))
    })?;
    let arguments = "--network lab";
    let web = Web::set_up(ALICE, "web", arguments)?;
    ensure!(web.ipv4.starts_with("10.77.0."), "{}", web.ipv4);
    let before = Footprint::look()?;
    change()?;
    for end in [Daemon::stop, Daemon::kill] {
        system.end(end)?;
        system.start_again()?;
        let after = Footprint::look()?;
        ensure!(after == before, "{before:#?} became {after:#?}");
        let log = Daemon::log()?;
        ensure!(log.contains(told), "{log}");
    }
    ensure!(ALICE.set_up(&web.container, "web", arguments)? == web.attachment);
    let neighbour = container_of(ALICE)?;
    let attachment = ALICE.set_up(&neighbour, "neighbour", arguments)?;
    ensure!(addresses(&attachment)?[0].starts_with("10.77.0."), "{attachment:#?}");
    neighbour.run(|| ensure_seen(&format!("{}:80", web.ipv4), &addresses(&attachment)?[0]))?;
    ALICE.succeed(&["teardown", "--all"])?;
    ensure_nothing_is_left()?;
    system.end(Daemon::stop)?;
    system.start_again()?;
    Ok(system)
}

fn edited_network(sandbox: &Sandbox) -> Result<()> {
    let change = || {
        let subnets = r#"{"subnet": "10.78.0.0/24"}, {"subnet": "fd00:78::/64"}"#;
        Ok(fs::write(NETWORK_PATH, network(subnets, 1300))?)
    };
    let _system = network_changed_in_use(sandbox, change, "\"lab\" is defined differently now")?;
    let container = container_of(ALICE)?;
    let attachment = ALICE.set_up(&container, "web", "--network lab")?;
    ensure!(addresses(&attachment)?[0].starts_with("10.78.0."), "{attachment:#?}");
    Ok(())
}

fn removed_network(sandbox: &Sandbox) -> Result<()> {
    let change = || Ok(fs::remove_file(NETWORK_PATH)?);
    let _system = network_changed_in_use(sandbox, change, "\"lab\" is not defined any more")?;
    let container = container_of(ALICE)?;
    let arguments =
        ["setup", "--pid", &container.pid().to_string(), "--name", "web", "--network", "lab"];
    let answer = ALICE.run(&arguments)?;
    ensure!(answer.code == Some(4), "{answer:?}");
    Ok(())
}

fn files_are_roots(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let attachment = ALICE.set_up(&container, "web", "")?;
    let record = record_of(&attachment.id);
    let paths = ["/var/lib/rootful-net/address.key", "/var/lib/rootful-net/leases.json", &record];
    for path in paths {
        let metadata = fs::metadata(path).context(path.to_owned())?;
        let mode = metadata.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{path} has mode {mode:o}");
    }
    let mode = fs::metadata(RECORD_DIR)?.permissions().mode() & 0o777;
    ensure!(mode == 0o700, "{RECORD_DIR} has mode {mode:o}");
    Ok(())
}
