//! Brings the ruleset into the kernel, one transaction at a time. What the rules say is decided elsewhere;
//! this module carries it over and says which change the kernel refused.

mod batch;
mod contents;
mod expression;
pub(crate) mod listing;
mod user_data;
mod value;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_netfilter::nftables::{NfTablesMessage, TableAttribute, TableMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use rootful_net_core::ruleset::{Change, Element, Family, TableName, Transaction};

use crate::netlink::{Answer, Exchange, RawMessage};
use batch::TransactionBatch;

pub use contents::RulesetMark;

/// Access to the nftables of the network namespace in which it was opened.
pub struct Rules {
    exchange: Exchange,
    mark: RulesetMark,
    transactions: u32,
}

/// Says what became of a transaction that was not carried out; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// There is no socket to speak to nftables by.
    #[error("open a socket to nftables")]
    Open(#[source] io::Error),
    /// An element that was to be added has a key that is in the set already.
    #[error("nftables has an element with the key of {element} already")]
    Exists {
        /// The element that was to be added.
        element: Box<Element>,
    },
    /// The kernel refuses one of the changes.
    #[error("nftables refuses \"{change}\"")]
    Refused {
        /// The first of the changes that were refused, by its place in the transaction.
        index: usize,
        /// That change in `nft` syntax; for a table the first line.
        change: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The transaction failed as a whole: for want of privileges or memory.
    #[error("change the nftables ruleset")]
    Transaction(#[source] io::Error),
    /// A table could not be looked up.
    #[error("look for nftables table {table}")]
    Lookup {
        /// The table.
        table: TableName,
        /// What the kernel says.
        source: io::Error,
    },
    /// What a table holds could not be read.
    #[error("read nftables table {table}")]
    Read {
        /// The table.
        table: TableName,
        /// What the kernel says; `Interrupted` where rules kept changing while they were read.
        source: io::Error,
    },
    /// The kernel does not say how often the ruleset has changed.
    #[error("read the generation of the nftables ruleset")]
    Generation(#[source] io::Error),
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl Rules {
    /// Opens a socket in the current network namespace.
    ///
    /// # Errors
    /// [`RulesError::Open`].
    pub fn open() -> Result<Self, RulesError> {
        let exchange = Exchange::open(NETLINK_NETFILTER).map_err(RulesError::Open)?;
        Ok(Self { exchange, mark: RulesetMark::none(), transactions: 0 })
    }

    /// The address of the socket, which the kernel names as the origin of a change in its notifications.
    pub(crate) fn port(&self) -> Result<u32, RulesError> {
        self.exchange.port().map_err(RulesError::Open)
    }

    /// How many transactions were carried out; from the largest number on, from 0 again, as generations.
    pub(crate) fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Carries out the whole transaction, or nothing of it.
    ///
    /// # Errors
    /// [`RulesError::Exists`], [`RulesError::Refused`] and [`RulesError::Transaction`].
    pub fn apply(&mut self, transaction: &Transaction) -> Result<(), RulesError> {
        if transaction.is_empty() {
            return Ok(());
        }
        let batch = TransactionBatch::new(transaction)?;
        let makes_tables = transaction.changes().iter().any(makes_table);
        let before = if makes_tables { self.generation().ok() } else { None };
        self.exchange.send(&batch.pages()).map_err(RulesError::Transaction)?;

        let mut refusal: Option<(u32, io::Error)> = None;
        let mut carried_out = false;
        let received = self.exchange.receive(|(header, payload): Answer<RawMessage>| {
            let number = header.sequence_number;
            if let NetlinkPayload::Error(answer) = payload {
                if answer.code.is_some() {
                    // Answers come in the order of the messages; what follows the first is its consequence.
                    refusal.get_or_insert_with(|| (number, answer.to_io()));
                } else if number == batch.last_message() {
                    carried_out = true;
                }
            }
        });
        match refusal {
            Some((number, error)) => Err(refused(transaction, batch.change_of(number), error)),
            None if carried_out => {
                self.transactions = self.transactions.wrapping_add(1);
                self.note(transaction, before);
                Ok(())
            }
            None => {
                let unanswered = || io::Error::new(ErrorKind::InvalidData, "no acknowledgement");
                Err(RulesError::Transaction(received.err().unwrap_or_else(unanswered)))
            }
        }
    }

    /// Says which of the tables of rootful-net exist.
    ///
    /// # Errors
    /// [`RulesError::Lookup`].
    pub fn tables(&mut self) -> Result<BTreeSet<TableName>, RulesError> {
        let mut tables = BTreeSet::new();
        for table in [TableName::INET, TableName::BRIDGE] {
            let family = match table.family {
                Family::Inet => NetfilterProtoFamily::Inet,
                Family::Bridge => NetfilterProtoFamily::Bridge,
            };
            let attributes = vec![TableAttribute::Name(table.name.to_owned())];
            let question = NfTablesMessage::GetTable(TableMessage { attributes });
            let header = NetfilterHeader::new(family, 0, 0);
            match self.exchange.request(NetfilterMessage::new(header, question)) {
                Ok(()) => {
                    tables.insert(table);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(RulesError::Lookup { table, source }),
            }
        }
        Ok(tables)
    }
}

fn makes_table(change: &Change) -> bool {
    match change {
        Change::ReplaceTable(_) => true,
        Change::DeleteTable(_) | Change::AddElement(_) | Change::DeleteElement(_) => false,
    }
}

fn refused(transaction: &Transaction, index: Option<usize>, source: io::Error) -> RulesError {
    let change = index.and_then(|index| Some((index, transaction.changes().get(index)?)));
    match change {
        Some((_, Change::AddElement(element))) if source.kind() == ErrorKind::AlreadyExists => {
            RulesError::Exists { element: Box::new(element.clone()) }
        }
        Some((index, change)) => RulesError::Refused { index, change: first_line(change), source },
        None => RulesError::Transaction(source),
    }
}

fn first_line(change: &Change) -> String {
    match change {
        Change::ReplaceTable(table) => format!("add table {}", table.name),
        Change::DeleteTable(_) | Change::AddElement(_) | Change::DeleteElement(_) => {
            change.to_string()
        }
    }
}
