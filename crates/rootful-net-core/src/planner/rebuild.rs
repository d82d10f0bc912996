//! The whole ruleset made anew from the ledger, and what is to be done when the daemon starts.

use std::collections::BTreeSet;

use super::{Change, World, bridge, tables};
use crate::attachment::Attachment;
use crate::name::InterfaceName;
use crate::observed::{Link, LinkKind, Observed, Query};
use crate::plan::{Plan, Step};
use crate::ruleset;

/// Makes the ruleset what the ledger says, whatever it is now.
pub fn rebuild(world: World<'_>, observed: &Observed) -> Plan {
    let step = if world.ledger.is_empty() {
        tables::removal(observed)
    } else {
        Some(Step::ChangeRules(tables::anew(world, world.ledger.attachments())))
    };
    Plan { steps: step.into_iter().collect(), afterwards: Vec::new() }
}

/// What must be observed when the daemon starts.
pub fn start_up_query() -> Query {
    Query { own_links: true, tables: true, ..Query::default() }
}

/// Brings the kernel and the recorded attachments together again: attachments whose links are gone are
/// released, links and bridges that belong to no attachment are removed, and the ruleset is made anew.
pub fn start_up(world: World<'_>, observed: &Observed) -> Change {
    let has_links = |attachment: &&Attachment| {
        let mut interfaces = attachment.interfaces().iter();
        interfaces.all(|interface| observed.links.contains_key(interface.veth.host_link.as_str()))
    };
    let (live, dead): (Vec<_>, Vec<_>) = world.ledger.attachments().partition(has_links);
    let used: BTreeSet<&str> = live
        .iter()
        .flat_map(|attachment| attachment.interfaces())
        .flat_map(|interface| [interface.veth.host_link.as_str(), interface.veth.bridge.as_str()])
        .collect();
    let stray = observed.links.values().filter(|link| !used.contains(link.name.as_str()));
    let stray: Vec<_> = stray.filter_map(own_name).collect();
    let mut steps = Vec::new();
    let mut afterwards: Vec<_> =
        stray.iter().map(|(_, link)| Step::DeleteLink(link.clone())).collect();
    if live.is_empty() {
        // Behind the links: until they are gone, the guard stays.
        afterwards.extend(tables::removal(observed));
    } else {
        let ports = stray.iter().filter(|(kind, _)| *kind == LinkKind::Veth);
        let ports: Vec<_> =
            ports.map(|(_, link)| ruleset::port_element(link, "stray".to_owned())).collect();
        let closed = ports.iter().cloned().map(ruleset::Change::AddElement);
        let rules = tables::anew(world, live.iter().copied());
        steps.push(Step::ChangeRules(rules.changes().iter().cloned().chain(closed).collect()));
        if !ports.is_empty() {
            let opened = ports.into_iter().map(ruleset::Change::DeleteElement);
            afterwards.push(Step::ChangeRules(opened.collect()));
        }
    }
    let released = dead.iter().map(|attachment| attachment.id().clone()).collect();
    Change { plan: Plan { steps, afterwards }, released, attached: None }
}

/// What a link that belongs to no attachment is and is called, where its `ifalias` says that rootful-net
/// made it.
fn own_name(link: &Link) -> Option<(LinkKind, InterfaceName)> {
    let alias = link.alias.as_deref();
    let is_own = match link.kind {
        LinkKind::Veth => super::attach::is_own_alias(alias),
        LinkKind::Bridge => bridge::is_own_alias(alias),
        LinkKind::Loopback | LinkKind::Other(_) => false,
    };
    let name = is_own.then(|| link.name.parse().ok()).flatten();
    name.map(|name| (link.kind.clone(), name))
}
