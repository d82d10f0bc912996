//! The ruleset in `nft -f` syntax.

use std::fmt::{self, Display, Formatter};

use super::{
    Chain, ChainKind, Change, CtState, Element, Family, Field, Hook, HookPoint, Match, Protocol3,
    Rule, Selector, Set, Statement, Table, TableName, Transaction, Value, Verdict,
};

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
        if self.data.is_empty() {
            writeln!(f, "\tset {} {{\n\t\ttype {}\n\t}}\n", self.name, words(self.key))
        } else {
            let (key, data) = (words(self.key), words(self.data));
            writeln!(f, "\tmap {} {{\n\t\ttype {key} : {data}\n\t}}\n", self.name)
        }
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
            Self::CtState(CtState::Invalid) => f.write_str("ct state invalid"),
            Self::CtStatusDnat => f.write_str("ct status dnat"),
            Self::InSet(selectors, set) => write!(f, "{} @{set}", selector_words(selectors)),
            Self::NotInSet(selectors, set) => write!(f, "{} != @{set}", selector_words(selectors)),
            Self::InPrefix(selector, prefix) => write!(f, "{} {prefix}", selector.words()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(Verdict::Accept) => f.write_str("accept"),
            Self::Verdict(Verdict::Drop) => f.write_str("drop"),
            Self::Verdict(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
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
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key = joined(&self.key);
        write!(f, "{} {} {{ {key}", self.table, self.set)?;
        if let Some(comment) = &self.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        if !self.data.is_empty() {
            write!(f, " : {}", joined(&self.data))?;
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
    use std::path::Path;

    use crate::ruleset::inet_table;

    /// `UPDATE_GOLDEN=1 cargo test -p rootful-net-core inet_table` writes the file.
    #[test]
    fn inet_table_prints_as_the_golden_file() {
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/inet-table.nft");
        let text = format!("{}\n", inet_table());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).expect("the file can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, expected, "run with UPDATE_GOLDEN=1 and review the change");
    }
}
