//! Definitions, options and names that nobody means well with, and files in the way.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_dbus::Dictionary;
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use zbus::OwnedVariant;

use super::{
    LAB, NETWORK_DIR, create, create_with, ensure_kept, file_names, granted, remove, remove_with,
    start,
};
use crate::daemon::{ROOT, ensure_refused};

pub(super) const TESTS: &[Test] = &[
    ("create_network::hostile_definitions_are_refused", hostile),
    ("create_network::hostile_options_are_refused", hostile_options),
    ("create_network::names_that_are_paths_touch_no_file", paths),
    ("create_network::file_of_the_name_is_left_to_whoever_put_it_there", files_in_the_way),
];

/// A definition of the network `lab` with these fields.
fn lab(fields: &str) -> String {
    format!(r#"{{"name": "lab", {fields}}}"#)
}

fn hostile(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    run("ip link add foreign0 type bridge")?;
    run("ip link add foreign1 type veth peer name foreign2")?;
    run("ip route add 10.77.0.0/16 via 192.0.2.100")?;
    let subnet = |subnet: &str| lab(&format!(r#""subnets": [{{"subnet": "{subnet}"}}]"#));
    let label = |length| lab(&format!(r#""labels": {{"a": "{}"}}"#, "x".repeat(length)));
    // Each takes more room where it is written on a line of its own.
    let labels: Vec<_> = (0..5000).map(|number| format!(r#""{number}":"""#)).collect();
    let labels = lab(&format!(r#""labels":{{{}}}"#, labels.join(",")));
    let nine = (0..9).map(|number| format!(r#"{{"subnet": "10.99.{number}.0/24"}}"#));
    let nine = lab(&format!(r#""subnets": [{}]"#, nine.collect::<Vec<_>>().join(",")));
    let deep = "[".repeat(60_000);
    let long = lab(&format!(r#""internal": "{}""#, "x".repeat(60_000)));
    let invalid: &[(&str, &str)] = &[
        ("", "not JSON"),
        ("[]", "not JSON"),
        ("{}", "missing field `name`"),
        (&deep, "not JSON"),
        (&lab(&format!(r#""x": {deep}"#)), "not JSON"),
        (&long, "not JSON"),
        (&label(65_500), "too long"),
        (&labels, "when it is written out"),
        (&nine, "it has 9 subnets"),
        (r#"{"name": "a", "name": "b"}"#, "duplicate field"),
        (r#"{"name": "lab\u0000"}"#, "network name"),
        (r#"{"name": "lab\nMESSAGE=forged"}"#, "network name"),
        (&format!(r#"{{"name": "{}"}}"#, "x".repeat(64)), "1 to 63"),
        (&lab(r#""colour": "red""#), "\"colour\" is not supported"),
        (&lab(r#""options": {"vlan": "7"}"#), "\"vlan\" is not supported"),
        (&lab(r#""options": {"mtu": "1"}"#), "accepted: 68 to 65535"),
        (&lab(r#""driver": "macvlan""#), "accepted: bridge"),
        (&lab(r#""network_interface": "lo""#), "\"lo\" is reserved"),
        (&lab(r#""network_interface": "a/b""#), "contains \"/\""),
        (&lab(r#""network_interface": "../x""#), "interface name"),
        (&lab(r#""network_interface": "sixteen-is-a-lot""#), "1 to 15"),
        (&subnet("0.0.0.0/0"), "unsupported size"),
        (&subnet("127.0.0.0/8"), "loopback"),
        (&subnet("224.0.0.0/8"), "multicast"),
        (&subnet("fe80::/64"), "link-local"),
    ];
    let conflicts: &[(&str, &str)] = &[
        (r#"{"name": "rootful0"}"#, "exists already"),
        (&subnet("10.87.4.0/24"), "network \"rootful0\""),
        (&subnet("10.0.0.0/8"), "network \"rootful0\""),
        (&subnet("192.0.2.128/25"), "route to 192.0.2.0/24 by lan0"),
        (&subnet("10.77.9.0/24"), "route to 10.77.0.0/16 by lan0"),
        (&subnet("2001:db8:1::/64"), "route to 2001:db8:1::/64 by lan0"),
        (&lab(r#""network_interface": "foreign0""#), "foreign0"),
        (&lab(r#""network_interface": "foreign1""#), "foreign1"),
        (&lab(r#""network_interface": "lan0""#), "lan0"),
        (&lab(r#""network_interface": "rootful0""#), "belongs to network \"rootful0\""),
    ];
    for (name, cases) in [("InvalidArgument", invalid), ("Conflict", conflicts)] {
        for (json, word) in cases {
            let beginning: String = json.chars().take(80).collect();
            ensure_kept(name, &[word], || create(ROOT, json)).context(beginning)?;
        }
    }
    let Err(refusal) = create(ROOT, &long)? else { bail!("a text is taken for a truth value") };
    ensure!(refusal.message.chars().count() < 400, "{refusal:?}");
    let log = Daemon::log()?;
    ensure!(!log.contains("\nMESSAGE=forged"), "{log}");
    Ok(())
}

fn hostile_options(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    ROOT.succeed(&["network", "create", "other"])?;
    let cases = [
        ("ignore", OwnedVariant::from(1_u32), "must have the type \"b\""),
        ("force", OwnedVariant::from(true), "\"force\" is not supported; accepted are: ignore"),
    ];
    for (key, value, word) in cases {
        let options = Dictionary::from([(key.to_owned(), value)]);
        ensure_kept("InvalidArgument", &[word], || create_with(ROOT, LAB, &options))?;
        ensure_kept("InvalidArgument", &[word], || remove_with(ROOT, "other", &options))?;
    }
    Ok(())
}

fn paths(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    let content = LAB.replace("lab", "x");
    let canaries = ["/var/lib/rootful-net/x.json", "/etc/rootful-net/x.json", "/run/x.json"];
    for path in canaries {
        fs::write(path, &content)?;
    }
    fs::create_dir("/var/lib/rootful-net/networks/sub")?;
    let names = [
        "../x",
        "..",
        ".",
        "",
        "./x",
        "sub/x",
        "/etc/rootful-net/x",
        "../../../../run/x",
        "x/",
        "-x",
        ".x",
        "*",
    ];
    for name in names {
        let json = format!(r#"{{"name": "{name}"}}"#);
        let words = ["network name"];
        ensure_refused("InvalidArgument", &words, || create(ROOT, &json)).context(name)?;
        ensure_refused("InvalidArgument", &words, || remove(ROOT, name)).context(name)?;
    }
    for path in canaries {
        ensure!(fs::read_to_string(path)? == content, "{path}");
    }
    let names = file_names(NETWORK_DIR)?;
    ensure!(names == ["rootful0.json", "sub"], "{names:?}");
    ensure!(file_names("/var/lib/rootful-net/networks/sub")?.is_empty());
    Ok(())
}

fn files_in_the_way(sandbox: &Sandbox) -> Result<()> {
    let _system = start(sandbox)?;
    fs::create_dir_all("/usr/share/rootful-net/networks")?;
    // Put there while the service runs. What cannot be read is what its name says.
    let whole =
        r#"{"name": "lab", "network_interface": "l0", "subnets": [{"subnet": "10.98.0.0/24"}]}"#;
    let files = [
        ("/etc/rootful-net/networks/lab.json", "{"),
        ("/etc/rootful-net/networks/lab.json", whole),
        ("/etc/rootful-net/networks/otherwise.json", whole),
        ("/usr/share/rootful-net/networks/lab.json", "{"),
        ("/usr/share/rootful-net/networks/otherwise.json", whole),
    ];
    let own = "/var/lib/rootful-net/networks/lab.json";
    for (path, content) in files.into_iter().chain([(own, "{")]) {
        fs::write(path, content)?;
        ensure_kept("Conflict", &[path, "not in use"], || create(ROOT, LAB)).context(path)?;
        ensure!(fs::read_to_string(path)? == content, "{path}");
        fs::remove_file(path)?;
    }
    // The network would be there again after a restart.
    granted(create(ROOT, LAB)?)?;
    for (path, content) in files {
        fs::write(path, content)?;
        let words = [path, "remove that file"];
        ensure_kept("Conflict", &words, || remove(ROOT, "lab")).context(path)?;
        ensure!(fs::read_to_string(path)? == content, "{path}");
        fs::remove_file(path)?;
    }
    granted(remove(ROOT, "lab")?)
}
