//! Turns a transaction into one batch of nftables messages and remembers which change each belongs to.

use std::ffi::CString;
use std::io::{Error, ErrorKind};

use nftnl::{Batch, Chain, ChainType, FinalizedBatch, Hook, MsgType, Policy, ProtoFamily};
use rootful_net_core::network::DEFAULT_CONNECTION_LIMIT;
use rootful_net_core::ruleset::{
    self, ChainKind, Change, Element, Family, Field, HookPoint, TableName, Transaction, Value,
};

use super::value::bytes;
use super::{RulesError, expression, first_line, user_data};
use crate::ffi::nft::{self, Acknowledge, ElementMessage, NamedSet, SetType};

/// How far `nft` shifts a field's type when it numbers a concatenation, `TYPE_BITS` in its sources.
const TYPE_BITS: u32 = 6;

/// A transaction in the form in which the kernel takes it.
pub(super) struct TransactionBatch {
    batch: FinalizedBatch,
    /// The number of the last message of each change.
    ends: Vec<u32>,
    first_message: u32,
}

impl TransactionBatch {
    /// Builds the batch.
    ///
    /// # Errors
    /// [`RulesError::Refused`] where a change has no form that the kernel could take.
    pub(super) fn new(transaction: &Transaction) -> Result<Self, RulesError> {
        let mut builder = Builder {
            batch: Batch::new(),
            acknowledge: Acknowledge::Refusal,
            first: None,
            last: 0,
            sets: 0,
        };
        let mut ends = Vec::with_capacity(transaction.changes().len());
        for (index, change) in transaction.changes().iter().enumerate() {
            if index + 1 == transaction.changes().len() {
                // With this everything before it has been accepted as well. An answer to each message would
                // overflow the receive buffer.
                builder.acknowledge = Acknowledge::Always;
            }
            builder.change(change).ok_or_else(|| RulesError::Refused {
                index,
                change: first_line(change),
                source: Error::from(ErrorKind::InvalidInput),
            })?;
            ends.push(builder.last);
        }
        let first_message = builder.first.unwrap_or_default();
        Ok(Self { batch: builder.batch.finalize(), ends, first_message })
    }

    /// The bytes, to be sent as one datagram.
    pub(super) fn pages(&self) -> Vec<&[u8]> {
        self.batch.iter().collect()
    }

    /// The number of the last message, which is answered in any case.
    pub(super) fn last_message(&self) -> u32 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// The change that a message belongs to; none for the marks at the beginning and the end.
    pub(super) fn change_of(&self, message: u32) -> Option<usize> {
        let index = self.ends.partition_point(|&end| end < message);
        (message >= self.first_message && index < self.ends.len()).then_some(index)
    }
}

struct Builder {
    batch: Batch,
    acknowledge: Acknowledge,
    first: Option<u32>,
    last: u32,
    sets: u32,
}

impl Builder {
    fn add(&mut self, message: &impl nftnl::NlMsg, kind: MsgType) {
        self.last = nft::add(&mut self.batch, message, kind, self.acknowledge);
        self.first.get_or_insert(self.last);
    }

    /// `None` where an element is longer than nftables allows.
    fn change(&mut self, change: &Change) -> Option<()> {
        match change {
            Change::ReplaceTable(replacement) => {
                let table = table(replacement.name);
                // What was there before can only be removed where there is something.
                self.add(&table, MsgType::Add);
                self.add(&table, MsgType::Del);
                self.add(&table, MsgType::Add);
                self.contents(&table, replacement);
            }
            Change::DeleteTable(name) => self.add(&table(*name), MsgType::Del),
            Change::AddElement(element) => {
                let user_data = match &element.comment {
                    Some(comment) => user_data::comment(comment)?,
                    None => Vec::new(),
                };
                let (data, limit) = match element.data.as_slice() {
                    [Value::ConnectionLimit(limit)] => (Vec::new(), Some(*limit)),
                    data => (bytes(data), None),
                };
                let message = element_message(element, &data, &user_data)?;
                if let Some(limit) = limit {
                    message.count_connections(limit);
                }
                self.add(&message, MsgType::Add);
            }
            Change::DeleteElement(element) => {
                self.add(&element_message(element, &[], &[])?, MsgType::Del);
            }
        }
        Some(())
    }

    /// Everything in a table, in the order in which `nft` makes it: rules name sets and chains.
    fn contents(&mut self, table: &nftnl::Table, contents: &ruleset::Table) {
        for set in &contents.sets {
            self.sets += 1;
            let (name, key) = (name(set.name), set_type(set.key));
            let data = set.is_map().then(|| set_type(set.data));
            let message =
                NamedSet::new(table, &name, self.sets, key, data, &user_data::of_set(set));
            if set.counts_connections() {
                message.count_connections(DEFAULT_CONNECTION_LIMIT);
            }
            self.add(&message, MsgType::Add);
        }
        let chains: Vec<_> = contents.chains.iter().map(|chain| self.chain(table, chain)).collect();
        for (chain, contents) in chains.iter().zip(&contents.chains) {
            for rule in &contents.rules {
                self.add(&expression::rule(chain, rule), MsgType::Add);
            }
        }
    }

    fn chain<'a>(&mut self, table: &'a nftnl::Table, description: &ruleset::Chain) -> Chain<'a> {
        let mut chain = Chain::new(name(description.name), table);
        if let Some(hook) = &description.hook {
            chain.set_type(match hook.kind {
                ChainKind::Filter => ChainType::Filter,
                ChainKind::Nat => ChainType::Nat,
            });
            let point = match hook.point {
                HookPoint::Prerouting => Hook::PreRouting,
                HookPoint::Input => Hook::In,
                HookPoint::Forward => Hook::Forward,
                HookPoint::Output => Hook::Out,
                HookPoint::Postrouting => Hook::PostRouting,
            };
            chain.set_hook(point, hook.priority);
            chain.set_policy(Policy::Accept);
        }
        self.add(&chain, MsgType::Add);
        chain
    }
}

fn table(table: TableName) -> nftnl::Table {
    let family = match table.family {
        Family::Inet => ProtoFamily::Inet,
        Family::Bridge => ProtoFamily::Bridge,
    };
    nftnl::Table::new(name(table.name), family)
}

fn element_message(element: &Element, data: &[u8], user_data: &[u8]) -> Option<ElementMessage> {
    let (table, set) = (table(element.table), name(element.set));
    ElementMessage::new(&table, &set, &bytes(&element.key), data, user_data)
}

/// The name of a fixed part of the ruleset.
pub(super) fn name(name: &str) -> CString {
    CString::new(name).expect("names in the ruleset have no NUL")
}

/// The number by which `nft` knows the type of a field, `enum datatypes` in its sources. The kernel only keeps
/// it, so that a listing can show values as what they are.
fn type_number(field: Field) -> u32 {
    match field {
        Field::Ipv4Address => 7,
        Field::Ipv6Address => 8,
        Field::EtherAddress => 9,
        Field::InetProtocol => 12,
        Field::InetService => 13,
        Field::InterfaceName => 41,
        // An integer: what there is to say about it is in the user data.
        Field::NeighbourTarget | Field::NeighbourOption | Field::ConnectionLimit => 4,
    }
}

fn set_type(fields: &[Field]) -> SetType {
    let number = fields.iter().fold(0, |number, field| number << TYPE_BITS | type_number(*field));
    let len = match fields {
        [field] => field.width(),
        fields => fields.iter().map(|field| field.padded_width()).sum(),
    };
    SetType { number, len: u32::try_from(len).expect("a few fields") }
}
