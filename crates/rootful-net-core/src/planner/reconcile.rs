//! Reconciliation: from what the ledger says and what is really there to the steps that bring them together. What is
//! right is not touched, and what is nobody's is removed where rootful-net made it.

use std::collections::BTreeSet;

use super::{Change, World, bridge, tables};
use crate::attachment::{Attachment, Interface};
use crate::link::{Bridge, Veth};
use crate::name::InterfaceName;
use crate::network::Network;
use crate::observed::{Link, LinkKind, Observed, Query, Sysctl};
use crate::plan::{Plan, Step};
use crate::publish::Reservation;
use crate::ruleset::{self, Element, Transaction};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Everything,
    /// Everything but what the tables hold, which is known to be right.
    AllButRules,
}

/// What must be observed to reconcile.
pub fn reconcile_query(world: World<'_>, scope: Scope) -> Query {
    let networks: Vec<_> = in_use(world, world.ledger.attachments());
    let addresses = networks.iter().map(|network| network.interface().clone()).collect();
    let own = networks.iter().flat_map(|network| bridge::own_sysctls(network));
    let own = own.map(|(sysctl, _)| sysctl);
    Query {
        // Of any kind: somebody else's may have the name.
        links: networks.iter().map(|network| network.interface().clone()).collect(),
        own_links: true,
        tables: true,
        ruleset: scope == Scope::Everything,
        addresses,
        stations: !networks.is_empty(),
        sysctls: bridge::sysctls_to_read(&networks).into_iter().chain(own).collect(),
        router_advertisements: networks.iter().any(|network| network.ipv6_enabled()),
        ..Query::default()
    }
}

/// Brings the kernel and the ledger together again.
///
/// Attachments whose links are gone are released: their containers are. What the others need is repaired, and what
/// belongs to none of them is removed. The steps do not depend on each other's success: one that fails must not keep
/// the rest from being done, and is planned again the next time. Where everything is as it should be, there is none.
pub fn reconcile(world: World<'_>, observed: &Observed, scope: Scope) -> Change {
    let (live, dead): (Vec<_>, Vec<_>) =
        world.ledger.attachments().partition(|attachment| has_links(attachment, observed));
    let networks = in_use(world, live.iter().copied());
    let strays = strays(observed, &live);
    let mut steps = Vec::new();
    for network in &networks {
        steps.extend(bridge_steps(world, observed, network));
    }
    steps.extend(forwarding_steps(observed, &networks, &live));
    let mut afterwards: Vec<_> =
        strays.iter().map(|(_, link)| Step::DeleteLink(link.clone())).collect();
    if live.is_empty() {
        // Behind the links: until they are gone, the guard stays.
        afterwards.extend(tables::removal(observed));
    } else {
        // A stray port is closed until its link is gone; by tables that are known to be right it may be already.
        let closed = match scope {
            Scope::Everything => stray_ports(&strays),
            Scope::AllButRules => Vec::new(),
        };
        let rules = rules(world, observed, scope, &networks, &live, &closed);
        if !rules.is_empty() {
            steps.push(Step::ChangeRules(rules));
        }
        if !closed.is_empty() {
            let opened = closed.into_iter().map(ruleset::Change::DeleteElement);
            afterwards.push(Step::ChangeRules(opened.collect()));
        }
    }
    let hairpin = bridge::hairpin(observed);
    for interface in live.iter().flat_map(|attachment| attachment.interfaces()) {
        let veth = Veth { hairpin, ..interface.veth.clone() };
        steps.extend(port_steps(observed, &veth));
    }
    steps.extend(reservation_steps(observed, &live));
    let released = dead.iter().map(|attachment| attachment.id().clone()).collect();
    Change { plan: Plan { steps, afterwards }, released, attached: None }
}

/// Whether a link that changed is what it should be, as far as its own state says; true for links that are nothing to
/// rootful-net.
pub fn is_link_intact(world: World<'_>, observed: &Observed, link: &str) -> bool {
    let hairpin = bridge::hairpin(observed);
    if let Some(attachment) = world.ledger.of_host_link(link) {
        let mut interfaces = attachment.interfaces().iter();
        let interface = interfaces.find(|interface| interface.veth.host_link.as_str() == link);
        let interface = interface.expect("the ledger knows the attachment by this link");
        let veth = Veth { hairpin, ..interface.veth.clone() };
        return observed.links.contains_key(link) && port_state(observed, &veth) == PortState::Up;
    }
    let networks = in_use(world, world.ledger.attachments());
    match networks.into_iter().find(|network| network.interface().as_str() == link) {
        Some(network) => {
            let wanted = bridge::bridge(world, network);
            observed.links.get(link).is_some_and(|link| is_bridge_intact(link, &wanted))
        }
        None => true,
    }
}

/// Whether the host forwards for the networks that are in use.
pub fn is_forwarding(world: World<'_>, observed: &Observed) -> bool {
    bridge::forwarding_steps(observed, &in_use(world, world.ledger.attachments())).is_empty()
}

/// What must be observed to say of a link whether it is intact: itself and what it hangs on.
pub fn link_query(world: World<'_>, link: &InterfaceName) -> Query {
    let attachment = world.ledger.of_host_link(link.as_str());
    let interfaces = attachment.into_iter().flat_map(Attachment::interfaces);
    let bridges = interfaces.map(|interface| interface.veth.bridge.clone());
    Query {
        links: bridges.chain([link.clone()]).collect(),
        sysctls: Sysctl::bridge_netfilter().into(),
        ..Query::default()
    }
}

/// Takes back what is left of an interrupted replacement in one namespace: the steps that give it the links again
/// that were unplugged. They are for that namespace. Rules, and links that are down, are left to [`reconcile`].
pub fn restore(attachment: &Attachment, previous: &Attachment) -> Vec<Step> {
    let (new, old) = replaced(attachment, previous);
    let removed: BTreeSet<_> =
        new.iter().chain(&old).map(|interface| &interface.veth.host_link).collect();
    let mut steps: Vec<_> = removed.into_iter().cloned().map(Step::DeleteLink).collect();
    for interface in old {
        steps.push(Step::CreateVeth(interface.veth.clone()));
        steps.push(Step::SetUpInterface(interface.setup.clone()));
    }
    steps
}

/// What must be observed to say whether a replacement had begun with the links.
pub fn restore_query(attachment: &Attachment, previous: &Attachment) -> Query {
    let (new, old) = replaced(attachment, previous);
    let links = new.iter().chain(&old).map(|interface| interface.veth.host_link.clone());
    Query { links: links.collect(), ..Query::default() }
}

/// Whether an interrupted replacement in one namespace had not begun with the links: those that it was to unplug are
/// there, and none of the new ones. False where an old and a new one have the same name, which tells nothing, and where
/// an old one is down: one that is given back comes up last of all, when its other end is set up.
pub fn is_untouched(attachment: &Attachment, previous: &Attachment, observed: &Observed) -> bool {
    let (new, old) = replaced(attachment, previous);
    let link = |interface: &Interface| observed.links.get(interface.veth.host_link.as_str());
    let is_up = |interface: &&Interface| link(interface).is_some_and(|link| link.up);
    old.iter().all(is_up) && !new.iter().any(|interface| link(interface).is_some())
}

/// The interfaces that a replacement makes and those that it removes.
fn replaced<'a>(
    attachment: &'a Attachment,
    previous: &'a Attachment,
) -> (Vec<&'a Interface>, Vec<&'a Interface>) {
    let differs_from = |other: &Attachment, interface: &Interface| {
        !other.interfaces().iter().any(|own| own.is_same_link(interface))
    };
    let new = attachment.interfaces().iter().filter(|new| differs_from(previous, new));
    let old = previous.interfaces().iter().filter(|old| differs_from(attachment, old));
    (new.collect(), old.collect())
}

fn has_links(attachment: &Attachment, observed: &Observed) -> bool {
    let mut interfaces = attachment.interfaces().iter();
    interfaces.all(|interface| observed.links.contains_key(interface.veth.host_link.as_str()))
}

fn in_use<'a>(
    world: World<'a>,
    attachments: impl IntoIterator<Item = &'a Attachment>,
) -> Vec<&'a Network> {
    let interfaces = attachments.into_iter().flat_map(Attachment::interfaces);
    let names: BTreeSet<_> = interfaces.map(|interface| &interface.network).collect();
    names.into_iter().filter_map(|name| world.catalogue.get(name)).collect()
}

fn bridge_steps(world: World<'_>, observed: &Observed, network: &Network) -> Vec<Step> {
    let wanted = bridge::bridge(world, network);
    let present: BTreeSet<_> =
        observed.addresses.get(wanted.name.as_str()).into_iter().flatten().collect();
    let link = observed.links.get(wanted.name.as_str());
    let change = match link {
        None => Some(Step::CreateBridge(wanted)),
        // Somebody else's: it is not touched, and creating ours says so.
        Some(link) if !bridge::is_own(link) => return vec![Step::CreateBridge(wanted)],
        Some(link) => {
            let has_addresses = wanted.all_addresses().all(|address| present.contains(&address));
            let is_right = is_bridge_intact(link, &wanted) && has_addresses;
            (!is_right).then_some(Step::RepairBridge(wanted))
        }
    };
    let is_new = link.is_none();
    let sysctls = bridge::own_sysctls(network).into_iter().filter(|(sysctl, value)| {
        is_new || observed.sysctls.get(sysctl).is_some_and(|present| present != value)
    });
    change.into_iter().chain(sysctls.map(bridge::set)).collect()
}

/// The steps that switch forwarding on where it is off. Links of ours go on taking no router advertisements: they would
/// be a container's.
fn forwarding_steps(observed: &Observed, networks: &[&Network], live: &[&Attachment]) -> Vec<Step> {
    let interfaces = live.iter().flat_map(|attachment| attachment.interfaces());
    let links = interfaces.flat_map(|port| [&port.veth.host_link, &port.veth.bridge]);
    let own: BTreeSet<_> = links.map(|link| Sysctl::ipv6_link(link, "accept_ra")).collect();
    let mut steps = bridge::forwarding_steps(observed, networks);
    steps.retain(|step| match step {
        Step::SetSysctl { sysctl, .. } => !own.contains(sysctl),
        _ => true,
    });
    steps
}

fn is_bridge_intact(link: &Link, wanted: &Bridge) -> bool {
    let has_mtu = wanted.mtu.is_none_or(|mtu| link.mtu == u32::from(mtu));
    bridge::is_own(link) && link.up && link.mac == Some(wanted.mac) && has_mtu
}

/// What is wrong with the host end of a pair, in so far as it decides what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortState {
    /// It is as it should be.
    Up,
    /// It only is down.
    Down,
    /// It is no port of its bridge, or not as it was made.
    Unplugged,
}

fn port_state(observed: &Observed, veth: &Veth) -> PortState {
    let bridge = observed.links.get(veth.bridge.as_str()).map(|bridge| bridge.index);
    let Some(link) = observed.links.get(veth.host_link.as_str()) else {
        return PortState::Unplugged;
    };
    let is_port = bridge.is_some() && link.master == bridge;
    let has_mtu = veth.mtu.is_none_or(|mtu| link.mtu == u32::from(mtu));
    let is_same = is_port && link.port == Some(veth.port_flags()) && has_mtu;
    match (is_same, link.up) {
        (true, true) => PortState::Up,
        (true, false) => PortState::Down,
        (false, _) => PortState::Unplugged,
    }
}

fn port_steps(observed: &Observed, veth: &Veth) -> Vec<Step> {
    let bridge = observed.links.get(veth.bridge.as_str());
    if bridge.is_some_and(|bridge| !bridge::is_own(bridge)) {
        // Somebody else's, and no place for a container.
        return Vec::new();
    }
    let index = observed.links.get(veth.host_link.as_str()).map(|link| link.index);
    let has_station =
        index.is_some_and(|index| observed.stations.contains(&(index, veth.container_mac)));
    let bring_up = Step::BringUp(veth.host_link.clone());
    match port_state(observed, veth) {
        PortState::Up if has_station => Vec::new(),
        PortState::Down if has_station => vec![bring_up],
        PortState::Up | PortState::Down | PortState::Unplugged => {
            vec![Step::PlugIn(veth.clone()), bring_up]
        }
    }
}

/// The transaction that makes the tables hold what they should: a table that is not intact is made anew, in another
/// only the elements that differ change.
fn rules(
    world: World<'_>,
    observed: &Observed,
    scope: Scope,
    networks: &[&Network],
    live: &[&Attachment],
    closed: &[Element],
) -> Transaction {
    if scope == Scope::AllButRules && tables::are_there(observed) && closed.is_empty() {
        return Transaction::default();
    }
    let of_networks = networks.iter().flat_map(|network| tables::of_network(world, network));
    let of_attachments = live.iter().flat_map(|attachment| tables::of_attachment(attachment));
    let wanted: BTreeSet<Element> = of_networks.chain(of_attachments).collect();
    let (mut made, mut removed, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for name in tables::TABLES {
        let is_in_table = |element: &&Element| element.table == name;
        let wanted: BTreeSet<_> = wanted.iter().filter(is_in_table).collect();
        let with_closed = wanted.iter().copied().chain(closed.iter().filter(is_in_table));
        let with_closed: BTreeSet<_> = with_closed.collect();
        let present: BTreeSet<_> = match observed.ruleset.get(&name) {
            _ if scope == Scope::AllButRules && observed.tables.contains(&name) => wanted,
            Some(contents) if contents.intact => contents.elements.iter().collect(),
            Some(_) | None => {
                made.push(ruleset::Change::ReplaceTable(tables::fixed(name)));
                BTreeSet::new()
            }
        };
        let delete = |element: &&Element| ruleset::Change::DeleteElement((*element).clone());
        let add = |element: &&Element| ruleset::Change::AddElement((*element).clone());
        removed.extend(present.difference(&with_closed).map(delete));
        added.extend(with_closed.difference(&present).map(add));
    }
    made.into_iter().chain(removed).chain(added).collect()
}

fn reservation_steps(observed: &Observed, live: &[&Attachment]) -> Vec<Step> {
    let mut spare = observed.reserved.clone();
    let mut reserve = Vec::new();
    for attachment in live {
        let wanted = attachment.reservations();
        wanted.iter().for_each(|port| _ = spare.remove(port));
        let missing: Vec<Reservation> = wanted.difference(&observed.reserved).copied().collect();
        if !missing.is_empty() {
            reserve.push(Step::ReservePorts(missing));
        }
    }
    // First of all: what is spare may be in the way of what is missing.
    let spare: Vec<_> = spare.into_iter().collect();
    let release = (!spare.is_empty()).then_some(Step::ReleasePorts(spare));
    release.into_iter().chain(reserve).collect()
}

/// Links that rootful-net made and that belong to no attachment.
fn strays(observed: &Observed, live: &[&Attachment]) -> Vec<(LinkKind, InterfaceName)> {
    let used: BTreeSet<&str> = live
        .iter()
        .flat_map(|attachment| attachment.interfaces())
        .flat_map(|interface| [interface.veth.host_link.as_str(), interface.veth.bridge.as_str()])
        .collect();
    let stray = observed.links.values().filter(|link| !used.contains(link.name.as_str()));
    stray.filter_map(own_name).collect()
}

fn stray_ports(strays: &[(LinkKind, InterfaceName)]) -> Vec<Element> {
    let ports = strays.iter().filter(|(kind, _)| *kind == LinkKind::Veth);
    ports.map(|(_, link)| ruleset::port_element(link, "stray".to_owned())).collect()
}

/// What stands for the `ifalias` of a link that rootful-net has made and not given one yet.
pub fn unfinished_alias(kind: &LinkKind) -> Option<String> {
    let prefix = match kind {
        LinkKind::Veth => super::attach::ALIAS_PREFIX,
        LinkKind::Bridge => bridge::ALIAS_PREFIX,
        LinkKind::Loopback | LinkKind::Other(_) => return None,
    };
    Some(format!("{prefix}(unfinished)"))
}

/// What a link is and is called, where its `ifalias` says that rootful-net made it.
fn own_name(link: &Link) -> Option<(LinkKind, InterfaceName)> {
    let is_own = match link.kind {
        LinkKind::Veth => super::attach::is_own_alias(link.alias.as_deref()),
        LinkKind::Bridge => bridge::is_own(link),
        LinkKind::Loopback | LinkKind::Other(_) => false,
    };
    let name = is_own.then(|| link.name.parse().ok()).flatten();
    name.map(|name| (link.kind.clone(), name))
}
