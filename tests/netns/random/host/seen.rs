//! What is seen of rootful-net in the kernel, against what the bus shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Result, ensure};
use rootful_net_core::mac::MacAddress;
use rootful_net_core::observed::{LinkKind, Observed, Query, Sysctl, TableContents};
use rootful_net_core::ruleset::{Element, TableName};
use rootful_net_dbus::AttachmentProperties;
use rootful_net_kernel::{Kernel, RulesetMark};

use crate::random::operation::NETWORKS;

const MARK_PATH: &str = "/run/rootful-net/ruleset";

/// What there is of rootful-net in the kernel, without numbers that change when a link is made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) links: BTreeMap<String, String>,
    stations: BTreeSet<(String, MacAddress)>,
    addresses: BTreeMap<String, BTreeSet<String>>,
    ruleset: BTreeMap<TableName, TableContents>,
    sysctls: BTreeMap<Sysctl, String>,
}

impl Seen {
    /// Looks at the host.
    pub(super) fn look(kernel: &mut Kernel) -> Result<Self> {
        if let Ok(sealed) = fs::read_to_string(MARK_PATH)
            && let Some((content, _)) = sealed.rsplit_once("\nsha256:")
            && let Ok(mark) = serde_json::from_str::<RulesetMark>(content)
        {
            kernel.remember(mark);
        }
        let bridges = NETWORKS.iter().map(|(_, bridge)| bridge.parse());
        let query = Query {
            own_links: true,
            ruleset: true,
            tables: true,
            addresses: bridges.collect::<Result<_, _>>()?,
            stations: true,
            sysctls: [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()].into(),
            ..Query::default()
        };
        Ok(Self::from(kernel.observe(&query, None)?))
    }

    /// Fails unless there are the links of these attachments and of their networks, and no others.
    pub(super) fn ensure_links_of(&self, shown: &[AttachmentProperties]) -> Result<()> {
        let interfaces = || shown.iter().flat_map(|attachment| &attachment.interfaces);
        let bridge_of = |network: &str| NETWORKS.iter().find(|(name, _)| *name == network);
        let bridges = interfaces().filter_map(|interface| bridge_of(&interface.network));
        let links: BTreeSet<_> = interfaces()
            .map(|interface| interface.host_link.as_str())
            .chain(bridges.map(|(_, bridge)| *bridge))
            .collect();
        let found: BTreeSet<_> = self.links.keys().map(String::as_str).collect();
        ensure!(found == links, "there are {found:?}, not {links:?}");
        Ok(())
    }

    /// Fails unless these attachments and their networks have something in the tables, as many forwards as ports, and
    /// nobody else has. What each has is not looked at.
    pub(super) fn ensure_elements_of(&self, shown: &[AttachmentProperties]) -> Result<()> {
        let interfaces = shown.iter().flat_map(|attachment| &attachment.interfaces);
        let networks = interfaces.map(|interface| interface.network.clone());
        let holders: BTreeSet<_> =
            shown.iter().map(|attachment| attachment.id.clone()).chain(networks).collect();
        let elements = || self.ruleset.values().flat_map(|contents| &contents.elements);
        let comment = |element: &Element| element.comment.clone().unwrap_or_default();
        let found: BTreeSet<_> = elements().map(comment).collect();
        ensure!(found == holders, "elements belong to {found:?}, not to {holders:?}");
        let is_forward = |set: &str| ["publish4", "publish6"].contains(&set);
        let forwards = elements().filter(|element| is_forward(element.set)).count();
        let ports: usize = shown.iter().map(|attachment| attachment.ports.len()).sum();
        ensure!(forwards == 2 * ports, "there are {forwards} forwards of {ports} ports");
        Ok(())
    }
}

impl From<Observed> for Seen {
    fn from(observed: Observed) -> Self {
        let name_of = |index: u32| {
            let mut links = observed.links.values();
            links.find(|link| link.index == index).map_or("?", |link| link.name.as_str()).to_owned()
        };
        let own = observed.links.values().filter(|link| is_own(&link.name));
        let links = own.map(|link| {
            let master = link.master.map(name_of);
            let kind = match &link.kind {
                LinkKind::Veth => "veth",
                LinkKind::Bridge => "bridge",
                LinkKind::Loopback | LinkKind::Other(_) => "another",
            };
            // The host's end of a pair has a MAC address by chance.
            let mac = (link.kind == LinkKind::Bridge).then_some(link.mac);
            let (alias, up, port) = (&link.alias, link.up, link.port);
            let text = format!("{kind} {alias:?} {master:?} {up} {mac:?} {port:?}");
            (link.name.clone(), text)
        });
        let addresses = observed.addresses.iter().map(|(link, addresses)| {
            (link.clone(), addresses.iter().map(ToString::to_string).collect())
        });
        let stations = observed.stations.iter().map(|(index, mac)| (name_of(*index), *mac));
        Self {
            links: links.collect(),
            stations: stations.filter(|(link, _)| link.starts_with("rn")).collect(),
            addresses: addresses.collect(),
            ruleset: observed.ruleset.clone(),
            sysctls: observed.sysctls.clone(),
        }
    }
}

pub(super) fn is_own(link: &str) -> bool {
    link.starts_with("rn") || link.starts_with("rootful")
}
