//! What a host comes to, whatever happened on it before: links by their names and without their indexes, so that two
//! hosts can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use rootful_net_core::attachment::NamespaceId;
use rootful_net_core::ledger::Ledger;
use rootful_net_core::link::Veth;
use rootful_net_core::mac::MacAddress;
use rootful_net_core::observed::{Link, Sysctl, TableContents};
use rootful_net_core::plan::Step;
use rootful_net_core::publish::Reservation;
use rootful_net_core::ruleset::TableName;

use crate::host::SimulatedHost;
use crate::machine::FOREIGN_TABLE;

/// The links that are there before anything is attached.
const FOREIGN_LINKS: [&str; 3] = ["docker0", "enp1s0", "rnforeign"];

/// A host without what is nobody's business.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    links: BTreeMap<String, (Link, Option<String>)>,
    addresses: BTreeMap<String, BTreeSet<IpNet>>,
    stations: BTreeSet<(String, MacAddress)>,
    tables: BTreeMap<TableName, TableContents>,
    reserved: BTreeSet<Reservation>,
    sysctls: BTreeMap<Sysctl, String>,
    inside: BTreeMap<(NamespaceId, String), Inside>,
}

/// The container's end of a pair: its host end, MAC address, MTU, whether it is up, addresses, and default routers.
type Inside = (String, MacAddress, u32, bool, BTreeSet<IpNet>, Vec<IpAddr>);

impl Picture {
    /// What the host holds, but for whether it forwards: that is never switched off again.
    pub(crate) fn of(host: &SimulatedHost) -> Self {
        let name_of = |index: u32| {
            let link = host.links.values().find(|link| link.index == index);
            link.map_or_else(|| format!("index {index}, which is gone"), |link| link.name.clone())
        };
        let links = host.links.iter().map(|(name, link)| {
            let master = link.master.map(name_of);
            (name.clone(), (Link { index: 0, master: None, ..link.clone() }, master))
        });
        let stations = host.stations.iter().map(|(port, mac)| (name_of(*port), *mac));
        let forwarding = [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()];
        let sysctls = host.sysctls.iter();
        let sysctls = sysctls.filter(|(sysctl, _)| {
            !forwarding.contains(sysctl) && !sysctl.path().contains("/enp1s0/")
        });
        let mut inside = BTreeMap::new();
        for (namespace, ends) in &host.namespaces {
            for (name, end) in ends {
                let (addresses, routers) = (end.addresses.clone(), end.routers.clone());
                let end = (name_of(end.peer), end.mac, end.mtu, end.up, addresses, routers);
                inside.insert((*namespace, name.clone()), end);
            }
        }
        Self {
            links: links.collect(),
            addresses: host.addresses.clone(),
            stations: stations.collect(),
            tables: host.tables.clone(),
            reserved: host.reserved.clone(),
            sysctls: sysctls.map(|(name, value)| (name.clone(), value.clone())).collect(),
            inside,
        }
    }

    /// What is somebody else's of it.
    pub(crate) fn of_others(host: &SimulatedHost) -> Self {
        let mut picture = Self::of(host);
        picture.links.retain(|name, _| FOREIGN_LINKS.contains(&name.as_str()));
        picture.addresses.retain(|name, _| FOREIGN_LINKS.contains(&name.as_str()));
        picture.tables.retain(|name, _| *name == FOREIGN_TABLE);
        picture.sysctls.retain(|sysctl, _| sysctl.path().contains("docker0"));
        picture.stations.clear();
        picture.reserved.clear();
        picture.inside.clear();
        picture
    }
}

/// Whether the host forwards what the other one does.
pub(crate) fn forwards_like(host: &SimulatedHost, other: &SimulatedHost) -> bool {
    [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()]
        .iter()
        .all(|sysctl| other.sysctl(sysctl) != Some("1") || host.sysctl(sysctl) == Some("1"))
}

/// The host links that a step makes, changes or removes.
pub(crate) fn touched(step: &Step) -> Option<&str> {
    match step {
        Step::CreateBridge(bridge) | Step::RepairBridge(bridge) => Some(bridge.name.as_str()),
        Step::CreateVeth(veth) | Step::Unplug { veth, .. } | Step::PlugIn(veth) => {
            Some(veth.host_link.as_str())
        }
        Step::DeleteLink(link) | Step::BringUp(link) => Some(link.as_str()),
        Step::SetSysctl { .. }
        | Step::SetUpInterface(_)
        | Step::ClaimPorts(_)
        | Step::ReservePorts(_)
        | Step::ReleasePorts(_)
        | Step::ChangeRules(_)
        | Step::ForgetFlows(_) => None,
    }
}

/// A port of ours that frames can come in by without being looked at: it is up on a bridge, and is not in the set of
/// ports.
pub(crate) fn unguarded<'a>(
    host: &'a SimulatedHost,
    veths: impl IntoIterator<Item = &'a Veth>,
) -> Option<&'a str> {
    let guard = host.tables.get(&TableName::BRIDGE);
    let is_port = |name: &str| {
        let mut elements = guard.into_iter().flat_map(|guard| &guard.elements);
        elements.any(|element| {
            let key = [rootful_net_core::ruleset::Value::Interface(name.parse().unwrap())];
            element.set == "ports" && element.key == key
        })
    };
    let is_open = |name: &str| {
        host.links.get(name).is_some_and(|link| link.up && link.master.is_some()) && !is_port(name)
    };
    veths.into_iter().map(|veth| veth.host_link.as_str()).find(|name| is_open(name))
}

/// All veth pairs of the ledger.
pub(crate) fn veths(ledger: &Ledger) -> impl Iterator<Item = &Veth> {
    let interfaces = ledger.attachments().flat_map(|attachment| attachment.interfaces());
    interfaces.map(|interface| &interface.veth)
}
