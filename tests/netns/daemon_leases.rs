//! Which name has which address: among many who ask at once, listed, carried to another host, and restored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use rootful_net_dbus::{LeaseOptions, LeaseProperties, ManagerProxy, objects};
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::installation::{Installation, binary_path};
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::{Refusal, User};
use serde_json::Value;
use zbus::Fd;

use crate::daemon::{
    ALICE, BOB, MALLORY, ROOT, System, addresses, container_of, ensure_nothing_is_left,
    ensure_refused,
};

pub(crate) const TESTS: &[Test] = &[
    ("leases::fifty_names_at_once_get_fifty_addresses_and_the_same_again", fifty_at_once),
    ("leases::users_list_their_own_and_root_everybodys", listed),
    ("leases::exported_ones_give_the_same_addresses_under_the_same_key", |sandbox| {
        carried(sandbox, OLD_KEY)
    }),
    ("leases::exported_ones_give_the_same_addresses_under_another_key", |sandbox| {
        carried(sandbox, NEW_KEY)
    }),
    ("leases::import_takes_nothing_from_anybody", import_takes_nothing),
    ("leases::import_is_for_root", import_is_for_root),
    ("leases::import_refuses_what_is_no_export", import_refuses),
    ("leases::old_backup_gives_no_address_to_two", old_backup),
];

const LEASE_PATH: &str = "/var/lib/rootful-net/leases.json";

const GRANT: &str = r#"
    [[grant]]
    users = ["alice", "bob"]
    networks = ["*"]
    static_addresses = true
"#;

/// With a network `lab` of 61 addresses for containers and an IPv6 subnet, and always the same key: with any,
/// what is derived for one name could be what another one had under the other key.
fn start(sandbox: &Sandbox) -> Result<System> {
    System::start_with(sandbox, |installation: &Installation| {
        put_key(OLD_KEY)?;
        installation.add_policy("lab.toml", GRANT)?;
        installation.add_network(
            r#"{"name": "lab", "network_interface": "lab0", "ipv6_enabled": true,
                "subnets": [{"subnet": "10.77.0.0/26"}, {"subnet": "fd00:77::/64"}]}"#,
        )
    })
}

const OLD_KEY: [u8; 32] = [1; 32];
const NEW_KEY: [u8; 32] = [2; 32];

fn put_key(key: [u8; 32]) -> Result<()> {
    fs::create_dir_all("/var/lib/rootful-net")?;
    Ok(fs::write("/var/lib/rootful-net/address.key", key)?)
}

/// The addresses of each user's containers on their first network.
type Addresses = BTreeMap<(u32, String), [String; 2]>;

fn attached() -> Result<Addresses> {
    let attachments =
        ROOT.on_bus(async |connection| Ok(objects::attachments(&connection).await?))?;
    let addresses = attachments.iter().map(|(_, attachment)| {
        Ok(((attachment.owner, attachment.name.clone()), addresses(attachment)?))
    });
    addresses.collect()
}

/// Attaches all of them on `lab` at once, in this order.
fn attach_at_once(user: User, containers: &[(String, OwnedFd)]) -> Result<()> {
    user.on_bus(async |connection| {
        let manager = ManagerProxy::new(&connection).await?;
        let networks = ["lab".to_owned()];
        let options = Default::default();
        let attach = containers.iter().map(|(name, namespace)| {
            manager.attach(Fd::from(namespace), name, &networks, &[], &options)
        });
        try_join_all(attach).await?;
        Ok(())
    })
}

fn fifty_at_once(sandbox: &Sandbox) -> Result<()> {
    const EACH: usize = 25;
    let mut system = start(sandbox)?;
    let mut processes = Vec::new();
    let mut containers_of = |user| -> Result<Vec<(String, OwnedFd)>> {
        let containers = (0..EACH).map(|number| {
            let container = container_of(user)?;
            let namespace = container.namespace().fd()?;
            processes.push(container);
            Ok((format!("c{number}"), namespace))
        });
        containers.collect()
    };
    let (mut alices, mut bobs) = (containers_of(ALICE)?, containers_of(BOB)?);
    let attach_all = |alices: &[_], bobs: &[_]| {
        std::thread::scope(|scope| {
            let bob = scope.spawn(|| attach_at_once(BOB, bobs));
            attach_at_once(ALICE, alices)?;
            bob.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    };
    attach_all(&alices, &bobs)?;
    let first = attached()?;
    let distinct: BTreeSet<_> = first.values().flatten().collect();
    ensure!(first.len() == 2 * EACH && distinct.len() == 4 * EACH, "{first:#?}");
    for user in [ALICE, BOB] {
        user.succeed(&["teardown", "--all"])?;
    }
    ensure_nothing_is_left()?;
    system.end(Daemon::stop)?;
    system.start_again()?;
    alices.reverse();
    bobs.rotate_left(EACH / 2);
    attach_all(&alices, &bobs)?;
    let again = attached()?;
    ensure!(again == first, "{again:#?} after {first:#?}");
    Ok(())
}

fn leases_seen_by(user: User, arguments: &[&str]) -> Result<Vec<LeaseProperties>> {
    let all = [&["lease", "ls", "--format", "json"], arguments].concat();
    Ok(serde_json::from_str(&user.succeed(&all)?)?)
}

fn listed(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    let containers = [container_of(ALICE)?, container_of(ALICE)?, container_of(BOB)?];
    let web = addresses(&ALICE.set_up(&containers[0], "web", "--network lab")?)?;
    ALICE.set_up(&containers[1], "db", "--network lab:ip=10.77.0.9")?;
    ALICE.tear_down("db")?;
    BOB.set_up(&containers[2], "web", "")?;
    let table = ALICE.succeed(&["lease", "ls", "--network", "lab"])?;
    let lines: BTreeSet<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    let line = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
    let own = |address: &str| format!("lab {address} 10001 web derived in use");
    let own = web.each_ref().map(|address| own(address));
    ensure!(lines.contains(&line("NETWORK ADDRESS USER NAME ORIGIN STATE")), "{table}");
    ensure!(lines.contains(&line("lab 10.77.0.9 10001 db requested idle")), "{table}");
    for own in &own {
        ensure!(lines.contains(&own.split_whitespace().collect::<Vec<_>>()), "{own}: {table}");
    }
    // The IPv6 address beside the one that was asked for is the fifth line.
    ensure!(lines.len() == 5, "{table}");
    let owners = |user, arguments: &[&str]| -> Result<Vec<(u32, String)>> {
        let leases = leases_seen_by(user, arguments)?.into_iter();
        Ok(leases.map(|lease| (lease.owner, lease.network)).collect())
    };
    ensure!(owners(ALICE, &[])? == vec![(10_001, "lab".to_owned()); 4]);
    ensure!(owners(BOB, &[])? == vec![(10_002, "rootful0".to_owned()); 2]);
    ensure!(owners(BOB, &["--network", "lab"])?.is_empty());
    ensure!(owners(MALLORY, &[])?.is_empty());
    ensure!(owners(ROOT, &[])?.len() == 6 && owners(ROOT, &["--network", "lab"])?.len() == 4);
    let of = |user: User, owner| {
        user.on_bus(async |connection| {
            let options = LeaseOptions { owner: Some(owner) }.to_dictionary();
            let listed = ManagerProxy::new(&connection).await?.list_leases(&options).await;
            Ok(listed.map(|list| list.len()).map_err(|error| Refusal::from(&error)))
        })
    };
    ensure!(of(ROOT, BOB.uid())? == Ok(2) && of(BOB, BOB.uid())? == Ok(2));
    ensure_refused("NotAuthorized", &["only root"], || of(BOB, ALICE.uid()))
}

const NAMES: [&str; 4] = ["web", "db", "cache", "mail"];

fn set_up_all(containers: &[Container; 4], order: [usize; 4]) -> Result<Addresses> {
    for index in order {
        // One of them asks for its address.
        let network = if index == 3 { "lab:ip=10.77.0.33" } else { "lab" };
        ALICE.set_up(&containers[index], NAMES[index], &format!("--network {network}"))?;
    }
    attached()
}

fn carried(sandbox: &Sandbox, key: [u8; 32]) -> Result<()> {
    let mut system = start(sandbox)?;
    let containers =
        [container_of(ALICE)?, container_of(ALICE)?, container_of(ALICE)?, container_of(ALICE)?];
    let first = set_up_all(&containers, [0, 1, 2, 3])?;
    ALICE.succeed(&["teardown", "--all"])?;
    ensure_nothing_is_left()?;
    let export = ROOT.succeed(&["lease", "export"])?;
    ensure!(export == ALICE.succeed(&["lease", "export"])?, "{export}");

    // Another host: nothing is there but a key.
    system.end(Daemon::stop)?;
    fs::remove_dir_all("/run/rootful-net")?;
    fs::remove_dir_all("/var/lib/rootful-net")?;
    put_key(key)?;
    system.start_again()?;
    // Two names are there before the import, and one of them still is then.
    for name in ["web", "db"] {
        let index = usize::from(name == "db");
        ALICE.set_up(&containers[index], name, "--network lab")?;
    }
    ALICE.tear_down("db")?;
    let before = attached()?;
    let web = (ALICE.uid(), "web".to_owned());
    ensure!((before[&web] == first[&web]) == (key == OLD_KEY), "{before:#?}");
    fs::write("/run/export.json", &export)?;
    let printed = ROOT.succeed(&["lease", "import", "/run/export.json"])?;
    ensure!(printed.is_empty(), "{printed}");
    // What is attached stays what it is, also where it is set up again.
    ALICE.set_up(&containers[0], "web", "--network lab")?;
    ensure!(attached()? == before);
    ALICE.tear_down("web")?;
    ensure!(set_up_all(&containers, [3, 2, 1, 0])? == first, "{:#?}", attached()?);
    ALICE.succeed(&["teardown", "--all"])?;
    ensure_nothing_is_left()?;
    // And again after the next start, and where it is imported once more.
    system.end(Daemon::kill)?;
    system.start_again()?;
    ROOT.succeed(&["lease", "import", "/run/export.json"])?;
    ensure!(set_up_all(&containers, [2, 0, 3, 1])? == first, "{:#?}", attached()?);
    Ok(())
}

fn import_takes_nothing(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    let (web, idle) = (container_of(ALICE)?, container_of(BOB)?);
    ALICE.set_up(&web, "web", "--network lab:ip=10.77.0.9")?;
    BOB.set_up(&idle, "idle", "--network lab:ip=10.77.0.10")?;
    BOB.tear_down("idle")?;
    let before = leases_seen_by(ROOT, &[])?;
    let lease = |network: &str, address: &str, name: &str| {
        serde_json::json!({
            "network": network, "address": address, "owner": 10_002, "name": name,
            "origin": "derived", "used": 1,
        })
    };
    let leases = [
        lease("lab", "10.77.0.9", "web"),
        lease("lab", "10.77.0.10", "web"),
        lease("lab", "10.77.0.1", "web"),
        lease("lab", "10.77.0.63", "web"),
        lease("lab", "10.78.0.9", "web"),
        lease("gone", "10.79.0.9", "web"),
        lease("lab", "10.77.0.11", "good"),
    ];
    let text = serde_json::json!({"version": 1, "leases": leases}).to_string();
    fs::write("/run/export.json", text)?;
    let answer = ROOT.run(&["lease", "import", "/run/export.json"])?;
    ensure!(answer.code == Some(5), "{answer:?}");
    ensure!(answer.error == "Error: 6 of 7 leases were skipped\n", "{answer:?}");
    let reasons = [
        ("10.77.0.9 ", "the address is in use: \"web\" of user 10001 has it"),
        ("10.77.0.10 ", "the address is kept for \"idle\" of user 10002"),
        ("10.77.0.1 ", "the address is the gateway"),
        ("10.77.0.63 ", "first or last one of its subnet"),
        ("10.78.0.9 ", "the address is in no subnet of the network"),
        ("10.79.0.9 ", "there is no such network"),
    ];
    ensure!(answer.output.lines().count() == 1 + reasons.len(), "{answer:?}");
    for (address, reason) in reasons {
        let line = answer.output.lines().find(|line| line.contains(address));
        ensure!(line.context(address)?.contains(reason), "{answer:?}");
    }
    let after = leases_seen_by(ROOT, &[])?;
    let (new, old): (Vec<_>, Vec<_>) = after.into_iter().partition(|lease| lease.name == "good");
    ensure!(old == before, "{old:#?} after {before:#?}");
    ensure!(new.len() == 1 && new[0].address == "10.77.0.11" && !new[0].in_use, "{new:#?}");
    let good = addresses(&BOB.set_up(&idle, "good", "--network lab")?)?;
    ensure!(good[0] == "10.77.0.11", "{good:?}");
    Ok(())
}

fn import_is_for_root(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "--network lab")?;
    let before = leases_seen_by(ROOT, &[])?;
    // Not even what is one's own.
    fs::write("/run/export.json", ALICE.succeed(&["lease", "export"])?)?;
    let answer = ALICE.run(&["lease", "import", "/run/export.json"])?;
    ensure!(answer.code == Some(3) && answer.output.is_empty(), "{answer:?}");
    ensure!(answer.error.contains("may not import leases"), "{answer:?}");
    ensure!(leases_seen_by(ROOT, &[])? == before);
    Ok(())
}

fn import_refuses(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "--network lab")?;
    let before = leases_seen_by(ROOT, &[])?;
    let export: Value = serde_json::from_str(&ROOT.succeed(&["lease", "export"])?)?;
    let mut wrong = export.clone();
    wrong["leases"][1]["address"] = "10.77.0".into();
    let mut later = export.clone();
    later["version"] = 2.into();
    let cases = [
        (String::new(), "is not what 'rootful-net lease export' prints"),
        (export["leases"].to_string(), "is not what 'rootful-net lease export' prints"),
        (wrong.to_string(), "\"10.77.0\" is not an IPv4 or IPv6 address"),
        (later.to_string(), "version 2 of an export is unknown (accepted: 1)"),
    ];
    for (text, expected) in cases {
        fs::write("/run/export.json", &text)?;
        let answer = ROOT.run(&["lease", "import", "/run/export.json"])?;
        ensure!(answer.code == Some(2) && answer.error.contains(expected), "{text}: {answer:?}");
    }
    let answer = ROOT.run(&["lease", "import", "/run/missing.json"])?;
    ensure!(answer.code == Some(4), "{answer:?}");
    ensure!(leases_seen_by(ROOT, &[])? == before);
    // The same from standard input is good.
    fs::write("/run/export.json", export.to_string())?;
    let import = Command::new(binary_path("rootful-net"))
        .args(["lease", "import", "-"])
        .stdin(Stdio::from(fs::File::open("/run/export.json")?))
        .status()?;
    ensure!(import.success(), "{import}");
    Ok(())
}

fn old_backup(sandbox: &Sandbox) -> Result<()> {
    let mut system = start(sandbox)?;
    let (web, db) = (container_of(ALICE)?, container_of(ALICE)?);
    let [old, _] = addresses(&ALICE.set_up(&web, "web", "--network lab")?)?;
    ALICE.tear_down("web")?;
    let backup = fs::read(LEASE_PATH)?;
    // Of the same user's names the one that asks has it.
    let asked = format!("--network lab:ip={old}");
    let [taken, _] = addresses(&ALICE.set_up(&db, "db", &asked)?)?;
    ensure!(taken == old);
    system.end(Daemon::stop)?;
    fs::write(LEASE_PATH, &backup)?;
    system.start_again()?;
    let again = addresses(&ALICE.set_up(&db, "db", &asked)?)?;
    ensure!(again[0] == old, "{again:?}");
    let next = addresses(&ALICE.set_up(&web, "web", "--network lab")?)?;
    ensure!(next[0] != old, "two containers have {old}");
    let holders = |leases: Vec<LeaseProperties>| -> Vec<String> {
        let of_old = leases.into_iter().filter(|lease| lease.address == old);
        of_old.map(|lease| lease.name).collect()
    };
    ensure!(holders(leases_seen_by(ROOT, &[])?) == ["db"]);
    // That is on disk, too: the backup does not come back with the next start.
    ALICE.succeed(&["teardown", "--all"])?;
    ensure_nothing_is_left()?;
    system.end(Daemon::kill)?;
    system.start_again()?;
    ensure!(holders(leases_seen_by(ROOT, &[])?) == ["db"]);
    ensure!(Path::new(LEASE_PATH).exists());
    ensure!(addresses(&ALICE.set_up(&web, "web", "--network lab")?)? == next);
    Ok(())
}
