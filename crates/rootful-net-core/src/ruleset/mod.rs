//! The nftables ruleset as data: tables, sets, rules, elements, and the changes made to them. It owns what
//! the rules say and how they print in `nft -f` syntax; it must not talk to the kernel.
//!
//! Rules are fixed: attachments only add and remove set elements, so a packet costs the same and a change
//! costs the same however many containers there are (DESIGN §6).

mod element;
mod expression;
mod guard;
mod host_access;
mod inet;
mod text;

pub use element::{Element, NeighbourOption, Value};
pub use expression::{
    Comparison, CtState, EtherType, Field, Match, Number, Protocol3, Selector, Statement, Verdict,
};
pub use guard::{guard_elements, guard_table, port_element};
pub use host_access::bridge_elements;
pub use inet::{PUBLISH_MAPS, PublishMap, attachment_elements, inet_table, network_elements};

/// The address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6 together.
    Inet,
    /// Frames that pass a bridge.
    Bridge,
}

/// Names one of the two tables that belong to rootful-net. No other table is ever touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The table's family.
    pub family: Family,
    /// The table's name.
    pub name: &'static str,
}

impl TableName {
    /// `inet rootful_net`: publishing, masquerading and the forward policy.
    pub const INET: Self = Self { family: Family::Inet, name: "rootful_net" };
    /// `bridge rootful_net`: the guard.
    pub const BRIDGE: Self = Self { family: Family::Bridge, name: "rootful_net" };
}

/// A table with all its sets, maps, chains and rules, without elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What the table is called.
    pub name: TableName,
    /// Sets and maps, in the order in which they are created.
    pub sets: Vec<Set>,
    /// Chains, in the order in which they are created.
    pub chains: Vec<Chain>,
}

/// A named hash set, or a map when it has data fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The set's name, unique in its table.
    pub name: &'static str,
    /// The fields that are concatenated into the key.
    pub key: &'static [Field],
    /// The fields that are concatenated into the data; empty for a plain set.
    pub data: &'static [Field],
}

impl Set {
    /// Whether elements have data, which is what makes a map. A limit on connections is not data.
    pub fn is_map(&self) -> bool {
        !(self.data.is_empty() || self.counts_connections())
    }

    /// Whether elements are found only while there are more connections than their limit.
    pub fn counts_connections(&self) -> bool {
        self.data == [Field::ConnectionLimit]
    }
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The chain's name, unique in its table.
    pub name: &'static str,
    /// Where the kernel calls the chain; `None` for a chain that is jumped to.
    pub hook: Option<Hook>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// Where and when the kernel calls a base chain. The policy of every base chain is `accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: ChainKind,
    /// The netfilter hook.
    pub point: HookPoint,
    /// The priority among the chains on that hook, lowest first.
    pub priority: i32,
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// `type filter`.
    Filter,
    /// `type nat`: called for the first packet of a connection.
    Nat,
}

/// A netfilter hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Before routing.
    Prerouting,
    /// To the host itself.
    Input,
    /// Through the host.
    Forward,
    /// From the host itself.
    Output,
    /// After routing.
    Postrouting,
}

/// One rule: every match must hold, then the statement is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The conditions, in the order in which they are evaluated.
    pub matches: Vec<Match>,
    /// What happens to a packet that meets all of them.
    pub statement: Statement,
}

/// One change to the ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes the table exist exactly as given and empty, whatever was there under its name before.
    ReplaceTable(Table),
    /// Removes the table with everything in it; it must exist.
    DeleteTable(TableName),
    /// Adds an element; a key that is there already is an error.
    AddElement(Element),
    /// Removes an element; it must exist.
    DeleteElement(Element),
}

/// Changes that the kernel makes all together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    changes: Vec<Change>,
}

impl Transaction {
    /// Makes a transaction of `changes`, carried out in that order.
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// The changes in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The transaction that takes this one back.
    ///
    /// A replaced table is deleted: a table of ours is only replaced when it was missing or damaged. A
    /// deleted table cannot be brought back and is left out.
    pub fn inverse(&self) -> Self {
        let undo = |change: &Change| match change {
            Change::ReplaceTable(table) => Some(Change::DeleteTable(table.name)),
            Change::DeleteTable(_) => None,
            Change::AddElement(element) => Some(Change::DeleteElement(element.clone())),
            Change::DeleteElement(element) => Some(Change::AddElement(element.clone())),
        };
        let replaced = |element: &Element| {
            self.changes.iter().any(|change| match change {
                Change::ReplaceTable(table) => table.name == element.table,
                Change::DeleteTable(_) | Change::AddElement(_) | Change::DeleteElement(_) => false,
            })
        };
        let changes = self.changes.iter().rev().filter(|change| match change {
            Change::AddElement(element) => !replaced(element),
            Change::ReplaceTable(_) | Change::DeleteTable(_) | Change::DeleteElement(_) => true,
        });
        Self { changes: changes.filter_map(undo).collect() }
    }
}

impl FromIterator<Change> for Transaction {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self::new(changes.into_iter().collect())
    }
}
