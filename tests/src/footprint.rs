//! What the product leaves on a host: links, addresses, nftables, records and leases, to compare before and
//! after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::deadline::eventually;
use crate::namespace::{run, run_json};
use crate::sealed;

const RECORD_DIR: &str = "/run/rootful-net/attachments";
const NETWORK_DIR: &str = "/run/rootful-net/networks";
const LEASE_PATH: &str = "/var/lib/rootful-net/leases.json";

/// How long the service may take for what it does behind an answer.
const SETTLED_IN: Duration = Duration::from_secs(1);
/// What a record says until then.
const SETTLING: &str = r#""phase":"settling""#;

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Each link's kind, alias, master and addresses, without the loopback interface.
    pub links: BTreeMap<String, String>,
    /// What `nft list ruleset` prints.
    pub ruleset: String,
    /// The records of attachments by file name.
    pub records: BTreeMap<String, String>,
    /// The kept definitions of networks in use by file name.
    pub networks: BTreeMap<String, String>,
    /// The leases, a JSON array, without when they were used, which is written later than the rest.
    pub leases: String,
}

impl Footprint {
    /// Looks at the host, which is the current thread's network namespace.
    ///
    /// # Errors
    /// Where it cannot be seen.
    pub fn look() -> anyhow::Result<Self> {
        let mut links = BTreeMap::new();
        let shown = run_json("ip -details -json address show")?;
        for link in shown.as_array().context("a list")? {
            let name = link["ifname"].as_str().context("a name")?;
            if name != "lo" {
                links.insert(name.to_owned(), describe(link));
            }
        }
        Ok(Self {
            links,
            ruleset: in_order(&run("nft list ruleset")?),
            records: records()?,
            networks: files(NETWORK_DIR)?,
            leases: leases()?,
        })
    }

    /// Fails unless nothing of the product is in kernel or records; leases stay, as they should.
    ///
    /// # Errors
    /// Says what is there.
    pub fn ensure_no_attachment(&self) -> anyhow::Result<()> {
        let own = |name: &&String| name.starts_with("rn") || name.starts_with("rootful");
        let links: Vec<_> = self.links.keys().filter(own).collect();
        ensure!(links.is_empty(), "links are left: {links:?}");
        ensure!(self.ruleset.is_empty(), "rules are left: {}", self.ruleset);
        ensure!(self.records.is_empty(), "records are left: {:?}", self.records);
        ensure!(self.networks.is_empty(), "networks are left: {:?}", self.networks);
        Ok(())
    }
}

/// A listing with the elements of each set in order: the kernel has them in that of a hash table, which
/// changes while it grows.
fn in_order(listing: &str) -> String {
    let mut parts = listing.split("elements = {");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (elements, rest) = part.split_once('}').unwrap_or((part, ""));
        let mut elements: Vec<_> = elements.split(',').map(str::trim).collect();
        elements.sort_unstable();
        text.push_str(&format!("elements = {{ {} }}{rest}", elements.join(", ")));
    }
    text
}

fn describe(link: &Value) -> String {
    let addresses = link["addr_info"].as_array().map(Vec::as_slice).unwrap_or_default();
    let addresses: Vec<_> = addresses
        .iter()
        .map(|address| format!("{}/{}", address["local"], address["prefixlen"]))
        .collect();
    let properties = ["ifalias", "master", "mtu", "address"].map(|key| link[key].to_string());
    let kind = &link["linkinfo"]["info_kind"];
    format!("{kind} {} {}", properties.join(" "), addresses.join(" "))
}

fn files(directory: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    if !Path::new(directory).exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(files)
}

/// Those of a service that does nothing: what it does behind its answers is waited for, unless it was killed.
fn records() -> anyhow::Result<BTreeMap<String, String>> {
    let settled = eventually(SETTLED_IN, || {
        let records = files(RECORD_DIR)?;
        let settling = records.values().find(|record| record.contains(SETTLING));
        ensure!(settling.is_none(), "{settling:?}");
        Ok(records)
    });
    settled.or_else(|_| files(RECORD_DIR))
}

fn leases() -> anyhow::Result<String> {
    match Path::new(LEASE_PATH).exists() {
        true => {
            let mut file: Value = serde_json::from_str(&sealed::read(LEASE_PATH)?)?;
            for lease in file["leases"].as_array_mut().context("a list")? {
                lease.as_object_mut().context("a lease")?.remove("used");
            }
            Ok(file["leases"].to_string())
        }
        false => Ok(String::new()),
    }
}
