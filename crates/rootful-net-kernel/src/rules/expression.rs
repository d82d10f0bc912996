//! Turns a rule into the expressions that the kernel evaluates, in the form in which `nft` writes and
//! recognizes them.

use ipnet::IpNet;
use nftnl::expr::{Bitwise, Cmp, CmpOp, Conntrack, ConntrackStatus, Masquerade, States};
use nftnl::nftnl_sys::libc::{
    ARPHRD_ETHER, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_UDP,
    NFPROTO_IPV4, NFPROTO_IPV6, NFT_META_IIFNAME, NFT_META_IIFTYPE, NFT_META_L4PROTO,
    NFT_META_NFPROTO, NFT_META_OIFNAME, NFT_PAYLOAD_LL_HEADER, NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER, RTN_LOCAL, c_int,
};
use nftnl::{Chain, ProtoFamily, Rule};
use rootful_net_core::ruleset::{
    self, Comparison, CtState, EtherType, Field, Match, Number, Protocol3, Selector, Statement,
    Verdict,
};

use super::batch::name;
use crate::ffi::nft::{RawExpression, Register};

/// Builds the rule.
pub(super) fn rule<'a>(chain: &'a Chain<'a>, description: &ruleset::Rule) -> Rule<'a> {
    let mut builder = Builder { rule: Rule::new(chain), network: None, ether_type: None };
    for condition in &description.matches {
        builder.condition(condition);
    }
    builder.statement(&description.statement);
    builder.rule
}

struct Builder<'a> {
    rule: Rule<'a>,
    /// What the packet is known to be so far.
    network: Option<Protocol3>,
    ether_type: Option<EtherType>,
}

impl Builder<'_> {
    fn condition(&mut self, condition: &Match) {
        match condition {
            Match::DestinationIsLocal => {
                self.rule.add_expr(&RawExpression::DestinationType);
                self.equals(&u32::from(RTN_LOCAL).to_ne_bytes());
            }
            Match::NetworkProtocol(protocol) => self.network_protocol(*protocol),
            Match::CtState(state) => {
                self.rule.add_expr(&Conntrack::State);
                self.has_any(
                    (match state {
                        CtState::EstablishedOrRelated => States::ESTABLISHED | States::RELATED,
                        CtState::New => States::NEW,
                        CtState::Invalid => States::INVALID,
                    })
                    .bits(),
                );
            }
            Match::CtStatusDnat => {
                self.rule.add_expr(&Conntrack::Status);
                self.has_any(ConntrackStatus::DST_NAT.bits());
            }
            Match::Number(number, comparison, constant) => {
                self.number(*number, *comparison, *constant);
            }
            Match::EtherType(kind) => self.ether_type(*kind),
            Match::InSet(selectors, set) => self.lookup(selectors, set, false),
            Match::NotInSet(selectors, set) => self.lookup(selectors, set, true),
            Match::InPrefix(selector, prefix) => self.prefix(*selector, *prefix),
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Verdict(verdict) => self.rule.add_expr(&match verdict {
                Verdict::Accept => nftnl::expr::Verdict::Accept,
                Verdict::Drop => nftnl::expr::Verdict::Drop,
                Verdict::Jump(chain) => nftnl::expr::Verdict::Jump { chain: name(chain) },
            }),
            Statement::Reject => self.rule.add_expr(&RawExpression::RejectProhibited),
            Statement::Masquerade => self.rule.add_expr(&Masquerade),
            Statement::DnatByMap { protocol, key, map } => {
                self.network_protocol(*protocol);
                self.load(key);
                let (value, to) = (Register::FIRST, Register::FIRST);
                self.rule.add_expr(&RawExpression::MapLookup { map: &name(map), value, to });
                let (family, address_len) = match protocol {
                    Protocol3::Ipv4 => (ProtoFamily::Ipv4, Field::Ipv4Address.width()),
                    Protocol3::Ipv6 => (ProtoFamily::Ipv6, Field::Ipv6Address.width()),
                };
                let port = to.after(address_len);
                self.rule.add_expr(&RawExpression::DestinationNat { family, address: to, port });
            }
        }
    }

    fn lookup(&mut self, selectors: &[Selector], set: &str, inverted: bool) {
        self.load(selectors);
        let value = Register::FIRST;
        self.rule.add_expr(&RawExpression::Lookup { set: &name(set), value, inverted });
    }

    fn prefix(&mut self, selector: Selector, prefix: IpNet) {
        self.load(&[selector]);
        let (network, mask) = match prefix {
            IpNet::V4(prefix) => {
                (prefix.network().octets().to_vec(), prefix.netmask().octets().to_vec())
            }
            IpNet::V6(prefix) => {
                (prefix.network().octets().to_vec(), prefix.netmask().octets().to_vec())
            }
        };
        if prefix.prefix_len() < prefix.max_prefix_len() {
            let nothing = vec![0_u8; mask.len()];
            self.rule.add_expr(&Bitwise::new(mask.as_slice(), nothing.as_slice()));
        }
        self.equals(&network);
    }

    /// Loads the selectors one after the other, each from a whole register on.
    fn load(&mut self, selectors: &[Selector]) {
        for header in selectors.iter().filter_map(|selector| header_of(*selector)) {
            match header {
                Header::Ether => self.ether_header(),
                Header::Arp => self.ether_type(EtherType::Arp),
                Header::Network(protocol) => self.network_protocol(protocol),
            }
        }
        let mut to = Register::FIRST;
        for selector in selectors {
            self.rule.add_expr(&load_one(*selector, to));
            to = to.after(selector.field().width());
        }
    }

    /// Compares a number, in packets that have it.
    fn number(&mut self, number: Number, comparison: Comparison, constant: u16) {
        let Place { within, expression, len } = place_of(number);
        match within {
            Within::Anything => {}
            Within::Network(protocol) => self.network_protocol(protocol),
            Within::Transport(network, transport) => {
                if let Some(protocol) = network {
                    self.network_protocol(protocol);
                }
                self.transport_protocol(transport);
            }
        }
        self.rule.add_expr(&expression);
        let bytes = constant.to_be_bytes();
        let operator = match comparison {
            Comparison::Equal => CmpOp::Eq,
            Comparison::NotEqual => CmpOp::Neq,
            Comparison::Below => CmpOp::Lt,
            Comparison::AtLeast => CmpOp::Gte,
        };
        let value = bytes.get(bytes.len() - len..).expect("a number of one or two bytes");
        self.rule.add_expr(&Cmp::new(operator, value));
    }

    /// Lets only packets of the protocol pass: fields of its header are somewhere else in others.
    fn network_protocol(&mut self, protocol: Protocol3) {
        if self.is_frame() {
            self.ether_type(match protocol {
                Protocol3::Ipv4 => EtherType::Ipv4,
                Protocol3::Ipv6 => EtherType::Ipv6,
            });
            return;
        }
        if self.network == Some(protocol) {
            return;
        }
        self.network = Some(protocol);
        let (key, to) = (NFT_META_NFPROTO, Register::FIRST);
        self.rule.add_expr(&RawExpression::Meta { key, to });
        let family = match protocol {
            Protocol3::Ipv4 => NFPROTO_IPV4,
            Protocol3::Ipv6 => NFPROTO_IPV6,
        };
        self.equals(&[u8::try_from(family).expect("a netfilter family has 8 bits")]);
    }

    /// Lets only frames of the type pass. It is read from the frame, where a tag is seen; `meta protocol`
    /// says what is behind the tag.
    fn ether_type(&mut self, kind: EtherType) {
        if self.ether_type == Some(kind) {
            return;
        }
        self.ether_type = Some(kind);
        self.rule.add_expr(&RawExpression::Payload {
            base: NFT_PAYLOAD_LL_HEADER,
            offset: 12,
            len: 2,
            to: Register::FIRST,
        });
        let number = match kind {
            EtherType::Arp => ETH_P_ARP,
            EtherType::Ipv4 => ETH_P_IP,
            EtherType::Ipv6 => ETH_P_IPV6,
        };
        let number = u16::try_from(number).expect("an ethertype has 16 bits");
        self.equals(&number.to_be_bytes());
    }

    /// Lets only packets with an Ethernet header pass; a frame has one.
    fn ether_header(&mut self) {
        if self.is_frame() {
            return;
        }
        let (key, to) = (NFT_META_IIFTYPE, Register::FIRST);
        self.rule.add_expr(&RawExpression::Meta { key, to });
        self.equals(&ARPHRD_ETHER.to_ne_bytes());
    }

    /// Lets only packets of the protocol pass, behind whatever extension headers.
    fn transport_protocol(&mut self, protocol: c_int) {
        let (key, to) = (NFT_META_L4PROTO, Register::FIRST);
        self.rule.add_expr(&RawExpression::Meta { key, to });
        self.equals(&[u8::try_from(protocol).expect("a protocol number has 8 bits")]);
    }

    fn is_frame(&self) -> bool {
        self.rule.get_chain().get_table().get_family() == ProtoFamily::Bridge
    }

    fn equals(&mut self, value: &[u8]) {
        self.rule.add_expr(&Cmp::new(CmpOp::Eq, value));
    }

    fn has_any(&mut self, bits: u32) {
        self.rule.add_expr(&Bitwise::new(bits, 0_u32));
        self.rule.add_expr(&Cmp::new(CmpOp::Neq, 0_u32));
    }
}

/// A header that a selector reads.
enum Header {
    Ether,
    Arp,
    Network(Protocol3),
}

/// The header that the selector reads, where it is not in every packet.
fn header_of(selector: Selector) -> Option<Header> {
    match selector {
        Selector::EtherSource | Selector::EtherDestination => Some(Header::Ether),
        Selector::ArpSenderEther | Selector::ArpSenderIpv4 | Selector::ArpTargetIpv4 => {
            Some(Header::Arp)
        }
        Selector::Ipv4Source | Selector::Ipv4Destination => Some(Header::Network(Protocol3::Ipv4)),
        Selector::Ipv6Source | Selector::Ipv6Destination => Some(Header::Network(Protocol3::Ipv6)),
        // Rules that read a neighbour message have found it to be one.
        Selector::NeighbourTarget
        | Selector::NeighbourOption
        | Selector::IncomingInterface
        | Selector::OutgoingInterface
        | Selector::TransportProtocol
        | Selector::DestinationPort => None,
    }
}

/// Which packets have a number.
enum Within {
    Anything,
    Network(Protocol3),
    Transport(Option<Protocol3>, c_int),
}

/// Where a number is.
struct Place {
    within: Within,
    expression: RawExpression<'static>,
    /// In bytes.
    len: usize,
}

fn place_of(number: Number) -> Place {
    let to = Register::FIRST;
    let header = |within, base, offset, len| {
        let expression = RawExpression::Payload { base, offset, len, to };
        Place { within, expression, len }
    };
    let network = |offset, len| {
        let within = Within::Network(Protocol3::Ipv6);
        header(within, NFT_PAYLOAD_NETWORK_HEADER, offset, len)
    };
    let transport = |network, protocol, offset, len| {
        let within = Within::Transport(network, protocol);
        header(within, NFT_PAYLOAD_TRANSPORT_HEADER, offset, len)
    };
    match number {
        Number::TransportProtocol => {
            let expression = RawExpression::Meta { key: NFT_META_L4PROTO, to };
            Place { within: Within::Anything, expression, len: 1 }
        }
        // Offsets: RFC 768, RFC 792, RFC 4443 section 2.1, RFC 8200 section 3.
        Number::UdpDestinationPort => transport(None, IPPROTO_UDP, 2, 2),
        Number::IcmpType => transport(Some(Protocol3::Ipv4), IPPROTO_ICMP, 0, 1),
        Number::Icmpv6Type => transport(Some(Protocol3::Ipv6), IPPROTO_ICMPV6, 0, 1),
        Number::Ipv6Length => network(4, 2),
        Number::Ipv6NextHeader => network(6, 1),
        Number::Ipv6HopLimit => network(7, 1),
    }
}

fn load_one(selector: Selector, to: Register) -> RawExpression<'static> {
    let meta = |key: c_int| RawExpression::Meta { key, to };
    let header =
        |base, offset| RawExpression::Payload { base, offset, len: selector.field().width(), to };
    match selector {
        Selector::IncomingInterface => meta(NFT_META_IIFNAME),
        Selector::OutgoingInterface => meta(NFT_META_OIFNAME),
        Selector::TransportProtocol => meta(NFT_META_L4PROTO),
        // Offsets: RFC 791 section 3.1, RFC 8200 section 3; ports begin every transport header.
        Selector::Ipv4Source => header(NFT_PAYLOAD_NETWORK_HEADER, 12),
        Selector::Ipv4Destination => header(NFT_PAYLOAD_NETWORK_HEADER, 16),
        Selector::Ipv6Source => header(NFT_PAYLOAD_NETWORK_HEADER, 8),
        Selector::Ipv6Destination => header(NFT_PAYLOAD_NETWORK_HEADER, 24),
        Selector::DestinationPort => header(NFT_PAYLOAD_TRANSPORT_HEADER, 2),
        // RFC 826 with addresses of Ethernet and IPv4, RFC 4861 section 4.3.
        Selector::EtherDestination => header(NFT_PAYLOAD_LL_HEADER, 0),
        Selector::EtherSource => header(NFT_PAYLOAD_LL_HEADER, 6),
        Selector::ArpSenderEther => header(NFT_PAYLOAD_NETWORK_HEADER, 8),
        Selector::ArpSenderIpv4 => header(NFT_PAYLOAD_NETWORK_HEADER, 14),
        Selector::ArpTargetIpv4 => header(NFT_PAYLOAD_NETWORK_HEADER, 24),
        Selector::NeighbourTarget => header(NFT_PAYLOAD_TRANSPORT_HEADER, 8),
        Selector::NeighbourOption => header(NFT_PAYLOAD_TRANSPORT_HEADER, 24),
    }
}
