//! What the name server reads: a file a network, in aardvark-dns's format.
//!
//! The first line has the addresses at which the network is asked, every further one a container: its id,
//! its IPv4 addresses, its IPv6 addresses and its names, separated by spaces, lists by commas. Who asks is
//! known by the address, so each container has a line, also one without names.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{has_names, name_servers};
use crate::attachment::{Attachment, Interface};
use crate::catalogue::Catalogue;
use crate::ledger::Ledger;
use crate::network::Network;

/// The file that the name server writes its process id to, in the directory of the records.
pub const PID_FILE: &str = "aardvark.pid";

/// The end of a file's name that says that the network's containers get no answers from beyond it.
const INTERNAL_SUFFIX: &str = "%int";

/// The files, by name, for the networks that have containers and names.
pub fn records(catalogue: &Catalogue, ledger: &Ledger) -> BTreeMap<String, String> {
    let networks = ledger.networks().filter_map(|name| catalogue.get(name));
    let named = networks.filter(|network| has_names(network));
    named.map(|network| (file_name(network), file(network, ledger))).collect()
}

fn file_name(network: &Network) -> String {
    let suffix = if network.internal() { INTERNAL_SUFFIX } else { "" };
    format!("{}{suffix}", network.name())
}

fn file(network: &Network, ledger: &Ledger) -> String {
    let mut text = list(name_servers(network));
    text.push('\n');
    for attachment in ledger.attachments_on(network.name()) {
        let mut interfaces = attachment.interfaces().iter();
        let interface = interfaces.find(|interface| interface.network == *network.name());
        text.extend(interface.map(|interface| line(attachment, interface)));
    }
    text
}

/// The id is the attachment's and not the container's, which is only what the client says: the name server
/// takes lines with one id for one container and lets it see all their networks.
fn line(attachment: &Attachment, interface: &Interface) -> String {
    let id = attachment.id();
    let ipv4 = list(interface.addresses().filter(|address| address.is_ipv4()));
    let ipv6 = list(interface.addresses().filter(|address| address.is_ipv6()));
    let names = match interface.names.is_empty() {
        false => list(&interface.names),
        // The format wants a name. One of 64 characters fits into no query, RFC 1035 §2.3.4.
        true => format!("{:->64}", id.as_str()),
    };
    format!("{id} {ipv4} {ipv6} {names}\n")
}

fn list(items: impl IntoIterator<Item: Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
