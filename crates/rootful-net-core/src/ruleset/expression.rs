//! What rules are made of: packet fields, matches and statements. It owns their `nft` words and types; how
//! they become kernel expressions is the kernel crate's business.

use ipnet::IpNet;

/// The type of one field of a set key or of map data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `ipv4_addr`, 4 bytes.
    Ipv4Address,
    /// `ipv6_addr`, 16 bytes.
    Ipv6Address,
    /// `ether_addr`, 6 bytes.
    EtherAddress,
    /// `inet_proto`, 1 byte.
    InetProtocol,
    /// `inet_service`, 2 bytes.
    InetService,
    /// `ifname`, 16 bytes, padded with NUL.
    InterfaceName,
}

/// A value that is read from a packet or its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `iifname`: the interface the packet came in by.
    IncomingInterface,
    /// `oifname`: the interface the packet leaves by.
    OutgoingInterface,
    /// `ip saddr`.
    Ipv4Source,
    /// `ip daddr`.
    Ipv4Destination,
    /// `ip6 saddr`.
    Ipv6Source,
    /// `ip6 daddr`.
    Ipv6Destination,
    /// `meta l4proto`.
    TransportProtocol,
    /// `th dport`: the destination port of TCP, UDP and SCTP alike.
    DestinationPort,
}

/// A network-layer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol3 {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Connection tracking states that rules look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtState {
    /// `ct state established,related`.
    EstablishedOrRelated,
    /// `ct state invalid`.
    Invalid,
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `fib daddr type local`: the destination is an address of the host.
    DestinationIsLocal,
    /// `meta nfproto …`.
    NetworkProtocol(Protocol3),
    /// `ct state …`.
    CtState(CtState),
    /// `ct status dnat`: the connection was sent to a published port.
    CtStatusDnat,
    /// The concatenated selectors are an element of the set.
    InSet(&'static [Selector], &'static str),
    /// The concatenated selectors are no element of the set.
    NotInSet(&'static [Selector], &'static str),
    /// The selector, an address, lies in the prefix.
    InPrefix(Selector, IpNet),
}

/// What a rule does with a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A verdict.
    Verdict(Verdict),
    /// `masquerade`: the source becomes the address of the outgoing interface.
    Masquerade,
    /// `dnat ip to … map @…`: the destination becomes what the map holds for the concatenated selectors; a
    /// packet with no entry goes on to the next rule.
    DnatByMap {
        /// The network-layer protocol; its own match is part of the statement.
        protocol: Protocol3,
        /// What is looked up.
        key: &'static [Selector],
        /// The map; its data is an address and a port.
        map: &'static str,
    },
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ends the evaluation of this hook's chain; the packet goes on.
    Accept,
    /// The packet is gone.
    Drop,
    /// Goes on in the named chain and comes back.
    Jump(&'static str),
}

impl Field {
    /// The kernel-side width in bytes.
    pub const fn width(self) -> usize {
        match self {
            Self::Ipv4Address => 4,
            Self::Ipv6Address | Self::InterfaceName => 16,
            Self::EtherAddress => 6,
            Self::InetProtocol => 1,
            Self::InetService => 2,
        }
    }

    /// The width inside a concatenation, where each field fills whole 32-bit registers.
    pub const fn padded_width(self) -> usize {
        self.width().next_multiple_of(4)
    }

    /// The word for the type in `nft` syntax.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ipv4Address => "ipv4_addr",
            Self::Ipv6Address => "ipv6_addr",
            Self::EtherAddress => "ether_addr",
            Self::InetProtocol => "inet_proto",
            Self::InetService => "inet_service",
            Self::InterfaceName => "ifname",
        }
    }
}

impl Selector {
    /// The type of the value.
    pub const fn field(self) -> Field {
        match self {
            Self::IncomingInterface | Self::OutgoingInterface => Field::InterfaceName,
            Self::Ipv4Source | Self::Ipv4Destination => Field::Ipv4Address,
            Self::Ipv6Source | Self::Ipv6Destination => Field::Ipv6Address,
            Self::TransportProtocol => Field::InetProtocol,
            Self::DestinationPort => Field::InetService,
        }
    }

    /// The words for the value in `nft` syntax.
    pub const fn words(self) -> &'static str {
        match self {
            Self::IncomingInterface => "iifname",
            Self::OutgoingInterface => "oifname",
            Self::Ipv4Source => "ip saddr",
            Self::Ipv4Destination => "ip daddr",
            Self::Ipv6Source => "ip6 saddr",
            Self::Ipv6Destination => "ip6 daddr",
            Self::TransportProtocol => "meta l4proto",
            Self::DestinationPort => "th dport",
        }
    }
}

impl Protocol3 {
    /// The word after `dnat`.
    pub const fn nat_word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
        }
    }
}
