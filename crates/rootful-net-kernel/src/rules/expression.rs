//! Turns a rule into the expressions that the kernel evaluates, in the form in which `nft` writes and
//! recognizes them.

use ipnet::IpNet;
use nftnl::expr::{Bitwise, Cmp, CmpOp, Conntrack, ConntrackStatus, Masquerade, States};
use nftnl::nftnl_sys::libc::{
    ETH_P_IP, ETH_P_IPV6, NFPROTO_IPV4, NFPROTO_IPV6, NFT_META_IIFNAME, NFT_META_L4PROTO,
    NFT_META_NFPROTO, NFT_META_OIFNAME, NFT_META_PROTOCOL, NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER, RTN_LOCAL, c_int,
};
use nftnl::{Chain, ProtoFamily, Rule};
use rootful_net_core::ruleset::{
    self, CtState, Field, Match, Protocol3, Selector, Statement, Verdict,
};

use super::batch::name;
use crate::ffi::nft::{RawExpression, Register};

/// Builds the rule.
pub(super) fn rule<'a>(chain: &'a Chain<'a>, description: &ruleset::Rule) -> Rule<'a> {
    let mut builder = Builder {
        rule: Rule::new(chain),
        protocol: None,
    };
    for condition in &description.matches {
        builder.condition(condition);
    }
    builder.statement(&description.statement);
    builder.rule
}

struct Builder<'a> {
    rule: Rule<'a>,
    /// What the packet is known to be so far.
    protocol: Option<Protocol3>,
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
                        CtState::Invalid => States::INVALID,
                    })
                    .bits(),
                );
            }
            Match::CtStatusDnat => {
                self.rule.add_expr(&Conntrack::Status);
                self.has_any(ConntrackStatus::DST_NAT.bits());
            }
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
            Statement::Masquerade => self.rule.add_expr(&Masquerade),
            Statement::DnatByMap { protocol, key, map } => {
                self.network_protocol(*protocol);
                self.load(key);
                let (value, to) = (Register::FIRST, Register::FIRST);
                self.rule.add_expr(&RawExpression::MapLookup {
                    map: &name(map),
                    value,
                    to,
                });
                let (family, address_len) = match protocol {
                    Protocol3::Ipv4 => (ProtoFamily::Ipv4, Field::Ipv4Address.width()),
                    Protocol3::Ipv6 => (ProtoFamily::Ipv6, Field::Ipv6Address.width()),
                };
                let port = to.after(address_len);
                self.rule.add_expr(&RawExpression::DestinationNat {
                    family,
                    address: to,
                    port,
                });
            }
        }
    }

    fn lookup(&mut self, selectors: &[Selector], set: &str, inverted: bool) {
        self.load(selectors);
        let value = Register::FIRST;
        self.rule.add_expr(&RawExpression::Lookup {
            set: &name(set),
            value,
            inverted,
        });
    }

    fn prefix(&mut self, selector: Selector, prefix: IpNet) {
        self.load(&[selector]);
        let (network, mask) = match prefix {
            IpNet::V4(prefix) => (
                prefix.network().octets().to_vec(),
                prefix.netmask().octets().to_vec(),
            ),
            IpNet::V6(prefix) => (
                prefix.network().octets().to_vec(),
                prefix.netmask().octets().to_vec(),
            ),
        };
        if prefix.prefix_len() < prefix.max_prefix_len() {
            let nothing = vec![0_u8; mask.len()];
            self.rule
                .add_expr(&Bitwise::new(mask.as_slice(), nothing.as_slice()));
        }
        self.equals(&network);
    }

    /// Loads the selectors one after the other, each from a whole register on.
    fn load(&mut self, selectors: &[Selector]) {
        for protocol in selectors.iter().filter_map(|selector| header_of(*selector)) {
            self.network_protocol(protocol);
        }
        let mut to = Register::FIRST;
        for selector in selectors {
            self.rule.add_expr(&load_one(*selector, to));
            to = to.after(selector.field().width());
        }
    }

    /// Lets only packets of the protocol pass: fields of its header are somewhere else in others.
    fn network_protocol(&mut self, protocol: Protocol3) {
        if self.protocol == Some(protocol) {
            return;
        }
        self.protocol = Some(protocol);
        // In the bridge family the ethertype says what a frame carries.
        let in_frames = self.rule.get_chain().get_table().get_family() == ProtoFamily::Bridge;
        let key = if in_frames {
            NFT_META_PROTOCOL
        } else {
            NFT_META_NFPROTO
        };
        self.rule.add_expr(&RawExpression::Meta {
            key,
            to: Register::FIRST,
        });
        let (family, ethertype) = match protocol {
            Protocol3::Ipv4 => (NFPROTO_IPV4, ETH_P_IP),
            Protocol3::Ipv6 => (NFPROTO_IPV6, ETH_P_IPV6),
        };
        if in_frames {
            let ethertype = u16::try_from(ethertype).expect("an ethertype has 16 bits");
            self.equals(&ethertype.to_be_bytes());
        } else {
            self.equals(&[u8::try_from(family).expect("a netfilter family has 8 bits")]);
        }
    }

    fn equals(&mut self, value: &[u8]) {
        self.rule.add_expr(&Cmp::new(CmpOp::Eq, value));
    }

    fn has_any(&mut self, bits: u32) {
        self.rule.add_expr(&Bitwise::new(bits, 0_u32));
        self.rule.add_expr(&Cmp::new(CmpOp::Neq, 0_u32));
    }
}

/// The protocol whose header the selector reads, if it reads one.
fn header_of(selector: Selector) -> Option<Protocol3> {
    match selector {
        Selector::Ipv4Source | Selector::Ipv4Destination => Some(Protocol3::Ipv4),
        Selector::Ipv6Source | Selector::Ipv6Destination => Some(Protocol3::Ipv6),
        Selector::IncomingInterface
        | Selector::OutgoingInterface
        | Selector::TransportProtocol
        | Selector::DestinationPort => None,
    }
}

fn load_one(selector: Selector, to: Register) -> RawExpression<'static> {
    let meta = |key: c_int| RawExpression::Meta { key, to };
    let header = |base, offset| RawExpression::Payload {
        base,
        offset,
        len: selector.field().width(),
        to,
    };
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
    }
}
