//! The ruleset in the real kernel: as text and by netlink, undone, refused, and large.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_core::mac::MacAddress;
use rootful_net_core::publish::{Port, Protocol};
use rootful_net_core::ruleset::{
    Change, Element, NeighbourOption, TableName, Transaction, Value, guard_table, inet_table,
};
use rootful_net_kernel::rules::{Rules, RulesError};
use rootful_net_tests::Test;
use rootful_net_tests::sandbox::Sandbox;

pub(crate) const TESTS: &[Test] = &[
    ("ruleset::text_and_netlink_give_one_listing", text_and_netlink_give_one_listing),
    ("ruleset::replaces_a_damaged_table_whole", damaged_table_is_replaced_whole),
    ("ruleset::tables_of_ours_are_found", tables_of_ours_are_found),
    ("ruleset::inverse_restores_the_listing", inverse_restores_the_listing),
    ("ruleset::taken_key_is_named_and_nothing_applied", taken_key_is_named_and_nothing_applied),
    ("ruleset::refused_change_leaves_nothing", refused_change_leaves_nothing),
    ("ruleset::key_moves_within_one_transaction", key_moves_within_one_transaction),
    ("ruleset::change_costs_the_same_next_to_60000", change_costs_the_same_next_to_60000),
];

/// Runs `nft` with `input` and returns what it prints.
pub(crate) fn nft(arguments: &[&str], input: &str) -> Result<String> {
    let mut nft = Command::new("nft");
    nft.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = nft.spawn().context("start nft")?;
    child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft {arguments:?}: {complaint}");
    Ok(String::from_utf8(output.stdout)?)
}

pub(crate) fn listing() -> Result<String> {
    nft(&["list", "ruleset"], "")
}

/// The listing as JSON without the handles, which the kernel counts upwards.
fn json_listing() -> Result<serde_json::Value> {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove("handle");
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut listing = serde_json::from_str(&nft(&["-j", "list", "ruleset"], "")?)?;
    strip(&mut listing);
    Ok(listing)
}

pub(crate) fn element(set: &'static str, key: &[&str], data: &[&str]) -> Result<Element> {
    let values = |texts: &[&str]| texts.iter().map(|text| value(text)).collect::<Result<_>>();
    let comment = Some(format!("for {set}"));
    Ok(Element { table: TableName::INET, set, key: values(key)?, data: values(data)?, comment })
}

/// Reads a value as what it looks like.
fn value(text: &str) -> Result<Value> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        Ok(address.into())
    } else if let Ok(port) = text.parse::<Port>() {
        Ok(Value::Port(port))
    } else if let Ok(mac) = text.parse::<MacAddress>() {
        Ok(Value::Ether(mac))
    } else if let Ok(protocol) = text.parse::<Protocol>() {
        Ok(Value::Protocol(protocol))
    } else {
        Ok(Value::Interface(text.parse()?))
    }
}

const MAC: &str = "02:00:00:00:00:02";

/// An element that limits connections.
fn counting(set: &'static str, key: &[&str], limit: u32) -> Result<Element> {
    let data = vec![Value::ConnectionLimit(limit)];
    Ok(Element { data, ..element(set, key, &[])? })
}

/// An element of the guard, whose key may end with what has no text.
fn guard(set: &'static str, key: &[&str], end: Option<Value>) -> Result<Element> {
    let mut element = Element { table: TableName::BRIDGE, ..element(set, key, &[])? };
    element.key.extend(end);
    Ok(element)
}

fn option(kind: NeighbourOption) -> Result<Value> {
    Ok(Value::NeighbourOption(kind, MAC.parse()?))
}

/// Elements in every set and map.
pub(crate) fn elements() -> Result<Vec<Element>> {
    Ok(vec![
        element("publish4_address", &["192.0.2.1", "tcp", "8080"], &["10.87.0.2", "80"])?,
        element("publish4_address", &["127.0.0.1", "udp", "65535"], &["10.87.255.254", "1"])?,
        element("publish4", &["tcp", "8080"], &["10.87.0.2", "80"])?,
        element("publish4", &["udp", "53"], &["10.87.0.2", "5353"])?,
        element("publish4", &["sctp", "9"], &["10.87.0.3", "256"])?,
        element("publish6_address", &["2001:db8::1", "tcp", "443"], &["fd87::2", "8443"])?,
        element("publish6", &["tcp", "443"], &["fd87::2", "8443"])?,
        element("publish6", &["udp", "443"], &["fd87::abcd:1", "8443"])?,
        element("bridges", &["rootful0"], &[])?,
        element("bridges", &["fifteen_bytes_x"], &[])?,
        element("same_bridge", &["rootful0", "rootful0"], &[])?,
        element("internal", &["inside"], &[])?,
        element("isolated", &["alone"], &[])?,
        element("strictly_isolated", &["alone"], &[])?,
        element("restricted", &["rootful0"], &[])?,
        element("host_services4", &["rootful0", "10.87.0.1", "udp", "53"], &[])?,
        element("host_services6", &["rootful0", "fd87::1", "tcp", "53"], &[])?,
        element("routers", &["rootful0", "02:00:00:00:00:01"], &[])?,
        counting("connections4", &["rootful0", "10.87.0.2"], 100)?,
        counting("connections6", &["rootful0", "fe80::2"], 4096)?,
        guard("ports", &["rn0"], None)?,
        guard("arp_senders", &["rn0", MAC, MAC, "10.87.0.2"], None)?,
        guard("arp_probes", &["rn0", MAC, MAC, "0.0.0.0", "10.87.0.2"], None)?,
        guard("ipv4_sources", &["rn0", MAC, "10.87.0.2"], None)?,
        guard("ipv6_sources", &["rn0", MAC, "fe80::2"], None)?,
        guard("nd_targets", &["rn0", MAC], Some(Value::NeighbourTarget("fe80::2".parse()?)))?,
        guard("nd_options", &["rn0", MAC], Some(option(NeighbourOption::SourceAddress)?))?,
        guard("nd_options", &["rn0", MAC], Some(option(NeighbourOption::TargetAddress)?))?,
    ])
}

fn fresh_table() -> Transaction {
    Transaction::new(vec![Change::ReplaceTable(inet_table())])
}

pub(crate) fn fresh_tables() -> Transaction {
    Transaction::new([inet_table(), guard_table()].map(Change::ReplaceTable).into())
}

pub(crate) fn additions(elements: impl IntoIterator<Item = Element>) -> Transaction {
    elements.into_iter().map(Change::AddElement).collect()
}

pub(crate) fn deletions(elements: impl IntoIterator<Item = Element>) -> Transaction {
    elements.into_iter().map(Change::DeleteElement).collect()
}

pub(crate) fn everything() -> Result<Transaction> {
    let elements = elements()?.into_iter().map(Change::AddElement);
    let tables = [inet_table(), guard_table()].map(Change::ReplaceTable);
    Ok(tables.into_iter().chain(elements).collect())
}

fn text_and_netlink_give_one_listing(_: &Sandbox) -> Result<()> {
    let transaction = everything()?;
    nft(&["-f", "-"], &transaction.to_string())?;
    let (by_text, json_by_text) = (listing()?, json_listing()?);
    nft(&["flush", "ruleset"], "")?;
    ensure!(listing()?.is_empty(), "the ruleset is gone");

    Rules::open()?.apply(&transaction)?;
    assert_eq!(listing()?, by_text);
    assert_eq!(json_listing()?, json_by_text);
    for element in elements()? {
        let comment = element.comment.context("has a comment")?;
        ensure!(by_text.contains(&comment), "{comment} is listed");
    }
    Ok(())
}

fn damaged_table_is_replaced_whole(_: &Sandbox) -> Result<()> {
    let mut rules = Rules::open()?;
    rules.apply(&everything()?)?;
    let whole = listing()?;
    nft(
        &["-f", "-"],
        "add chain inet rootful_net stray\nflush chain inet rootful_net forward\n\
        delete element inet rootful_net bridges { \"rootful0\" }\nadd table inet other\n",
    )?;
    rules.apply(&everything()?)?;
    let other = "table inet other {\n}\n";
    assert_eq!(listing()?.replace(other, ""), whole);
    ensure!(listing()?.contains(other), "somebody else's table is left alone");
    Ok(())
}

fn tables_of_ours_are_found(_: &Sandbox) -> Result<()> {
    let mut rules = Rules::open()?;
    ensure!(rules.tables()?.is_empty());
    nft(&["add", "table", "ip", "rootful_net"], "")?;
    nft(&["add", "table", "inet", "rootful_net2"], "")?;
    ensure!(rules.tables()?.is_empty(), "another family and another name");
    rules.apply(&fresh_table())?;
    assert_eq!(rules.tables()?, [TableName::INET].into());
    nft(&["add", "table", "bridge", "rootful_net"], "")?;
    assert_eq!(rules.tables()?, [TableName::INET, TableName::BRIDGE].into());
    Ok(())
}

fn inverse_restores_the_listing(_: &Sandbox) -> Result<()> {
    let mut rules = Rules::open()?;
    let (kept, others): (Vec<_>, Vec<_>) =
        elements()?.into_iter().partition(|element| element.set == "publish4");
    rules.apply(&fresh_tables())?;
    rules.apply(&additions(kept.clone()))?;
    let before = listing()?;

    let add = others.into_iter().map(Change::AddElement);
    let delete = kept.into_iter().map(Change::DeleteElement);
    let change: Transaction = add.chain(delete).collect();
    rules.apply(&change)?;
    ensure!(listing()? != before, "something has changed");
    rules.apply(&change.inverse())?;
    assert_eq!(listing()?, before);

    let all = everything()?;
    nft(&["flush", "ruleset"], "")?;
    rules.apply(&all)?;
    rules.apply(&all.inverse())?;
    assert_eq!(listing()?, "");
    Ok(())
}

fn taken_key_is_named_and_nothing_applied(_: &Sandbox) -> Result<()> {
    let mut rules = Rules::open()?;
    rules.apply(&fresh_tables())?;
    rules.apply(&additions(elements()?))?;
    let before = listing()?;
    // The same key with other data, and with the same: neither is an addition.
    for data in [["10.87.0.9", "80"], ["10.87.0.2", "80"]] {
        let taken = element("publish4", &["tcp", "8080"], &data)?;
        let change = additions([
            element("publish4", &["tcp", "1"], &["10.87.0.9", "80"])?,
            taken.clone(),
            element("publish4", &["tcp", "2"], &["10.87.0.9", "80"])?,
        ]);
        match rules.apply(&change) {
            Err(RulesError::Exists { element }) => assert_eq!(*element, taken),
            other => bail!("{other:?}"),
        }
        assert_eq!(listing()?, before);
    }
    let twice = element("publish4", &["tcp", "3"], &["10.87.0.9", "80"])?;
    match rules.apply(&additions([twice.clone(), twice.clone()])) {
        Err(error @ RulesError::Exists { .. }) => assert_eq!(
            error.to_string(),
            "nftables has an element with the key of inet rootful_net publish4 { tcp . 3 comment \
             \"for publish4\" : 10.87.0.9 . 80 } already"
        ),
        other => bail!("{other:?}"),
    }
    assert_eq!(listing()?, before);
    // The socket is none the worse for it.
    rules.apply(&additions([twice]))?;
    Ok(())
}

fn refused_change_leaves_nothing(_: &Sandbox) -> Result<()> {
    let mut rules = Rules::open()?;
    rules.apply(&fresh_table())?;
    rules.apply(&additions(elements()?.into_iter().filter(|one| one.table == TableName::INET)))?;
    let before = listing()?;
    let absent = element("publish6", &["tcp", "7"], &["fd87::7", "7"])?;
    let change = Transaction::new(vec![
        Change::AddElement(element("publish4", &["tcp", "7"], &["10.87.0.7", "7"])?),
        Change::DeleteElement(absent.clone()),
        Change::AddElement(absent.clone()),
        Change::DeleteTable(TableName::INET),
    ]);
    match rules.apply(&change) {
        Err(RulesError::Refused { index: 1, change, source }) => {
            assert_eq!(change, "delete element inet rootful_net publish6 { tcp . 7 }");
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => bail!("{other:?}"),
    }
    assert_eq!(listing()?, before);

    let long = Element { comment: Some("x".repeat(128)), ..absent };
    match rules.apply(&additions([long])) {
        Err(RulesError::Refused { index: 0, .. }) => {}
        other => bail!("{other:?}"),
    }
    // More refusals than the answers to them have room.
    let absent = (1..=60_000).map(publish4).collect::<Result<Vec<_>>>()?;
    rules.apply(&fresh_table())?;
    match rules.apply(&deletions(absent)) {
        Err(RulesError::Refused { index: 0, .. }) => {}
        other => bail!("{other:?}"),
    }
    match rules.apply(&Transaction::new(vec![Change::DeleteTable(TableName::BRIDGE)])) {
        Err(error @ RulesError::Refused { index: 0, .. }) => {
            assert_eq!(error.to_string(), "nftables refuses \"delete table bridge rootful_net\"");
        }
        other => bail!("{other:?}"),
    }
    Ok(())
}

fn key_moves_within_one_transaction(_: &Sandbox) -> Result<()> {
    let mut rules = Rules::open()?;
    rules.apply(&everything()?)?;
    let old = element("publish4", &["tcp", "8080"], &["10.87.0.2", "80"])?;
    let new = element("publish4", &["tcp", "8080"], &["10.87.0.3", "81"])?;
    let change = vec![Change::DeleteElement(old), Change::AddElement(new)];
    rules.apply(&Transaction::new(change))?;
    ensure!(listing()?.contains("tcp . 8080 comment \"for publish4\" : 10.87.0.3 . 81"));
    Ok(())
}

fn publish4(port: u16) -> Result<Element> {
    element("publish4", &["tcp", &port.to_string()], &["10.87.0.2", "80"])
}

/// The median time of adding and removing 6 elements.
fn six_elements(rules: &mut Rules) -> Result<Duration> {
    let six = (65_001..=65_006).map(publish4).collect::<Result<Vec<_>>>()?;
    let (add, delete) = (additions(six.clone()), deletions(six));
    let mut times = Vec::new();
    for _ in 0..51 {
        let start = Instant::now();
        rules.apply(&add)?;
        rules.apply(&delete)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("51 times")
}

fn change_costs_the_same_next_to_60000(_: &Sandbox) -> Result<()> {
    let mut rules = Rules::open()?;
    rules.apply(&fresh_table())?;
    let alone = six_elements(&mut rules)?;

    let many = (1..=60_000).map(publish4).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    rules.apply(&additions(many.clone()))?;
    let large = start.elapsed();
    let count = nft(&["-j", "list", "map", "inet", "rootful_net", "publish4"], "")?;
    assert_eq!(count.matches("for publish4").count(), 60_000);
    let crowded = six_elements(&mut rules)?;
    println!("6 elements: {alone:?} alone, {crowded:?} next to 60000, which took {large:?}");
    ensure!(crowded < alone * 5, "6 elements: {alone:?} alone, {crowded:?} next to 60000");

    rules.apply(&deletions(many))?;
    ensure!(!listing()?.contains("for publish4"));
    Ok(())
}
