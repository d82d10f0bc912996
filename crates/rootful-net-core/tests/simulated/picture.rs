//! What a host comes to, whatever happened on it before: links by their names and without their indexes, so that two
//! hosts can be compared.

use std::collections::BTreeSet;

use rootful_net_core::observed::{Link, Sysctl};
use rootful_net_core::plan::Step;
use rootful_net_core::ruleset::{TableName, Value};

use crate::host::{ContainerEnd, SimulatedHost, accept_ra, route_localnet};
use crate::machine::FOREIGN_TABLE;

/// The links and tables that are there before anything is attached.
const FOREIGN_NAMES: [&str; 4] = ["docker0", "enp1s0", "rnforeign", FOREIGN_TABLE.name];

/// A host, a line for each thing that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture(BTreeSet<String>);

impl Picture {
    /// What the host holds, but for whether it forwards: that is never switched off again.
    pub(crate) fn of(host: &SimulatedHost) -> Self {
        Self::of_those(host, |_| true)
    }

    /// What is somebody else's of it.
    pub(crate) fn of_others(host: &SimulatedHost) -> Self {
        Self::of_those(host, |name| FOREIGN_NAMES.contains(&name))
    }

    fn of_those(host: &SimulatedHost, is_wanted: impl Fn(&str) -> bool) -> Self {
        let name_of = |index: u32| {
            let link = host.links.values().find(|link| link.index == index);
            link.map_or("a link that is gone", |link| link.name.as_str())
        };
        let mut lines = BTreeSet::new();
        for link in host.links.values().filter(|link| is_wanted(&link.name)) {
            let master = link.master.map(name_of);
            let link = Link { index: 0, master: None, ..link.clone() };
            lines.insert(format!("{} on {master:?}: {link:?}", link.name));
            for address in host.addresses.get(&link.name).into_iter().flatten() {
                lines.insert(format!("{} has {address}", link.name));
            }
            let name = link.name.parse().unwrap();
            let localnet = route_localnet(&name);
            lines.insert(format!("{localnet} is {:?}", host.sysctl(&localnet)));
            // A link that takes advertisements may have to go on doing so.
            if host.sysctl(&accept_ra(&name)) == Some("0") {
                lines.insert(format!("{} takes no router advertisements", link.name));
            }
        }
        for (name, contents) in host.tables.iter().filter(|(name, _)| is_wanted(name.name)) {
            lines.insert(format!("{name} is intact: {}", contents.intact));
            lines.extend(contents.elements.iter().map(|element| format!("{element:?}")));
        }
        let stations = host.stations.iter().map(|(port, mac)| (name_of(*port), mac));
        let stations = stations.filter(|(port, _)| is_wanted(port));
        lines.extend(stations.map(|(port, mac)| format!("{mac} is behind {port}")));
        if is_wanted("reserved") {
            lines.extend(host.reserved.iter().map(|port| format!("{port} is reserved")));
        }
        for (namespace, ends) in &host.namespaces {
            for (name, end) in ends.iter().filter(|(_, end)| is_wanted(name_of(end.peer))) {
                let peer = name_of(end.peer);
                let end = ContainerEnd { peer: 0, ..end.clone() };
                lines.insert(format!("{name} in {namespace:?} leads to {peer}: {end:?}"));
            }
        }
        Self(lines)
    }

    /// What only one of the two holds; nothing where they are the same.
    pub(crate) fn differences(&self, other: &Self) -> String {
        let only = |mark: char, lines: &BTreeSet<String>, others: &BTreeSet<String>| {
            lines.difference(others).map(|line| format!("{mark} {line}\n")).collect::<String>()
        };
        only('+', &self.0, &other.0) + &only('-', &other.0, &self.0)
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
        | Step::ForgetFlows(_)
        | Step::ForgetNeighbours { .. } => None,
    }
}

/// A port of ours that frames can come in by without being looked at: it is up on a bridge, and not in the set of
/// ports.
pub(crate) fn unguarded(host: &SimulatedHost) -> Option<&str> {
    let guard = host.tables.get(&TableName::BRIDGE);
    let is_port = |name: &str| {
        let key = [Value::Interface(name.parse().unwrap())];
        let mut elements = guard.into_iter().flat_map(|guard| &guard.elements);
        elements.any(|element| element.set == "ports" && element.key == key)
    };
    let is_own = |alias: &String| alias.starts_with("rootful-net attachment ");
    let own = host.links.values().filter(|link| link.alias.as_ref().is_some_and(is_own));
    let mut open = own.filter(|link| link.up && link.master.is_some() && !is_port(&link.name));
    open.next().map(|link| link.name.as_str())
}
