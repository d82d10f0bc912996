//! Owns the parts of a forward: the protocol, the port, and the addresses of the host that take part.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PublishError;
use crate::name::quoted;

/// A transport protocol that can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, RFC 9293.
    Tcp,
    /// UDP, RFC 768.
    Udp,
    /// SCTP, RFC 9260.
    Sctp,
}

impl Protocol {
    /// The number in the IP header, from IANA's registry.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = PublishError;

    /// Upper case is accepted, as podman does.
    fn from_str(text: &str) -> Result<Self, PublishError> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| text.eq_ignore_ascii_case(&protocol.to_string()))
            .ok_or_else(|| PublishError::Protocol { found: quoted(text) })
    }
}

/// A port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port with this number; 0 is none.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The port `offset` further up. The caller knows that there is one.
    pub(super) fn above(self, offset: u16) -> Self {
        Self(self.0.checked_add(offset).expect("an offset inside a range of ports"))
    }
}

impl TryFrom<u16> for Port {
    type Error = PublishError;

    fn try_from(number: u16) -> Result<Self, PublishError> {
        Self::new(number).ok_or_else(|| PublishError::Port { found: quoted(&number.to_string()) })
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.get()
    }
}

impl FromStr for Port {
    type Err = PublishError;

    fn from_str(text: &str) -> Result<Self, PublishError> {
        // The standard parser takes a leading '+'.
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok().and_then(Self::new))
            .flatten()
            .ok_or_else(|| PublishError::Port { found: quoted(text) })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The addresses of the host on which a port is published.
///
/// In text: `*`, `0.0.0.0`, `[::]`, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostAddress {
    /// Every address of both families: nothing was given.
    Any,
    /// Every IPv4 address.
    AnyIpv4,
    /// Every IPv6 address.
    AnyIpv6,
    /// This one; parsing never makes it the unspecified, broadcast or a multicast address.
    Ipv4(Ipv4Addr),
    /// This one; parsing never makes it the unspecified, an IPv4-mapped or a multicast address.
    Ipv6(Ipv6Addr),
}

impl HostAddress {
    /// Whether some address of the host belongs to both, so that a port cannot be published on both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.takes_in(other) || other.takes_in(self)
    }

    fn takes_in(self, other: Self) -> bool {
        match self {
            Self::Any => true,
            Self::AnyIpv4 => matches!(other, Self::AnyIpv4 | Self::Ipv4(_)),
            Self::AnyIpv6 => matches!(other, Self::AnyIpv6 | Self::Ipv6(_)),
            Self::Ipv4(_) | Self::Ipv6(_) => self == other,
        }
    }

    /// The address as written in a `--publish` argument, where leaving it out means [`Self::Any`].
    pub(super) fn from_publish(text: &str) -> Result<Self, PublishError> {
        let unreadable = || PublishError::Address { found: quoted(text) };
        match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => Self::try_from(IpAddr::V6(inner.parse().map_err(|_| unreadable())?)),
            None => Self::try_from(IpAddr::V4(text.parse().map_err(|_| unreadable())?)),
        }
    }
}

impl TryFrom<IpAddr> for HostAddress {
    type Error = PublishError;

    fn try_from(address: IpAddr) -> Result<Self, PublishError> {
        let unusable =
            |what| Err(PublishError::UnusableAddress { found: quoted(&address.to_string()), what });
        match address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ok(Self::AnyIpv4),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ok(Self::AnyIpv6),
            _ if address.is_multicast() => unusable("a multicast address"),
            IpAddr::V4(Ipv4Addr::BROADCAST) => unusable("the broadcast address"),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => unusable("an IPv4-mapped address"),
            IpAddr::V4(v4) => Ok(Self::Ipv4(v4)),
            IpAddr::V6(v6) => Ok(Self::Ipv6(v6)),
        }
    }
}

impl FromStr for HostAddress {
    type Err = PublishError;

    fn from_str(text: &str) -> Result<Self, PublishError> {
        match text {
            "*" => Ok(Self::Any),
            text => Self::from_publish(text),
        }
    }
}

impl TryFrom<String> for HostAddress {
    type Error = PublishError;

    fn try_from(text: String) -> Result<Self, PublishError> {
        text.parse()
    }
}

impl From<HostAddress> for String {
    fn from(address: HostAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::AnyIpv4 => f.write_str("0.0.0.0"),
            Self::AnyIpv6 => f.write_str("[::]"),
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_their_numbers_and_names() {
        let cases =
            [(Protocol::Tcp, 6, "tcp"), (Protocol::Udp, 17, "udp"), (Protocol::Sctp, 132, "sctp")];
        for (protocol, number, name) in cases {
            assert_eq!(protocol.number(), number);
            assert_eq!(protocol.to_string(), name);
            assert_eq!(name.to_uppercase().parse(), Ok(protocol));
            assert_eq!(
                serde_json::to_string(&protocol).expect("serializes"),
                format!("\"{name}\"")
            );
        }
    }

    #[test]
    fn host_addresses_print_what_parses_to_them() {
        let addresses = [
            HostAddress::Any,
            HostAddress::AnyIpv4,
            HostAddress::AnyIpv6,
            HostAddress::Ipv4(Ipv4Addr::LOCALHOST),
            HostAddress::Ipv6(Ipv6Addr::LOCALHOST),
        ];
        for address in addresses {
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        assert!("".parse::<HostAddress>().is_err());
    }

    #[test]
    fn addresses_overlap_where_they_share_one() {
        let parse = |text: &str| text.parse::<HostAddress>().expect("valid");
        let cases = [
            ("*", "0.0.0.0", true),
            ("*", "[::1]", true),
            ("0.0.0.0", "[::]", false),
            ("0.0.0.0", "192.0.2.1", true),
            ("[::]", "192.0.2.1", false),
            ("[::]", "[2001:db8::1]", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(parse(one).overlaps(parse(other)), expected, "{one} {other}");
            assert_eq!(parse(other).overlaps(parse(one)), expected, "{other} {one}");
        }
    }
}
