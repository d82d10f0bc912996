//! The ruleset in `nft -f` syntax.

use std::fmt::{self, Display, Formatter};

use super::{
    Chain, ChainKind, Change, CtState, Element, Family, Field, Hook, HookPoint, Match, Protocol3,
    Rule, Selector, Set, Statement, Table, TableName, Transaction, Value, Verdict,
};
use crate::network::DEFAULT_CONNECTION_LIMIT;

impl Display for TableName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Inet => "inet",
            Family::Bridge => "bridge",
        };
        write!(f, "{family} {}", self.name)
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {{", self.name)?;
        for set in &self.sets {
            set.fmt(f)?;
        }
        for chain in &self.chains {
            chain.fmt(f)?;
        }
        f.write_str("}")
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words = |fields: &[Field]| joined(fields.iter().map(|field| field.word()));
        let kind = if self.is_map() { "map" } else { "set" };
        write!(f, "\t{kind} {} {{\n\t\t", self.name)?;
        if self.key.iter().all(|field| field.has_type()) {
            write!(f, "type {}", words(self.key))?;
        } else {
            write!(f, "typeof {}", joined(self.key.iter().map(|field| field.sample())))?;
        }
        if self.is_map() {
            write!(f, " : {}", words(self.data))?;
        }
        if self.counts_connections() {
            write!(f, "\n\t\t{} {DEFAULT_CONNECTION_LIMIT}", Field::ConnectionLimit.word())?;
        }
        f.write_str("\n\t}\n\n")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = &self.hook {
            writeln!(f, "\t\t{hook}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}\n")
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let point = match self.point {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {point} priority {}; policy accept;", self.priority)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        self.statement.fmt(f)
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::DestinationIsLocal => f.write_str("fib daddr type local"),
            Self::NetworkProtocol(Protocol3::Ipv4) => f.write_str("meta nfproto ipv4"),
            Self::NetworkProtocol(Protocol3::Ipv6) => f.write_str("meta nfproto ipv6"),
            Self::CtState(CtState::EstablishedOrRelated) => {
                f.write_str("ct state established,related")
            }
            Self::CtState(CtState::New) => f.write_str("ct state new"),
            Self::CtState(CtState::Invalid) => f.write_str("ct state invalid"),
            Self::CtStatusDnat => f.write_str("ct status dnat"),
            Self::InSet(selectors, set) => write!(f, "{} @{set}", selector_words(selectors)),
            Self::NotInSet(selectors, set) => write!(f, "{} != @{set}", selector_words(selectors)),
            Self::InPrefix(selector, prefix) => write!(f, "{} {prefix}", selector.words()),
            Self::Number(number, comparison, constant) => {
                write!(f, "{} {}{constant}", number.words(), comparison.operator())
            }
            Self::EtherType(kind) => write!(f, "ether type {}", kind.word()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(Verdict::Accept) => f.write_str("accept"),
            Self::Verdict(Verdict::Drop) => f.write_str("drop"),
            Self::Verdict(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
            Self::Reject => f.write_str("reject with icmpx admin-prohibited"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::DnatByMap { protocol, key, map } => {
                write!(f, "dnat {} to {} map @{map}", protocol.nat_word(), selector_words(key))
            }
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Ether(address) => address.fmt(f),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::NeighbourTarget(address) => write!(f, "{:#x}", address.to_bits()),
            Self::NeighbourOption(option, mac) => {
                write!(f, "{:#x}", u64::from_be_bytes(option.octets(*mac)))
            }
            Self::ConnectionLimit(limit) => {
                write!(f, "{} {limit}", Field::ConnectionLimit.word())
            }
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key = joined(&self.key);
        write!(f, "{} {} {{ {key}", self.table, self.set)?;
        if let [limit @ Value::ConnectionLimit(_)] = self.data.as_slice() {
            write!(f, " {limit}")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match self.data.as_slice() {
            [] | [Value::ConnectionLimit(_)] => {}
            data => write!(f, " : {}", joined(data))?,
        }
        f.write_str(" }")
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplaceTable(table) => {
                writeln!(f, "add table {}", table.name)?;
                writeln!(f, "delete table {}", table.name)?;
                table.fmt(f)
            }
            Self::DeleteTable(name) => write!(f, "delete table {name}"),
            Self::AddElement(element) => write!(f, "create element {element}"),
            Self::DeleteElement(element) => {
                let key = joined(&element.key);
                write!(f, "delete element {} {} {{ {key} }}", element.table, element.set)
            }
        }
    }
}

impl Display for Transaction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for change in self.changes() {
            writeln!(f, "{change}")?;
        }
        Ok(())
    }
}

fn selector_words(selectors: &[Selector]) -> String {
    joined(selectors.iter().map(|selector| selector.words()))
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" . ")
}

#[cfg(test)]
mod tests {
    use expect_test::{ExpectFile, expect_file};

    use crate::ruleset::{Change, Table, guard_table, inet_table};

    /// In the form that `nft -f` takes.
    fn check(table: Table, file: &ExpectFile) {
        file.assert_eq(&Change::ReplaceTable(table).to_string());
    }

    /// `UPDATE_EXPECT=1 cargo test -p rootful-net-core` writes the files; review the difference.
    #[test]
    fn tables_print_as_the_golden_files() {
        check(inet_table(), &expect_file!["../../../../tests/golden/inet-table.nft"]);
        check(guard_table(), &expect_file!["../../../../tests/golden/bridge-table.nft"]);
    }
}
