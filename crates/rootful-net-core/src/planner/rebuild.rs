//! The whole ruleset made anew from the ledger, and what is to be done when the daemon starts.

use std::collections::BTreeSet;

use super::{Change, World, bridge};
use crate::attachment::Attachment;
use crate::catalogue::Catalogue;
use crate::observed::{Link, LinkKind, Observed, Query};
use crate::plan::{Plan, Step};
use crate::ruleset::{self, TableName, Transaction, attachment_elements, inet_table, network_elements};

/// The transaction that makes the tables hold exactly what these attachments need.
pub(super) fn transaction<'a>(
    catalogue: &Catalogue,
    attachments: impl IntoIterator<Item = &'a Attachment>,
) -> Transaction {
    let attachments: Vec<_> = attachments.into_iter().collect();
    let interfaces = attachments.iter().flat_map(|attachment| attachment.interfaces());
    let networks: BTreeSet<_> = interfaces.map(|interface| &interface.network).collect();
    let networks = networks.into_iter().filter_map(|name| catalogue.get(name));
    let elements = networks.flat_map(network_elements);
    let elements = elements.chain(attachments.into_iter().flat_map(attachment_elements));
    let table = ruleset::Change::ReplaceTable(inet_table());
    [table].into_iter().chain(elements.map(ruleset::Change::AddElement)).collect()
}

/// Makes the ruleset what the ledger says, whatever it is now.
pub fn rebuild(world: World<'_>, observed: &Observed) -> Plan {
    let rules = if !world.ledger.is_empty() {
        transaction(world.catalogue, world.ledger.attachments())
    } else if observed.tables.contains(&TableName::INET) {
        Transaction::new(vec![ruleset::Change::DeleteTable(TableName::INET)])
    } else {
        return Plan::default();
    };
    Plan { steps: vec![Step::ChangeRules(rules)], afterwards: Vec::new() }
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
    let mut steps = Vec::new();
    if !live.is_empty() {
        let rules = transaction(world.catalogue, live.iter().copied());
        steps.push(Step::ChangeRules(rules));
    } else if observed.tables.contains(&TableName::INET) {
        let rules = Transaction::new(vec![ruleset::Change::DeleteTable(TableName::INET)]);
        steps.push(Step::ChangeRules(rules));
    }
    let mut afterwards = Vec::new();
    let used: BTreeSet<&str> = live
        .iter()
        .flat_map(|attachment| attachment.interfaces())
        .flat_map(|interface| [interface.veth.host_link.as_str(), interface.veth.bridge.as_str()])
        .collect();
    let stray = observed.links.values().filter(|link| !used.contains(link.name.as_str()));
    afterwards.extend(stray.filter_map(removal));
    let released = dead.iter().map(|attachment| attachment.id().clone()).collect();
    Change { plan: Plan { steps, afterwards }, released, attached: None }
}

/// The step that removes a link which belongs to no attachment, where its `ifalias` says that rootful-net
/// made it.
fn removal(link: &Link) -> Option<Step> {
    let alias = link.alias.as_deref();
    let is_own = match link.kind {
        LinkKind::Veth => super::attach::is_own_alias(alias),
        LinkKind::Bridge => bridge::is_own_alias(alias),
        LinkKind::Loopback | LinkKind::Other(_) => false,
    };
    let name = is_own.then(|| link.name.parse().ok()).flatten();
    name.map(Step::DeleteLink)
}
