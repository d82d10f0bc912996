//! What the product leaves on a host: links, addresses, nftables, records and leases, to compare before and
//! after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::namespace::{run, run_json};
use crate::sealed;

const RECORD_DIR: &str = "/run/rootful-net/attachments";
const NETWORK_DIR: &str = "/run/rootful-net/networks";
const LEASE_PATH: &str = "/var/lib/rootful-net/leases.json";

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
    /// The leases, a JSON array.
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
            records: files(RECORD_DIR)?,
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

fn leases() -> anyhow::Result<String> {
    match Path::new(LEASE_PATH).exists() {
        true => {
            let file: Value = serde_json::from_str(&sealed::read(LEASE_PATH)?)?;
            Ok(file["leases"].to_string())
        }
        false => Ok(String::new()),
    }
}
