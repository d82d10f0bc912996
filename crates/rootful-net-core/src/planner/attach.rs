//! Attach: what a container gets, and the steps that give it.

use std::collections::BTreeSet;

use super::address::{addresses, attachment_id, host_link, mac};
use super::detach::{forget_flows, forget_neighbours, idle_bridges, released_rules};
use super::forward::forwards;
use super::reserve::PortChange;
use super::{Change, PlanError, World, bridge, tables};
use crate::attachment::{Attachment, AttachmentId, Holder, Interface, NamespaceId};
use crate::derivation::link_local;
use crate::dns;
use crate::link::{InterfaceSetup, Veth};
use crate::name::{InterfaceName, NetworkName};
use crate::network::Network;
use crate::observed::{LinkKind, Observed, Query};
use crate::plan::{Plan, Step};
use crate::policy::Authorized;
use crate::request::{AttachRequest, NetworkRequest, OnConflict};
use crate::ruleset::{self, Element, Transaction};

/// What an authorized request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachDecision {
    /// The container is attached exactly so already.
    Unchanged(AttachmentId),
    /// This is to be done.
    Change(Box<Change>),
}

/// What must be observed to decide on a request.
///
/// # Errors
/// A network does not exist.
pub fn attach_query(
    world: World<'_>,
    owner: u32,
    request: &AttachRequest,
) -> Result<Query, PlanError> {
    let networks = resolve(world, request)?;
    let mut links: BTreeSet<InterfaceName> =
        networks.iter().map(|network| network.interface().clone()).collect();
    let holder = Holder { owner, name: request.name.clone() };
    if let Some(existing) = world.ledger.of_holder(&holder) {
        let own = existing.interfaces().iter().map(|interface| &interface.veth.host_link);
        links.extend(own.cloned());
    }
    let idle = |network: &&Network| world.ledger.members(network.name()) == 0;
    let ipv6 = networks.iter().any(|network| network.ipv6_enabled());
    let starts = networks.iter().any(idle);
    Ok(Query {
        links,
        routes: starts,
        listeners: !request.forwards.is_empty(),
        tables: true,
        sysctls: bridge::sysctls_to_read(&networks),
        router_advertisements: starts && ipv6,
        ..Query::default()
    })
}

/// Decides how the namespace gets what was authorized.
///
/// # Errors
/// It cannot be done; [`PlanError`] says why.
pub fn attach(
    world: World<'_>,
    observed: &Observed,
    namespace: NamespaceId,
    authorized: &Authorized<AttachRequest>,
    on_conflict: OnConflict,
) -> Result<AttachDecision, PlanError> {
    let request = authorized.request();
    let holder = Holder { owner: authorized.owner(), name: request.name.clone() };
    let networks = resolve(world, request)?;
    let existing = world.ledger.of_holder(&holder);
    if let Some(other) = world.ledger.of_namespace(namespace)
        && other.holder() != holder
    {
        return Err(PlanError::AttachedAs { name: other.name().clone() });
    }
    if let Some(existing) = existing {
        if is_unchanged(existing, observed, namespace, request) {
            return Ok(AttachDecision::Unchanged(existing.id().clone()));
        }
        check_conflict(existing, observed, namespace, request, on_conflict)?;
    }
    // Only what is in the same namespace can stay; otherwise the old namespace is dead or given up.
    let kept_from = existing.filter(|existing| existing.namespace() == namespace);
    let names = interface_names(observed, kept_from, request)?;
    let id = attachment_id(world, &holder);
    let interfaces = interfaces(world, observed, &holder, &id, request, &networks, names)?;
    let forwards = forwards(world, observed, authorized, &holder, &interfaces)?;
    let attachment = Attachment {
        id,
        owner: holder.owner,
        namespace,
        request: request.clone(),
        interfaces,
        forwards,
    };
    let plan = plan(world, observed, &networks, existing, kept_from, &attachment)?;
    let change = Change { plan, released: Vec::new(), attached: Some(attachment) };
    Ok(AttachDecision::Change(Box::new(change)))
}

fn resolve<'a>(world: World<'a>, request: &AttachRequest) -> Result<Vec<&'a Network>, PlanError> {
    let find = |asked: &NetworkRequest| {
        let unknown = || PlanError::UnknownNetwork { network: asked.network.clone() };
        world.catalogue.get(&asked.network).ok_or_else(unknown)
    };
    request.networks.iter().map(find).collect()
}

/// Whether all links of the attachment are still there.
fn is_alive(attachment: &Attachment, observed: &Observed) -> bool {
    let mut interfaces = attachment.interfaces().iter();
    interfaces.all(|interface| observed.links.contains_key(interface.veth.host_link.as_str()))
}

fn is_unchanged(
    existing: &Attachment,
    observed: &Observed,
    namespace: NamespaceId,
    request: &AttachRequest,
) -> bool {
    existing.namespace() == namespace
        && existing.request() == request
        && is_alive(existing, observed)
        && tables::are_there(observed)
}

fn check_conflict(
    existing: &Attachment,
    observed: &Observed,
    namespace: NamespaceId,
    request: &AttachRequest,
    on_conflict: OnConflict,
) -> Result<(), PlanError> {
    let may_replace = match on_conflict {
        OnConflict::Replace => true,
        OnConflict::Refuse => {
            let same_namespace = existing.namespace() == namespace;
            let same_request = same_namespace && existing.request() == request;
            // Podman has one container of a name for each user: when both ids are known the namespace
            // that is attached belongs to the same container's last run or to its predecessor.
            let succeeds = !same_namespace
                && existing.container_id().is_some()
                && request.container_id.is_some();
            same_request || succeeds || !is_alive(existing, observed)
        }
    };
    let name = || existing.name().clone();
    match may_replace {
        true => Ok(()),
        false if existing.namespace() == namespace => {
            Err(PlanError::AttachedDifferently { name: name() })
        }
        false => Err(PlanError::NameInUse { name: name() }),
    }
}

/// The interfaces' names inside the container: those asked for, and `eth0`, `eth1`, … for the others.
fn interface_names(
    observed: &Observed,
    kept_from: Option<&Attachment>,
    request: &AttachRequest,
) -> Result<Vec<InterfaceName>, PlanError> {
    let is_own = |name: &str| {
        let mut interfaces = kept_from.into_iter().flat_map(Attachment::interfaces);
        interfaces.any(|interface| interface.setup.name.as_str() == name)
    };
    let links = observed.namespace_links.iter();
    let foreign: Vec<_> =
        links.filter(|link| link.kind != LinkKind::Loopback && !is_own(&link.name)).collect();
    // Fallback tunnels of the kernel are in every namespace, and down.
    if let Some(link) = foreign.iter().find(|link| link.up || link.kind == LinkKind::Veth) {
        return Err(PlanError::NamespaceInUse { link: link.name.clone() });
    }
    let mut taken: BTreeSet<&str> = foreign.iter().map(|link| link.name.as_str()).collect();
    let asked = request.networks.iter().filter_map(|network| network.interface_name.as_ref());
    for interface in asked {
        if !taken.insert(interface.as_str()) {
            return Err(PlanError::InterfaceTaken { interface: interface.clone() });
        }
    }
    let mut free = (0_u32..)
        .map(|number| format!("eth{number}"))
        .filter(|name| !taken.contains(name.as_str()))
        .map(|name| name.parse().expect("eth and a number are an interface name"));
    let name = |asked: &NetworkRequest| {
        asked.interface_name.clone().or_else(|| free.next()).expect("the names do not end")
    };
    Ok(request.networks.iter().map(name).collect())
}

fn interfaces(
    world: World<'_>,
    observed: &Observed,
    holder: &Holder,
    id: &AttachmentId,
    request: &AttachRequest,
    networks: &[&Network],
    names: Vec<InterfaceName>,
) -> Result<Vec<Interface>, PlanError> {
    let hairpin = bridge::hairpin(observed);
    // The first network that leads out has the default routes, of each family.
    let mut routed = BTreeSet::new();
    let mut interfaces = Vec::new();
    for ((asked, network), name) in request.networks.iter().zip(networks).zip(names) {
        let container_mac = mac(world, holder, network, asked)?;
        let lacks_ipv6 = observed.namespace_lacks_ipv6;
        let addresses = addresses(world, holder, network, asked, lacks_ipv6)?;
        let has_ipv6 = addresses.iter().any(|address| address.addr().is_ipv6());
        let is_routed = |subnet: &&crate::network::Subnet| {
            addresses.iter().any(|address| subnet.subnet().contains(&address.addr()))
        };
        let default_routers = network
            .subnets()
            .iter()
            .filter(|_| !network.internal())
            .filter(is_routed)
            .map(|subnet| subnet.gateway())
            .filter(|gateway| routed.insert(gateway.is_ipv6()))
            .collect();
        interfaces.push(Interface {
            network: network.name().clone(),
            veth: Veth {
                host_link: host_link(world, id, network.name()),
                alias: veth_alias(holder, network.name()),
                bridge: network.interface().clone(),
                container_link: name.clone(),
                container_mac,
                mtu: network.mtu(),
                neighbours: network.neighbours(),
                hairpin,
            },
            connection_limit: network.connection_limit(),
            setup: InterfaceSetup {
                name,
                addresses,
                link_local: has_ipv6.then(|| link_local(container_mac)),
                default_routers,
            },
            aliases: asked.aliases.clone(),
            names: dns::served(world.ledger, network, holder, request, asked)?,
        });
    }
    Ok(interfaces)
}

pub(super) const ALIAS_PREFIX: &str = "rootful-net attachment ";

fn veth_alias(holder: &Holder, network: &NetworkName) -> String {
    format!("{ALIAS_PREFIX}{} of {} on {network}", holder.name, holder.owner)
}

/// Whether the `ifalias` is one of a veth of rootful-net.
pub(super) fn is_own_alias(alias: Option<&str>) -> bool {
    alias.is_some_and(|alias| alias.starts_with(ALIAS_PREFIX))
}

fn plan(
    world: World<'_>,
    observed: &Observed,
    networks: &[&Network],
    existing: Option<&Attachment>,
    kept_from: Option<&Attachment>,
    attachment: &Attachment,
) -> Result<Plan, PlanError> {
    let is_kept = |interface: &Interface| {
        observed.links.contains_key(interface.veth.host_link.as_str())
            && kept_from.is_some_and(|existing| has_link(existing, interface))
    };
    let ports = PortChange::new(observed, existing, attachment);
    let mut steps: Vec<_> = ports.before().collect();
    for network in networks {
        steps.extend(bridge::steps(world, observed, network)?);
    }
    steps.extend(bridge::forwarding_steps(observed, networks));
    let old = existing.into_iter().flat_map(Attachment::interfaces);
    steps.extend(old.filter(|old| !(is_kept(old) && has_link(attachment, old))).map(|old| {
        match kept_from {
            Some(_) if observed.links.contains_key(old.veth.host_link.as_str()) => {
                Step::Unplug { veth: old.veth.clone(), setup: old.setup.clone() }
            }
            Some(_) | None => Step::DeleteLink(old.veth.host_link.clone()),
        }
    }));
    for interface in attachment.interfaces().iter().filter(|interface| !is_kept(interface)) {
        steps.push(Step::CreateVeth(interface.veth.clone()));
        steps.push(Step::SetUpInterface(interface.setup.clone()));
    }
    let rules = rules(world, observed, networks, existing, attachment);
    if !rules.is_empty() {
        steps.push(Step::ChangeRules(rules));
    }
    for interface in attachment.interfaces().iter().filter(|interface| !is_kept(interface)) {
        steps.push(Step::BringUp(interface.veth.host_link.clone()));
    }
    steps.extend(ports.after());
    let mut afterwards = forget_flows(existing.into_iter().chain([attachment]));
    if let Some(existing) = existing {
        let remaining: Vec<_> = networks.iter().map(|network| network.name()).collect();
        let gone = existing.interfaces().iter().filter(|old| !has_link(attachment, old));
        let gone = gone.filter(|old| remaining.contains(&&old.network));
        afterwards.extend(gone.map(forget_neighbours));
        afterwards.extend(idle_bridges(world, existing, &remaining));
    }
    Ok(Plan { steps, afterwards })
}

fn has_link(attachment: &Attachment, interface: &Interface) -> bool {
    attachment.interfaces().iter().any(|own| own.is_same_link(interface))
}

/// Only what differs from the attachment in whose place this one comes changes, in one transaction.
fn rules(
    world: World<'_>,
    observed: &Observed,
    networks: &[&Network],
    existing: Option<&Attachment>,
    attachment: &Attachment,
) -> Transaction {
    if !tables::are_there(observed) {
        let others = world.ledger.attachments();
        let others = others.filter(|other| Some(other.id()) != existing.map(Attachment::id));
        return tables::anew(world, others.chain([attachment]));
    }
    let wanted: BTreeSet<Element> = tables::of_attachment(attachment).into_iter().collect();
    let present: BTreeSet<Element> =
        existing.map(tables::of_attachment).into_iter().flatten().collect();
    let begun = networks.iter().filter(|network| world.ledger.members(network.name()) == 0);
    let begun = begun.flat_map(|network| tables::of_network(world, network));
    let remaining: Vec<_> = networks.iter().map(|network| network.name()).collect();
    let removed = present.difference(&wanted).cloned();
    let ended = existing.map(|existing| released_rules(world, existing, &remaining));
    let removed = removed.chain(ended.into_iter().flatten());
    let added = begun.chain(wanted.difference(&present).cloned());
    let removed = removed.map(ruleset::Change::DeleteElement);
    removed.chain(added.map(ruleset::Change::AddElement)).collect()
}
