//! What the two tables hold: which elements a network and an attachment need, and what is to be done where a
//! table is missing. The tables come and go together.

use std::collections::BTreeSet;

use super::{World, bridge};
use crate::attachment::{Attachment, Interface};
use crate::network::Network;
use crate::observed::Observed;
use crate::plan::Step;
use crate::ruleset::{
    Change, Element, Family, Table, TableName, Transaction, attachment_elements, bridge_elements,
    guard_elements, guard_table, inet_table, network_elements, port_element,
};

pub(super) const TABLES: [TableName; 2] = [TableName::INET, TableName::BRIDGE];

/// The fixed part of a table.
pub(super) fn fixed(name: TableName) -> Table {
    match name.family {
        Family::Inet => inet_table(),
        Family::Bridge => guard_table(),
    }
}

/// Whether both tables are there.
pub(super) fn are_there(observed: &Observed) -> bool {
    TABLES.iter().all(|table| observed.tables.contains(table))
}

/// The elements that a network needs.
pub(super) fn of_network(world: World<'_>, network: &Network) -> Vec<Element> {
    let mac = bridge::mac(world, network.name());
    [network_elements(network), bridge_elements(network, mac)].concat()
}

/// The elements that an attachment needs.
pub(super) fn of_attachment(attachment: &Attachment) -> Vec<Element> {
    [attachment_elements(attachment), guard_elements(attachment)].concat()
}

/// The elements that keep anything from coming in by an attachment's ports while its links are removed.
pub(super) fn ports<'a>(
    attachment: &'a Attachment,
    interfaces: impl IntoIterator<Item = &'a Interface>,
) -> Vec<Element> {
    let port = |interface: &Interface| {
        port_element(&interface.veth.host_link, attachment.id().to_string())
    };
    interfaces.into_iter().map(port).collect()
}

/// The transaction that makes the tables hold exactly what these attachments need.
pub(super) fn anew<'a>(
    world: World<'_>,
    attachments: impl IntoIterator<Item = &'a Attachment>,
) -> Transaction {
    let attachments: Vec<_> = attachments.into_iter().collect();
    let interfaces = attachments.iter().flat_map(|attachment| attachment.interfaces());
    let networks: BTreeSet<_> = interfaces.map(|interface| &interface.network).collect();
    let networks = networks.into_iter().filter_map(|name| world.catalogue.get(name));
    let elements = networks.flat_map(|network| of_network(world, network));
    let elements = elements.chain(attachments.into_iter().flat_map(of_attachment));
    let tables = TABLES.map(|name| Change::ReplaceTable(fixed(name)));
    tables.into_iter().chain(elements.map(Change::AddElement)).collect()
}

/// The step that removes these elements, as far as their tables are there.
pub(super) fn removal_of(
    observed: &Observed,
    elements: impl IntoIterator<Item = Element>,
) -> Option<Step> {
    let elements = elements.into_iter();
    let present = elements.filter(|element| observed.tables.contains(&element.table));
    step(present.map(Change::DeleteElement).collect())
}

/// The step that removes the tables that are there.
pub(super) fn removal(observed: &Observed) -> Option<Step> {
    let present = TABLES.into_iter().filter(|table| observed.tables.contains(table));
    step(present.map(Change::DeleteTable).collect())
}

fn step(transaction: Transaction) -> Option<Step> {
    (!transaction.is_empty()).then_some(Step::ChangeRules(transaction))
}
