//! Networks that are made and removed on request: by whom, where they cannot be, and that one is there as a whole or
//! not at all whatever happens meanwhile.

mod disturbed;
mod hostile;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures_util::StreamExt as _;
use rootful_net_dbus::name::{BUS_NAME, MANAGER_PATH};
use rootful_net_dbus::{Dictionary, ManagerProxy, NetworkOptions, objects};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::Installation;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::sealed;
use rootful_net_tests::traffic::Server;
use rootful_net_tests::user::{Refusal, User, message};
use zbus::message::Type;
use zbus::{MatchRule, MessageStream};

use crate::daemon::{
    ALICE, BOB, DEADLINE, MALLORY, ROOT, System, Web, container_of, ensure_nothing_is_left,
    ensure_refused, ensure_silent, fd, seen_by,
};

const TESTS: &[Test] = &[
    ("create_network::one_is_used_at_once_and_after_a_restart", used),
    ("create_network::one_is_what_it_was_asked_to_be", as_asked),
    ("create_network::appears_and_disappears_on_the_bus", signals),
    ("create_network::users_neither_make_nor_remove_any", users),
    ("create_network::two_hundred_and_fifty_seventh_is_refused", too_many),
    ("create_network::same_name_is_a_conflict_unless_ignored", same_name),
    ("create_network::removal_of_one_in_use_is_refused", in_use),
    ("create_network::removal_names_a_few_of_many_containers", in_use_by_many),
    ("create_network::removal_leaves_the_default_and_the_administrators", not_removed),
    ("create_network::removal_forgets_file_object_and_leases", removed),
];

/// The tests.
pub(crate) fn tests() -> Vec<Test> {
    [TESTS, hostile::TESTS, disturbed::TESTS].concat()
}

const NETWORK_DIR: &str = "/var/lib/rootful-net/networks";
const LEASE_PATH: &str = "/var/lib/rootful-net/leases.json";

const GRANT: &str = r#"
    [[grant]]
    users = ["alice", "bob"]
    networks = ["*"]
    host_addresses = ["*"]
    ports = { tcp = ["1-65535"], udp = ["1-65535"] }
"#;

const LAB: &str = r#"{"name": "lab", "subnets": [{"subnet": "10.99.0.0/24"}]}"#;

fn start(sandbox: &Sandbox) -> Result<System> {
    System::start_with(sandbox, |installation| installation.add_policy("all.toml", GRANT))
}

/// What there is of networks: files that are kept, and what everybody sees.
#[derive(Debug, PartialEq, Eq)]
struct Networks {
    files: BTreeMap<String, String>,
    shown: String,
}

impl Networks {
    fn look() -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in file_names(NETWORK_DIR)? {
            let content = fs::read_to_string(Path::new(NETWORK_DIR).join(&name))?;
            files.insert(name, content);
        }
        let shown = MALLORY.succeed(&["network", "ls", "--format", "json"])?;
        Ok(Self { files, shown })
    }
}

fn file_names(directory: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn create_with(user: User, json: &str, options: &Dictionary) -> Result<Result<String, Refusal>> {
    user.on_bus(async |connection| {
        let manager = ManagerProxy::new(&connection).await?;
        let answer = manager.create_network(json, options).await;
        Ok(answer.map_err(|error| Refusal::from(&error)))
    })
}

fn create(user: User, json: &str) -> Result<Result<String, Refusal>> {
    create_with(user, json, &Dictionary::new())
}

fn remove_with(user: User, name: &str, options: &Dictionary) -> Result<Result<(), Refusal>> {
    user.on_bus(async |connection| {
        let manager = ManagerProxy::new(&connection).await?;
        let answer = manager.remove_network(name, options).await;
        Ok(answer.map_err(|error| Refusal::from(&error)))
    })
}

fn remove(user: User, name: &str) -> Result<Result<(), Refusal>> {
    remove_with(user, name, &Dictionary::new())
}

/// What the service answered where it must not refuse.
fn granted<T>(answer: Result<T, Refusal>) -> Result<T> {
    answer.map_err(|refusal| anyhow!("{refusal:?}"))
}

fn ignore() -> Dictionary {
    NetworkOptions { ignore: true }.to_dictionary()
}

/// As [`ensure_refused`], and no network has come or gone.
fn ensure_kept<T: std::fmt::Debug>(
    name: &str,
    words: &[&str],
    attempt: impl FnOnce() -> Result<Result<T, Refusal>>,
) -> Result<()> {
    let before = Networks::look()?;
    ensure_refused(name, words, attempt)?;
    let after = Networks::look()?;
    ensure!(before == after, "{words:?}: {before:#?} became {after:#?}");
    Ok(())
}

fn ensure_code(user: User, arguments: &[&str], code: i32, word: &str) -> Result<()> {
    let answer = user.run(arguments)?;
    ensure!(answer.code == Some(code), "{arguments:?}: {answer:?}");
    ensure!(answer.error.contains(word), "{arguments:?}: \"{word}\" is not in {answer:?}");
    Ok(())
}

fn used(sandbox: &Sandbox) -> Result<()> {
    let mut system = start(sandbox)?;
    ensure!(ROOT.succeed(&["network", "create", "--ipv6", "lab"])? == "lab\n");
    let arguments = "--network lab -p 8080:80/tcp,udp";
    let web = Web::set_up(ALICE, "web", arguments)?;
    ensure!(web.ipv4.starts_with("10.88."), "{}", web.ipv4);
    let other = container_of(BOB)?;
    BOB.set_up(&other, "other", "--network lab")?;
    other.run(|| {
        seen_by(&format!("{}:80", web.ipv4))?;
        seen_by(&format!("[{}]:80", web.ipv6))
    })?;
    system.lan.run(|| seen_by("192.0.2.1:8080"))?;
    let before = Networks::look()?;
    system.end(Daemon::stop)?;
    system.start_again()?;
    let after = Networks::look()?;
    ensure!(before == after, "{before:#?} became {after:#?}");
    ensure!(ALICE.set_up(&web.container, "web", arguments)? == web.attachment);
    BOB.tear_down("other")?;
    BOB.set_up(&other, "other", "--network lab")?;
    other.run(|| seen_by(&format!("{}:80", web.ipv4)).map(|_| ()))
}

fn as_asked(sandbox: &Sandbox) -> Result<()> {
    let system = start(sandbox)?;
    let line = "network create inner --subnet 10.99.0.0/24 --gateway 10.99.0.254 \
        --ip-range 10.99.0.16/28 --internal --interface-name inner0 -o mtu=1400 -o isolate=true";
    ROOT.succeed(&line.split_whitespace().collect::<Vec<_>>())?;
    let shown = MALLORY.succeed(&["network", "inspect", "inner"])?;
    let inner = serde_json::from_str::<serde_json::Value>(&shown)?[0].take();
    ensure!(inner["interface"] == "inner0" && inner["mtu"] == 1400, "{inner}");
    ensure!(inner["internal"] == true && inner["isolate"] == "true", "{inner}");
    ensure!(inner["subnets"][0]["gateway"] == "10.99.0.254", "{inner}");
    let container = container_of(ALICE)?;
    let attachment = ALICE.set_up(&container, "web", "--network inner")?;
    let address = &attachment.interfaces[0].addresses[0];
    let last = address.strip_prefix("10.99.0.").and_then(|rest| rest.strip_suffix("/24"));
    let last: u8 = last.and_then(|last| last.parse().ok()).context("not in the subnet")?;
    ensure!((16..=31).contains(&last), "{address}");
    let links = run("ip -oneline link show inner0")?;
    ensure!(links.contains("mtu 1400"), "{links}");
    let _server = system.lan.run(|| Server::tcp("192.0.2.100:7777".parse()?))?;
    container.run(|| {
        run("ip route add default via 10.99.0.254")?;
        ensure_silent("192.0.2.100:7777")
    })
}

fn signals(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    let path = "/io/rootful_net1/network/lab";
    MALLORY.on_bus(async |connection| {
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(BUS_NAME).build()?;
        let mut stream = MessageStream::for_match_rule(rule, &connection, None).await?;
        let mut expect = async |member: &str| -> Result<()> {
            let next = tokio::time::timeout(DEADLINE, stream.next()).await;
            let signal = next.context("no signal")?.context("no connection")??;
            let header = signal.header();
            ensure!(header.member().is_some_and(|found| found == member), "{signal:?}");
            ensure!(header.path().is_some_and(|from| from == MANAGER_PATH), "{signal:?}");
            let body = signal.body();
            let body: zbus::Structure<'_> = body.deserialize()?;
            ensure!(format!("{body}").contains(path), "{body}");
            Ok(())
        };
        let name = "lab".parse()?;
        granted(create(ROOT, LAB)?)?;
        expect("InterfacesAdded").await?;
        ensure!(objects::network(&connection, &name).await?.name == "lab");
        granted(remove(ROOT, "lab")?)?;
        expect("InterfacesRemoved").await?;
        ensure!(objects::network(&connection, &name).await.is_err());
        Ok(())
    })
}

fn users(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    ROOT.succeed(&["network", "create", "lab"])?;
    let mine = r#"{"name": "mine", "subnets": [{"subnet": "10.99.0.0/24"}]}"#;
    for user in [ALICE, MALLORY] {
        let words = ["may not create a network"];
        ensure_kept("NotAuthorized", &words, || create(user, mine))?;
        // What is there is no exception.
        ensure_kept("NotAuthorized", &words, || create_with(user, LAB, &ignore()))?;
        let words = ["may not remove a network"];
        for name in ["lab", "rootful0", "none"] {
            ensure_kept("NotAuthorized", &words, || remove(user, name))?;
            ensure_kept("NotAuthorized", &words, || remove_with(user, name, &ignore()))?;
        }
        ensure_code(user, &["network", "create", "mine"], 3, "may not create a network")?;
        ensure_code(user, &["network", "rm", "lab"], 3, "may not remove a network")?;
    }
    let log = Daemon::log()?;
    let is_recorded =
        |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(is_recorded(&["create network", "uid=0", "\"lab\"", "granted"]), "{log}");
    ensure!(is_recorded(&["create network", "uid=10003", "\"mine\"", "denied"]), "{log}");
    ensure!(is_recorded(&["remove network", "uid=10003", "\"lab\"", "denied"]), "{log}");
    Ok(())
}

fn too_many(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, |installation: &Installation| {
        for number in 0..255 {
            installation.add_network(&format!(
                r#"{{"name": "n{number}", "network_interface": "n{number}",
                    "subnets": [{{"subnet": "10.99.{number}.0/24"}}]}}"#
            ))?;
        }
        Ok(())
    })?;
    let one_more = r#"{"name": "lab"}"#;
    ensure_kept("QuotaExceeded", &["256 networks"], || create(ROOT, one_more))?;
    ensure_code(ROOT, &["network", "create", "lab"], 3, "256 networks")
}

fn same_name(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    let made = granted(create(ROOT, LAB)?)?;
    ensure!(fs::read_to_string(Path::new(NETWORK_DIR).join("lab.json"))? == made, "{made}");
    let before = Networks::look()?;
    for json in [LAB, r#"{"name": "lab", "subnets": [{"subnet": "10.98.0.0/24"}]}"#] {
        ensure_kept("Conflict", &["\"lab\" exists already"], || create(ROOT, json))?;
        ensure!(granted(create_with(ROOT, json, &ignore())?)? == made);
    }
    ensure_code(ROOT, &["network", "create", "lab"], 5, "exists already")?;
    ensure!(ROOT.succeed(&["network", "create", "--ignore", "lab"])? == "lab\n");
    ensure!(before == Networks::look()?);
    Ok(())
}

fn in_use(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    ROOT.succeed(&["network", "create", "--ipv6", "lab"])?;
    let web = Web::set_up(ALICE, "web", "--network lab --network rootful0")?;
    let db = container_of(BOB)?;
    BOB.set_up(&db, "db", "--network lab")?;
    let words = ["in use", "\"web\" of user 10001", "\"db\" of user 10002"];
    for options in [Dictionary::new(), ignore()] {
        ensure_kept("Conflict", &words, || remove_with(ROOT, "lab", &options))?;
    }
    ensure_code(ROOT, &["network", "rm", "lab"], 5, "in use")?;
    db.run(|| seen_by(&format!("{}:80", web.ipv4)))?;
    BOB.tear_down("db")?;
    // What is left goes after the answer, and the record last.
    eventually(DEADLINE, || {
        let records = Footprint::look()?.records;
        ensure!(records.len() == 1, "{records:#?}");
        Ok(())
    })?;
    ensure_kept("Conflict", &["\"web\""], || remove(ROOT, "lab"))?;
    ALICE.tear_down("web")?;
    // At once: what is left of the links is in nobody's way.
    ensure!(ROOT.succeed(&["network", "rm", "lab"])? == "lab\n");
    ensure_nothing_is_left()
}

fn in_use_by_many(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    ROOT.succeed(&["network", "create", "lab"])?;
    let mut containers = Vec::new();
    for number in 0..7 {
        let container = container_of(ALICE)?;
        ALICE.set_up(&container, &format!("c{number}"), "--network lab")?;
        containers.push(container);
    }
    let Err(refusal) = remove(ROOT, "lab")? else { bail!("it is removed") };
    ensure!(refusal.message.matches("of user 10001").count() == 5, "{refusal:?}");
    ensure!(refusal.message.contains(", 2 more;"), "{refusal:?}");
    Ok(())
}

fn not_removed(sandbox: &Sandbox) -> Result<()> {
    let vendor_path = "/usr/share/rootful-net/networks/30-vendor.json";
    let _system = System::start_with(sandbox, |installation| {
        installation.add_network(
            r#"{"name": "apps", "network_interface": "a0", "subnets": [{"subnet": "10.99.0.0/24"}]}"#,
        )?;
        fs::create_dir_all("/usr/share/rootful-net/networks")?;
        let vendor = r#"{"name": "vendor", "network_interface": "v0", "subnets": [{"subnet": "10.98.0.0/24"}]}"#;
        Ok(fs::write(vendor_path, vendor)?)
    })?;
    let apps_path = "/etc/rootful-net/networks/apps.json";
    let cases = [
        ("rootful0", "Conflict", "default network"),
        ("apps", "Conflict", apps_path),
        ("vendor", "Conflict", vendor_path),
        ("none", "NotFound", "\"none\" does not exist"),
    ];
    for (network, name, word) in cases {
        ensure_kept(name, &[word], || remove(ROOT, network))?;
    }
    granted(remove_with(ROOT, "none", &ignore())?)?;
    ensure_code(ROOT, &["network", "rm", "none"], 4, "does not exist")?;
    ensure!(ROOT.succeed(&["network", "rm", "--ignore", "none"])? == "none\n");
    for path in [apps_path, vendor_path] {
        ensure!(Path::new(path).exists(), "{path}");
    }
    Ok(())
}

/// The networks that there are leases of on disk.
fn leased() -> Result<Vec<String>> {
    let file: serde_json::Value = serde_json::from_str(&sealed::read(LEASE_PATH)?)?;
    let leases = file["leases"].as_array().context("a list")?;
    let networks = leases.iter().filter_map(|lease| lease["network"].as_str());
    let mut networks: Vec<_> = networks.map(str::to_owned).collect();
    networks.sort();
    networks.dedup();
    Ok(networks)
}

fn removed(sandbox: &Sandbox) -> Result<()> {
    let mut system = start(sandbox)?;
    let before = Networks::look()?;
    let arguments = ["network", "create", "lab", "--subnet", "10.99.0.0/29"];
    ROOT.succeed(&arguments)?;
    let container = container_of(ALICE)?;
    for name in ["a", "b", "c", "d", "e"] {
        ALICE.set_up(&container, name, "--network lab --network rootful0")?;
        ALICE.tear_down(name)?;
    }
    ensure!(leased()? == ["lab", "rootful0"], "{:?}", leased()?);
    ROOT.succeed(&["network", "rm", "lab"])?;
    ensure!(Networks::look()? == before);
    ensure!(leased()? == ["rootful0"], "{:?}", leased()?);
    let listed = ROOT.succeed(&["lease", "ls", "--network", "lab"])?;
    ensure!(listed.lines().count() == 1, "{listed}");
    let message = message("web", &["lab"], &[]);
    let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
    ensure_refused("NotFound", &["lab"], attempt)?;
    // On a network that is made anew under the name nobody has a lease.
    ROOT.succeed(&arguments)?;
    let other = container_of(BOB)?;
    BOB.set_up(&other, "db", "--network lab")?;
    let listed = ROOT.succeed(&["lease", "ls", "--network", "lab"])?;
    ensure!(listed.lines().count() == 2 && listed.contains("db"), "{listed}");
    BOB.tear_down("db")?;
    ROOT.succeed(&["network", "rm", "lab"])?;
    system.end(Daemon::stop)?;
    system.start_again()?;
    ensure!(Networks::look()? == before);
    ensure!(leased()? == ["rootful0"], "{:?}", leased()?);
    Ok(())
}
