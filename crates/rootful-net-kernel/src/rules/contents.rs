//! Says what the two tables hold, and whether their fixed part is as it was when it was made. What follows
//! from that is decided elsewhere.

use std::collections::BTreeMap;

use rootful_net_core::observed::TableContents;
use rootful_net_core::ruleset::{Change, Table, TableName, Transaction, guard_table, inet_table};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::listing::{self, FixedPart};
use super::{Rules, RulesError};

/// What the kernel listed when the tables were made. Compared with it, every later change shows, also one
/// that was made while nobody looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetMark {
    /// SHA-256 of the rules of the version that made the tables.
    rules: String,
    /// SHA-256 of the kernel's listing of each table, without elements.
    listings: BTreeMap<String, String>,
}

impl RulesetMark {
    /// The mark of no table.
    pub(super) fn none() -> Self {
        let mut digest = Sha256::new();
        digest.update(env!("CARGO_PKG_VERSION"));
        for table in fixed_tables() {
            digest.update(Change::ReplaceTable(table).to_string());
        }
        let rules = listing::hexadecimal(&digest.finalize());
        Self { rules, listings: BTreeMap::new() }
    }

    fn is_of(&self, table: TableName, fixed: &FixedPart) -> bool {
        self.listings.get(&table.to_string()) == Some(&fixed.digest)
    }
}

fn fixed_tables() -> [Table; 2] {
    [inet_table(), guard_table()]
}

impl Rules {
    /// What was noted when the tables were made; `None` where none was made, or not so that it could be noted.
    pub fn mark(&self) -> Option<&RulesetMark> {
        Some(&self.mark).filter(|mark| !mark.listings.is_empty())
    }

    /// Takes over a mark of an earlier run. One of other rules is as good as none.
    pub fn remember(&mut self, mark: RulesetMark) {
        if mark.rules == self.mark.rules {
            self.mark = mark;
        }
    }

    /// The number of the last change to any table of this network namespace, by whomever. It begins
    /// somewhere and goes up by one, past 0 where it is full.
    ///
    /// # Errors
    /// [`RulesError::Generation`].
    pub fn generation(&mut self) -> Result<u32, RulesError> {
        listing::generation(&mut self.exchange).map_err(RulesError::Generation)
    }

    /// Reads what the two tables hold; one that is not there is missing in the answer.
    ///
    /// # Errors
    /// [`RulesError::Read`].
    pub fn contents(&mut self) -> Result<BTreeMap<TableName, TableContents>, RulesError> {
        let mut contents = BTreeMap::new();
        for table in fixed_tables() {
            let name = table.name;
            let read = self.table_contents(&table);
            let read = read.map_err(|source| RulesError::Read { table: name, source })?;
            contents.extend(read.map(|read| (name, read)));
        }
        Ok(contents)
    }

    fn table_contents(&mut self, table: &Table) -> std::io::Result<Option<TableContents>> {
        let Some(fixed) = listing::fixed_part(&mut self.exchange, table.name)? else {
            return Ok(None);
        };
        let mut contents = TableContents {
            intact: self.mark.is_of(table.name, &fixed),
            ..TableContents::default()
        };
        let is_there = |name: &str| {
            fixed.sets.iter().any(|set| set.strip_suffix(&[0]) == Some(name.as_bytes()))
        };
        for set in table.sets.iter().filter(|set| is_there(set.name)) {
            for element in listing::elements(&mut self.exchange, table.name, set)? {
                match element {
                    Some(element) => _ = contents.elements.insert(element),
                    None => contents.intact = false,
                }
            }
        }
        Ok(Some(contents))
    }

    /// Notes the fixed part of the tables that `transaction` has just made, unless anything has changed but by
    /// it since the ruleset was of generation `before`.
    pub(super) fn note(&mut self, transaction: &Transaction, before: Option<u32>) {
        for change in transaction.changes() {
            match change {
                Change::ReplaceTable(Table { name, .. }) | Change::DeleteTable(name) => {
                    self.mark.listings.remove(&name.to_string());
                }
                Change::AddElement(_) | Change::DeleteElement(_) => {}
            }
        }
        let Some(before) = before else { return };
        match self.listings_of(transaction, before) {
            Ok(Some(listings)) => self.mark.listings.extend(listings),
            Ok(None) => tracing::info!("the ruleset was changed by somebody else meanwhile"),
            Err(error) => tracing::warn!(%error, "the ruleset cannot be read"),
        }
    }

    fn listings_of(
        &mut self,
        transaction: &Transaction,
        before: u32,
    ) -> std::io::Result<Option<BTreeMap<String, String>>> {
        let mut listings = BTreeMap::new();
        for change in transaction.changes() {
            if let Change::ReplaceTable(table) = change
                && let Some(fixed) = listing::fixed_part(&mut self.exchange, table.name)?
            {
                listings.insert(table.name.to_string(), fixed.digest);
            }
        }
        let after = listing::generation(&mut self.exchange)?;
        // The kernel leaves 0 out.
        let own = before.checked_add(1).unwrap_or(1);
        Ok((after == own).then_some(listings))
    }
}
