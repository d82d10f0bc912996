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
    /// The target of a neighbour solicitation or advertisement, 16 bytes. `nft` has no type for it.
    NeighbourTarget,
    /// The first option of a neighbour solicitation or advertisement as far as a link-layer address goes,
    /// 8 bytes. `nft` has no type for it.
    NeighbourOption,
    /// How many connections may be tracked, 4 bytes. As the data of a set it makes no map of it: the
    /// element holds a `ct count over …`, and is found while there are more.
    ConnectionLimit,
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
    /// `ether saddr`.
    EtherSource,
    /// `ether daddr`.
    EtherDestination,
    /// `arp saddr ether`: who an ARP packet says that its sender is.
    ArpSenderEther,
    /// `arp saddr ip`: which address an ARP packet says that its sender has.
    ArpSenderIpv4,
    /// `arp daddr ip`: the address that an ARP packet asks for.
    ArpTargetIpv4,
    /// `@th,64,128`: behind the first 8 bytes of a neighbour solicitation or advertisement, RFC 4861.
    NeighbourTarget,
    /// `@th,192,64`: behind the target, the first option's type, length and link-layer address.
    NeighbourOption,
}

/// A number that is read from a packet, to be compared with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// `meta l4proto`: the protocol behind all extension headers, where they can be followed.
    TransportProtocol,
    /// `udp dport`.
    UdpDestinationPort,
    /// `icmp type`.
    IcmpType,
    /// `icmpv6 type`, behind extension headers as well.
    Icmpv6Type,
    /// `ip6 length`: the bytes behind the IPv6 header.
    Ipv6Length,
    /// `ip6 nexthdr`: what comes directly behind the IPv6 header.
    Ipv6NextHeader,
    /// `ip6 hoplimit`.
    Ipv6HopLimit,
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is the constant.
    Equal,
    /// It is not the constant.
    NotEqual,
    /// It is less.
    Below,
    /// It is the constant or more.
    AtLeast,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtherType {
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
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
    /// `ct state new`.
    New,
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
    /// The number compares so with the constant. Where a packet has no such number, nothing holds.
    Number(Number, Comparison, u16),
    /// `ether type …`: what a frame says that it carries; a tagged one says that it has a tag.
    EtherType(EtherType),
}

/// What a rule does with a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A verdict.
    Verdict(Verdict),
    /// `reject with icmpx admin-prohibited`: the packet is gone, and its sender is told.
    Reject,
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
            Self::Ipv4Address | Self::ConnectionLimit => 4,
            Self::Ipv6Address | Self::InterfaceName | Self::NeighbourTarget => 16,
            Self::NeighbourOption => 8,
            Self::EtherAddress => 6,
            Self::InetProtocol => 1,
            Self::InetService => 2,
        }
    }

    /// The width inside a concatenation, where each field fills whole 32-bit registers.
    pub const fn padded_width(self) -> usize {
        self.width().next_multiple_of(4)
    }

    /// Whether `nft` has a type for it. A set whose key has a field without one is declared by selectors.
    pub const fn has_type(self) -> bool {
        !matches!(self, Self::NeighbourTarget | Self::NeighbourOption)
    }

    /// The word for the type in `nft` syntax; for a field without a type, its selector.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ipv4Address => "ipv4_addr",
            Self::Ipv6Address => "ipv6_addr",
            Self::EtherAddress => "ether_addr",
            Self::InetProtocol => "inet_proto",
            Self::InetService => "inet_service",
            Self::InterfaceName => "ifname",
            Self::NeighbourTarget => Selector::NeighbourTarget.words(),
            Self::NeighbourOption => Selector::NeighbourOption.words(),
            Self::ConnectionLimit => "ct count over",
        }
    }

    /// A selector of the field's type, by which `typeof` declares it.
    pub const fn sample(self) -> &'static str {
        match self {
            Self::Ipv4Address => Selector::Ipv4Source.words(),
            Self::Ipv6Address => Selector::Ipv6Source.words(),
            Self::EtherAddress => Selector::EtherSource.words(),
            Self::InetProtocol => Selector::TransportProtocol.words(),
            Self::InetService => Selector::DestinationPort.words(),
            Self::InterfaceName => Selector::IncomingInterface.words(),
            Self::NeighbourTarget | Self::NeighbourOption | Self::ConnectionLimit => self.word(),
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
            Self::EtherSource | Self::EtherDestination | Self::ArpSenderEther => {
                Field::EtherAddress
            }
            Self::ArpSenderIpv4 | Self::ArpTargetIpv4 => Field::Ipv4Address,
            Self::NeighbourTarget => Field::NeighbourTarget,
            Self::NeighbourOption => Field::NeighbourOption,
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
            Self::EtherSource => "ether saddr",
            Self::EtherDestination => "ether daddr",
            Self::ArpSenderEther => "arp saddr ether",
            Self::ArpSenderIpv4 => "arp saddr ip",
            Self::ArpTargetIpv4 => "arp daddr ip",
            Self::NeighbourTarget => "@th,64,128",
            Self::NeighbourOption => "@th,192,64",
        }
    }
}

impl Number {
    /// The words for the number in `nft` syntax.
    pub const fn words(self) -> &'static str {
        match self {
            Self::TransportProtocol => "meta l4proto",
            Self::UdpDestinationPort => "udp dport",
            Self::IcmpType => "icmp type",
            Self::Icmpv6Type => "icmpv6 type",
            Self::Ipv6Length => "ip6 length",
            Self::Ipv6NextHeader => "ip6 nexthdr",
            Self::Ipv6HopLimit => "ip6 hoplimit",
        }
    }
}

impl Comparison {
    /// The operator in `nft` syntax, with a space behind it; none for equality.
    pub const fn operator(self) -> &'static str {
        match self {
            Self::Equal => "",
            Self::NotEqual => "!= ",
            Self::Below => "< ",
            Self::AtLeast => ">= ",
        }
    }
}

impl EtherType {
    /// The word in `nft` syntax.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
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
