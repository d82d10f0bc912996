//! What the name server reads: a file a network, in aardvark-dns's format.
//!
//! The first line has the addresses at which the network is asked, every further one a container: its id,
//! its IPv4 addresses, its IPv6 addresses and its names, separated by spaces, lists by commas. Who asks is
//! known by the address, so each container has a line, also one without names.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::net::IpAddr;

use super::{has_names, name_servers};
use crate::attachment::{Attachment, Interface};
use crate::catalogue::Catalogue;
use crate::ledger::Ledger;
use crate::network::Network;

/// The file that the name server writes its process id to, in the directory of the records.
pub const PID_FILE: &str = "aardvark.pid";

/// How long a line is, roughly.
const LINE_BYTES: usize = 64;

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
    let mut text = String::with_capacity(LINE_BYTES * (1 + ledger.members(network.name())));
    text.push_str(&list(name_servers(network)));
    text.push('\n');
    for attachment in ledger.attachments_on(network.name()) {
        let mut interfaces = attachment.interfaces().iter();
        let interface = interfaces.find(|interface| interface.network == *network.name());
        if let Some(interface) = interface {
            write_line(&mut text, attachment, interface).expect("a string takes everything");
        }
    }
    text
}

/// The id is the attachment's and not the container's, which is only what the client says: the name server
/// takes lines with one id for one container and lets it see all their networks.
fn write_line(text: &mut String, attachment: &Attachment, interface: &Interface) -> fmt::Result {
    let id = attachment.id();
    write!(text, "{id} ")?;
    write_list(text, interface.addresses().filter(IpAddr::is_ipv4))?;
    text.push(' ');
    write_list(text, interface.addresses().filter(IpAddr::is_ipv6))?;
    text.push(' ');
    match interface.names.is_empty() {
        false => write_list(text, &interface.names)?,
        // The format wants a name. One of 64 characters fits into no query, RFC 1035 §2.3.4.
        true => write!(text, "{:->64}", id.as_str())?,
    }
    text.push('\n');
    Ok(())
}

fn list(items: impl IntoIterator<Item: Display>) -> String {
    let mut text = String::new();
    write_list(&mut text, items).expect("a string takes everything");
    text
}

fn write_list(text: &mut String, items: impl IntoIterator<Item: Display>) -> fmt::Result {
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        write!(text, "{item}")?;
    }
    Ok(())
}
