//! One grant: for whom, on which networks, host addresses and ports, and how much.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

use super::decision::Caller;
use super::usage::{Quota, Resource};
use crate::name::{NetworkName, quoted};
use crate::prefix;
use crate::publish::{HostAddress, Port, Protocol};

/// One grant of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(super) source: String,
    pub(super) users: Vec<Principal>,
    pub(super) groups: Vec<Principal>,
    pub(super) networks: Vec<NamePattern>,
    pub(super) host_addresses: Vec<AddressPattern>,
    pub(super) ports: BTreeMap<Protocol, Vec<PortSpan>>,
    pub(super) static_addresses: bool,
    pub(super) aliases: bool,
    pub(super) quota: Quota,
    pub(super) authorize: Authorize,
}

/// Who has the last word on what a grant allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authorize {
    /// Nobody: the grant does.
    #[default]
    Grant,
    /// Polkit is asked each time.
    Polkit,
}

impl Grant {
    /// The file and the grant's number in it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether polkit is asked.
    pub fn authorize(&self) -> Authorize {
        self.authorize
    }

    /// The users, as the file names them.
    pub fn users(&self) -> impl Iterator<Item = String> + '_ {
        self.users.iter().map(ToString::to_string)
    }

    /// The groups, as the file names them.
    pub fn groups(&self) -> impl Iterator<Item = String> + '_ {
        self.groups.iter().map(ToString::to_string)
    }

    /// The networks' names and patterns of names.
    pub fn networks(&self) -> impl Iterator<Item = &str> + '_ {
        self.networks.iter().map(|pattern| pattern.0.as_str())
    }

    /// The host addresses and prefixes.
    pub fn host_addresses(&self) -> impl Iterator<Item = String> + '_ {
        self.host_addresses.iter().map(ToString::to_string)
    }

    /// The ports, as ranges for each protocol.
    pub fn ports(&self) -> impl Iterator<Item = (Protocol, PortSpan)> + '_ {
        self.ports
            .iter()
            .flat_map(|(&protocol, spans)| spans.iter().map(move |&span| (protocol, span)))
    }

    /// Whether addresses and MAC addresses may be chosen.
    pub fn static_addresses(&self) -> bool {
        self.static_addresses
    }

    /// Whether containers may have further names.
    pub fn aliases(&self) -> bool {
        self.aliases
    }

    /// How much of the resource a user may have by this grant; `None` where it sets no limit.
    pub fn quota(&self, resource: Resource) -> Option<u32> {
        self.quota.of(resource)
    }

    /// Whether it is one for this user.
    pub fn is_for(&self, caller: &Caller) -> bool {
        let user = |principal: &Principal| principal.is(caller.uid, caller.user_name.as_deref());
        let group = |principal: &Principal| {
            caller.groups.iter().any(|group| principal.is(group.gid, group.name.as_deref()))
        };
        self.users.iter().any(user) || self.groups.iter().any(group)
    }

    pub(super) fn has_network(&self, network: &NetworkName) -> bool {
        self.networks.iter().any(|pattern| pattern.matches(network.as_str()))
    }

    pub(super) fn has_port(&self, protocol: Protocol, port: Port) -> bool {
        self.spans(protocol).any(|span| span.contains(port))
    }

    pub(super) fn has_host_address(&self, address: HostAddress) -> bool {
        self.host_addresses.iter().any(|pattern| pattern.matches(address))
    }

    pub(super) fn spans(&self, protocol: Protocol) -> impl Iterator<Item = PortSpan> + '_ {
        self.ports.get(&protocol).into_iter().flatten().copied()
    }
}

/// A user or group, by number or name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a name or a numeric id")]
pub(super) enum Principal {
    Id(u32),
    Name(PrincipalName),
}

/// The name of a user or group: without what no such name has, so that a pattern is not taken for one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PrincipalName(String);

impl TryFrom<String> for PrincipalName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let refused = |c: char| c.is_whitespace() || c.is_control() || "*:,/".contains(c);
        match text.is_empty() || text.chars().any(refused) {
            true => Err(format!("{} is not the name of a user or group", quoted(&text))),
            false => Ok(Self(text)),
        }
    }
}

impl Display for Principal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(&name.0),
        }
    }
}

impl Principal {
    fn is(&self, id: u32, name: Option<&str>) -> bool {
        match self {
            Self::Id(own) => *own == id,
            Self::Name(own) => Some(own.0.as_str()) == name,
        }
    }
}

/// A network's name in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct NamePattern(String);

impl NamePattern {
    fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*".contains(&byte);
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(accepted) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{} is not a network name or a pattern of one, such as \"app-*\"",
                quoted(&text)
            ))
        }
    }
}

/// Host addresses: all, or those in a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum AddressPattern {
    All,
    Prefix(IpNet),
}

impl AddressPattern {
    fn matches(self, address: HostAddress) -> bool {
        let Self::Prefix(prefix) = self else {
            return true;
        };
        match address {
            HostAddress::Any => false,
            HostAddress::AnyIpv4 => prefix.addr().is_ipv4() && prefix.prefix_len() == 0,
            HostAddress::AnyIpv6 => prefix.addr().is_ipv6() && prefix.prefix_len() == 0,
            HostAddress::Ipv4(address) => prefix.contains(&IpAddr::V4(address)),
            HostAddress::Ipv6(address) => prefix.contains(&IpAddr::V6(address)),
        }
    }
}

impl Display for AddressPattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => {
                prefix.addr().fmt(f)
            }
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

impl TryFrom<String> for AddressPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "*" {
            return Ok(Self::All);
        }
        let address = text.parse::<IpAddr>().ok().map(IpNet::from);
        address.or_else(|| prefix::parse(&text)).map(Self::Prefix).ok_or_else(|| {
            format!(
                "{} is not \"*\", an IP address or a prefix such as \"192.0.2.0/24\", without leading zeros",
                quoted(&text)
            )
        })
    }
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct PortSpan {
    first: Port,
    last: Port,
}

impl PortSpan {
    /// Every port.
    pub const ALL: Self = match (Port::new(1), Port::new(u16::MAX)) {
        (Some(first), Some(last)) => Self { first, last },
        _ => unreachable!(),
    };

    /// Whether the port lies in the range.
    pub fn contains(self, port: Port) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{} is not a port or a range such as \"1024-65535\"", quoted(text))),
        }
    }
}

impl TryFrom<String> for PortSpan {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Display for PortSpan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let cases = [
            ("rootful0", "rootful0", true),
            ("rootful0", "rootful01", false),
            ("*", "anything", true),
            ("app-*", "app-web", true),
            ("app-*", "myapp-web", false),
            ("*-db", "app-db", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("a*a", "a", false),
            ("a*ab*b", "aab", false),
        ];
        for (pattern, name, expected) in cases {
            let parsed = NamePattern::try_from(pattern.to_owned()).unwrap();
            assert_eq!(parsed.matches(name), expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn numbers_with_leading_zeros_are_refused() {
        for text in ["096.0.2.0/24", "192.0.2.0/024", "192.0.02.7"] {
            let error = AddressPattern::try_from(text.to_owned()).expect_err(text);
            assert!(error.starts_with(&format!("\"{text}\" is not \"*\"")), "{error}");
        }
    }

    #[test]
    fn all_addresses_are_granted_only_by_a_pattern_for_all() {
        let pattern = |text: &str| AddressPattern::try_from(text.to_owned()).unwrap();
        assert!(pattern("*").matches(HostAddress::Any));
        assert!(!pattern("0.0.0.0/0").matches(HostAddress::Any));
        assert!(pattern("0.0.0.0/0").matches(HostAddress::AnyIpv4));
        assert!(!pattern("192.0.2.0/24").matches(HostAddress::AnyIpv4));
        assert!(pattern("192.0.2.0/24").matches("192.0.2.7".parse().unwrap()));
        assert!(!pattern("192.0.2.7").matches("192.0.2.8".parse().unwrap()));
        assert!(!pattern("::/0").matches("192.0.2.8".parse().unwrap()));
    }
}
