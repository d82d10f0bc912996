//! Set elements: what an attachment or a network adds to the fixed rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Field, TableName};
use crate::mac::MacAddress;
use crate::name::InterfaceName;
use crate::publish::{Port, Protocol};

/// One field of an element's key or data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A MAC address.
    Ether(MacAddress),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(Port),
    /// An interface.
    Interface(InterfaceName),
    /// The target of a neighbour solicitation or advertisement.
    NeighbourTarget(Ipv6Addr),
    /// An option of a neighbour solicitation or advertisement.
    NeighbourOption(NeighbourOption, MacAddress),
    /// How many connections may be tracked.
    ConnectionLimit(u32),
}

/// The options of neighbour discovery that say a link-layer address, RFC 4861 section 4.6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeighbourOption {
    /// The sender's.
    SourceAddress,
    /// The target's.
    TargetAddress,
}

impl NeighbourOption {
    /// The whole option, 8 bytes: its type, its length in units of 8 bytes, and the address.
    pub fn octets(self, address: MacAddress) -> [u8; 8] {
        let kind = match self {
            Self::SourceAddress => 1,
            Self::TargetAddress => 2,
        };
        let [a, b, c, d, e, f] = address.octets();
        [kind, 1, a, b, c, d, e, f]
    }
}

impl Value {
    /// The type of the value.
    pub const fn field(&self) -> Field {
        match self {
            Self::Ipv4(_) => Field::Ipv4Address,
            Self::Ipv6(_) => Field::Ipv6Address,
            Self::Ether(_) => Field::EtherAddress,
            Self::Protocol(_) => Field::InetProtocol,
            Self::Port(_) => Field::InetService,
            Self::Interface(_) => Field::InterfaceName,
            Self::NeighbourTarget(_) => Field::NeighbourTarget,
            Self::NeighbourOption(..) => Field::NeighbourOption,
            Self::ConnectionLimit(_) => Field::ConnectionLimit,
        }
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

/// One element of a named set or map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The table that has the set.
    pub table: TableName,
    /// The set or map.
    pub set: &'static str,
    /// The key, one value a field.
    pub key: Vec<Value>,
    /// The data of a map's element, or the limit in a set that counts connections; empty in a plain set.
    pub data: Vec<Value>,
    /// What the element is there for, at most 127 bytes; shown by `nft list`.
    pub comment: Option<String>,
}
