//! A picture of everything that the product holds: in the kernel, on disk, on the bus and in containers. Two of them are
//! equal where the same is attached, on whatever host, as long as the address key is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rootful_net_dbus::objects;
use rootful_net_tests::container::Container;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::lan::Lan;
use rootful_net_tests::namespace::run_json;
use serde_json::Value;

use crate::daemon::ROOT;

/// Everything that the product holds, by what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    parts: BTreeMap<String, String>,
    leases: BTreeSet<String>,
}

impl Picture {
    /// Looks at the host, which is the current thread's network namespace, and into the containers.
    pub(crate) fn look(containers: &[Container]) -> Result<Self> {
        let mut parts = BTreeMap::new();
        let footprint = Footprint::look()?;
        // A table that is made anew is listed last.
        for table in footprint.ruleset.split("table ").filter(|table| !table.is_empty()) {
            let name = table.lines().next().unwrap_or_default();
            parts.insert(format!("table {name}"), table.to_owned());
        }
        links(&mut parts)?;
        stations(&mut parts)?;
        for (name, content) in footprint.records {
            let record = format!("/run/rootful-net/attachments/{name}");
            // Whether it is sealed is seen by the daemon that reads it.
            let content =
                content.rsplit_once("\nsha256:").map_or(&*content, |(content, _)| content);
            parts.insert(record, without_namespaces(content));
        }
        for directory in ["/run/rootful-net", "/var/lib/rootful-net"] {
            files(Path::new(directory), &mut parts)?;
        }
        for port in [8080, 8081, 9090, 9091] {
            let tcp = TcpListener::bind(("0.0.0.0", port)).is_ok();
            let udp = UdpSocket::bind(("0.0.0.0", port)).is_ok();
            parts.insert(format!("port {port}"), format!("free: tcp {tcp}, udp {udp}"));
        }
        for (number, container) in containers.iter().enumerate() {
            let shown = container.run(|| run_json("ip -json address show"))?;
            for link in shown.as_array().context("a list")? {
                let name = link["ifname"].as_str().context("a name")?;
                if name != "lo" {
                    let facts = format!("{} {}", state(link), addresses(link));
                    parts.insert(format!("{name} of container {number}"), facts);
                }
            }
        }
        let attachments =
            ROOT.on_bus(async |connection| Ok(objects::attachments(&connection).await?))?;
        for (path, properties) in attachments {
            parts.insert(path.to_string(), serde_json::to_string(&properties)?);
        }
        let mut leases = BTreeSet::new();
        if !footprint.leases.is_empty() {
            let all: Vec<Value> = serde_json::from_str(&footprint.leases)?;
            leases.extend(all.iter().map(ToString::to_string));
        }
        Ok(Self { parts, leases })
    }

    /// Fails unless the kernel, the records and the bus hold what they hold in `model`. Further leases may be there.
    pub(crate) fn ensure_same(&self, model: &Self) -> Result<()> {
        let keys: BTreeSet<_> = self.parts.keys().chain(model.parts.keys()).collect();
        for key in keys {
            let (is, should) = (self.parts.get(key), model.parts.get(key));
            ensure!(is == should, "{key} is {is:#?} instead of {should:#?}");
        }
        let missing: Vec<_> = model.leases.difference(&self.leases).collect();
        ensure!(missing.is_empty(), "leases are missing: {missing:?}");
        Ok(())
    }
}

fn links(parts: &mut BTreeMap<String, String>) -> Result<()> {
    let shown = run_json("ip -details -json address show")?;
    let links = shown.as_array().context("a list")?;
    for link in links {
        let name = link["ifname"].as_str().context("a name")?;
        if name == "lo" || name == Lan::HOST_LINK {
            continue;
        }
        let text = |value: &Value| value.to_string();
        let kind = &link["linkinfo"]["info_kind"];
        let mut facts = vec![text(kind)];
        facts.extend(["ifalias", "master", "mtu", "group"].map(|key| text(&link[key])));
        if kind == "bridge" {
            facts.push(text(&link["address"]));
        }
        let port = &link["linkinfo"]["info_slave_data"];
        let keys = ["learning", "flood", "locked", "isolated", "hairpin", "group_fwd_mask"];
        facts.extend(keys.map(|key| text(&port[key])));
        facts.push(state(link).to_owned());
        facts.push(addresses(link));
        if kind == "bridge" {
            for parameter in ["ipv4/conf/{}/route_localnet", "ipv6/conf/{}/accept_ra"] {
                let path = format!("/proc/sys/net/{}", parameter.replace("{}", name));
                facts.push(fs::read_to_string(path)?.trim_end().to_owned());
            }
        }
        parts.insert(format!("link {name}"), facts.join(" "));
    }
    Ok(())
}

/// Whether it is administratively up. Whether it has a carrier follows, sooner or later.
fn state(link: &Value) -> &'static str {
    let flags = link["flags"].as_array().map(Vec::as_slice).unwrap_or_default();
    if flags.iter().any(|flag| flag == "UP") { "up" } else { "down" }
}

fn addresses(link: &Value) -> String {
    let addresses = link["addr_info"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut addresses: Vec<_> = addresses
        .iter()
        .map(|address| format!("{}/{}", address["local"], address["prefixlen"]))
        .collect();
    addresses.sort();
    addresses.join(" ")
}

fn stations(parts: &mut BTreeMap<String, String>) -> Result<()> {
    let shown = run_json("bridge -json fdb show")?;
    for entry in shown.as_array().context("a list")? {
        let (link, mac) = (entry["ifname"].as_str(), entry["mac"].as_str());
        let (link, mac) = (link.context("a link")?, mac.context("an address")?);
        if entry["state"] == "static" && link.starts_with("rn") {
            parts.insert(format!("station {mac}"), link.to_owned());
        }
    }
    Ok(())
}

/// Names of files; of what is in them, records and leases are looked at.
fn files(directory: &Path, parts: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, parts)?;
        } else if !path.ends_with("leases.json") && !path.ends_with("ruleset") {
            parts.entry(path.display().to_string()).or_default();
        }
    }
    Ok(())
}

/// A record without what tells namespaces apart.
fn without_namespaces(content: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("namespace");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    match serde_json::from_str::<Value>(content) {
        Ok(mut record) => {
            strip(&mut record);
            record.to_string()
        }
        Err(_) => content.to_owned(),
    }
}
