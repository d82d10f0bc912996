//! The table `bridge rootful_net`: what the owner of a namespace can send onto a bridge that others share.
//!
//! Everything that comes in by a port of ours is dropped unless it is ARP, IPv4 or IPv6 from the assigned
//! MAC address and an assigned address. A frame costs a few lookups, however many ports there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::{
    Chain, ChainKind, Comparison, Element, EtherType, Field, Hook, HookPoint, Match,
    NeighbourOption, Number, Rule, Selector, Set, Statement, Table, TableName, Value, Verdict,
};
use crate::attachment::{Attachment, Interface};
use crate::name::InterfaceName;

/// Ports of ours: the host ends of veth pairs. A frame that comes in by another port is not looked at.
const PORTS: &str = "ports";
/// Who may say in ARP that it has which address.
const ARP_SENDERS: &str = "arp_senders";
/// Who may probe, without an address, for which address (RFC 5227).
const ARP_PROBES: &str = "arp_probes";
/// Who may send IPv4 from which address.
const IPV4_SOURCES: &str = "ipv4_sources";
/// Who may send IPv6 from which address.
const IPV6_SOURCES: &str = "ipv6_sources";
/// Who may advertise, and probe without an address for, which IPv6 address.
const ND_TARGETS: &str = "nd_targets";
/// Which option with a link-layer address whose neighbour discovery can have.
const ND_OPTIONS: &str = "nd_options";

const ARP_SENDER: &[Selector] = &[
    Selector::IncomingInterface,
    Selector::EtherSource,
    Selector::ArpSenderEther,
    Selector::ArpSenderIpv4,
];
const ARP_PROBE: &[Selector] = &[
    Selector::IncomingInterface,
    Selector::EtherSource,
    Selector::ArpSenderEther,
    Selector::ArpSenderIpv4,
    Selector::ArpTargetIpv4,
];
const IPV4_SOURCE: &[Selector] =
    &[Selector::IncomingInterface, Selector::EtherSource, Selector::Ipv4Source];
const IPV6_SOURCE: &[Selector] =
    &[Selector::IncomingInterface, Selector::EtherSource, Selector::Ipv6Source];
const ND_TARGET: &[Selector] =
    &[Selector::IncomingInterface, Selector::EtherSource, Selector::NeighbourTarget];
const ND_OPTION: &[Selector] =
    &[Selector::IncomingInterface, Selector::EtherSource, Selector::NeighbourOption];

/// `dstnat` of the bridge family: before everything else that looks at frames.
const PRIORITY_FIRST: i32 = -300;

const ICMPV6: u16 = 58;
/// Of RFC 2131 and RFC 8415: the ports on which clients wait for servers.
const DHCP_CLIENT_PORT: u16 = 68;
const DHCPV6_CLIENT_PORT: u16 = 546;
/// Types of ICMP, RFC 792 and RFC 1256.
const REDIRECT: u16 = 5;
const ROUTER_ADVERTISEMENT: u16 = 9;
/// Types of ICMPv6, RFC 4861 and RFC 3810. Errors, echo and the first version of multicast listener
/// discovery are below neighbour discovery, which begins with the router solicitation.
const ND_ROUTER_SOLICITATION: u16 = 133;
const ND_SOLICITATION: u16 = 135;
const ND_ADVERTISEMENT: u16 = 136;
const LISTENER_REPORT_2: u16 = 143;
/// A solicitation or advertisement with one link-layer address option and nothing else, in bytes.
const ND_LENGTH: u16 = 32;
/// One without an option: the answer to who asks a neighbour alone, knowing its MAC address already (RFC 4861 §4.4).
const ND_BARE_LENGTH: u16 = 24;
/// The hop limit that shows that nobody forwarded a packet.
const NEVER_FORWARDED: u16 = 255;

/// The fixed part of `bridge rootful_net`.
pub fn guard_table() -> Table {
    Table { name: TableName::BRIDGE, sets: sets(), chains: chains() }
}

fn sets() -> Vec<Set> {
    use Field::{
        EtherAddress, InterfaceName, Ipv4Address, Ipv6Address, NeighbourOption, NeighbourTarget,
    };
    let set = |name, key| Set { name, key, data: &[] };
    vec![
        set(PORTS, &[InterfaceName]),
        set(ARP_SENDERS, &[InterfaceName, EtherAddress, EtherAddress, Ipv4Address]),
        set(ARP_PROBES, &[InterfaceName, EtherAddress, EtherAddress, Ipv4Address, Ipv4Address]),
        set(IPV4_SOURCES, &[InterfaceName, EtherAddress, Ipv4Address]),
        set(IPV6_SOURCES, &[InterfaceName, EtherAddress, Ipv6Address]),
        set(ND_TARGETS, &[InterfaceName, EtherAddress, NeighbourTarget]),
        set(ND_OPTIONS, &[InterfaceName, EtherAddress, NeighbourOption]),
    ]
}

fn chains() -> Vec<Chain> {
    let hook =
        Hook { kind: ChainKind::Filter, point: HookPoint::Prerouting, priority: PRIORITY_FIRST };
    let chain = |name, rules| Chain { name, hook: None, rules };
    // A chain comes before those that jump to it.
    vec![
        chain("arp_frame", arp_rules()),
        chain("ipv4_frame", ipv4_rules()),
        chain("address_probe", address_probe_rules()),
        chain("neighbour_message", neighbour_message_rules()),
        chain("icmpv6_message", icmpv6_rules()),
        chain("ipv6_frame", ipv6_rules()),
        Chain { name: "guard", hook: Some(hook), rules: guard_rules() },
    ]
}

const ACCEPT: Statement = Statement::Verdict(Verdict::Accept);
const DROP: Statement = Statement::Verdict(Verdict::Drop);

const fn jump(chain: &'static str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain))
}

fn rule<const N: usize>(matches: [Match; N], statement: Statement) -> Rule {
    Rule { matches: matches.into(), statement }
}

fn is(number: Number, constant: u16) -> Match {
    Match::Number(number, Comparison::Equal, constant)
}

/// What is not asked for by name ends here: tagged frames, length fields of IEEE 802.3, what bridges and
/// switches say to each other, and protocols that nobody knows.
fn guard_rules() -> Vec<Rule> {
    vec![
        rule([Match::NotInSet(&[Selector::IncomingInterface], PORTS)], ACCEPT),
        rule([Match::EtherType(EtherType::Ipv4)], jump("ipv4_frame")),
        rule([Match::EtherType(EtherType::Ipv6)], jump("ipv6_frame")),
        rule([Match::EtherType(EtherType::Arp)], jump("arp_frame")),
        rule([], DROP),
    ]
}

fn arp_rules() -> Vec<Rule> {
    vec![
        rule([Match::InSet(ARP_SENDER, ARP_SENDERS)], ACCEPT),
        rule([Match::InSet(ARP_PROBE, ARP_PROBES)], ACCEPT),
        rule([], DROP),
    ]
}

/// A fragment has a type or a port where it is the first, and the others come to nothing without it.
fn ipv4_rules() -> Vec<Rule> {
    vec![
        rule([Match::NotInSet(IPV4_SOURCE, IPV4_SOURCES)], DROP),
        rule([is(Number::UdpDestinationPort, DHCP_CLIENT_PORT)], DROP),
        rule([is(Number::IcmpType, REDIRECT)], DROP),
        rule([is(Number::IcmpType, ROUTER_ADVERTISEMENT)], DROP),
        rule([], ACCEPT),
    ]
}

fn ipv6_rules() -> Vec<Rule> {
    let unspecified = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128));
    vec![
        rule([Match::InPrefix(Selector::Ipv6Source, unspecified)], jump("address_probe")),
        rule([Match::NotInSet(IPV6_SOURCE, IPV6_SOURCES)], DROP),
        rule([is(Number::TransportProtocol, ICMPV6)], jump("icmpv6_message")),
        rule([is(Number::UdpDestinationPort, DHCPV6_CLIENT_PORT)], DROP),
        // True of every other protocol, and of nothing where the headers cannot be followed: a later
        // fragment that begins with an extension header would put together what no rule has seen.
        rule([Match::Number(Number::TransportProtocol, Comparison::NotEqual, ICMPV6)], ACCEPT),
        rule([], DROP),
    ]
}

/// Without an address, one can only ask whether somebody else has one's own (RFC 4862).
fn address_probe_rules() -> Vec<Rule> {
    vec![
        rule(
            [
                is(Number::Ipv6NextHeader, ICMPV6),
                is(Number::Ipv6HopLimit, NEVER_FORWARDED),
                is(Number::Icmpv6Type, ND_SOLICITATION),
                Match::InSet(ND_TARGET, ND_TARGETS),
            ],
            ACCEPT,
        ),
        rule([], DROP),
    ]
}

/// Neighbour discovery goes directly behind the IPv6 header and has one option, which says who sends it, or none.
/// The rest of it is routers' and drops out, behind whatever headers.
fn icmpv6_rules() -> Vec<Rule> {
    vec![
        rule(
            [Match::Number(Number::Icmpv6Type, Comparison::Below, ND_ROUTER_SOLICITATION)],
            ACCEPT,
        ),
        rule([is(Number::Icmpv6Type, LISTENER_REPORT_2)], ACCEPT),
        rule(
            [
                is(Number::Ipv6Length, ND_LENGTH),
                is(Number::Ipv6NextHeader, ICMPV6),
                is(Number::Ipv6HopLimit, NEVER_FORWARDED),
                Match::InSet(ND_OPTION, ND_OPTIONS),
            ],
            jump("neighbour_message"),
        ),
        rule(
            [
                is(Number::Ipv6Length, ND_BARE_LENGTH),
                is(Number::Ipv6NextHeader, ICMPV6),
                is(Number::Ipv6HopLimit, NEVER_FORWARDED),
            ],
            jump("neighbour_message"),
        ),
        rule(
            [Match::Number(Number::Icmpv6Type, Comparison::AtLeast, ND_ROUTER_SOLICITATION)],
            DROP,
        ),
        // No type can be read: a later fragment, which comes to nothing without the first.
        rule([], ACCEPT),
    ]
}

fn neighbour_message_rules() -> Vec<Rule> {
    vec![
        rule([is(Number::Icmpv6Type, ND_SOLICITATION)], ACCEPT),
        rule(
            [is(Number::Icmpv6Type, ND_ADVERTISEMENT), Match::InSet(ND_TARGET, ND_TARGETS)],
            ACCEPT,
        ),
    ]
}

/// The element by which a host link is one of our ports. While it is there without the others, nothing
/// comes in by the port.
pub fn port_element(host_link: &InterfaceName, comment: String) -> Element {
    let key = vec![Value::Interface(host_link.clone())];
    Element { table: TableName::BRIDGE, set: PORTS, key, data: Vec::new(), comment: Some(comment) }
}

/// The elements that let an attachment send from what is assigned to it.
pub fn guard_elements(attachment: &Attachment) -> Vec<Element> {
    let interfaces = attachment.interfaces().iter();
    interfaces.flat_map(|interface| interface_elements(attachment, interface)).collect()
}

fn interface_elements(attachment: &Attachment, interface: &Interface) -> Vec<Element> {
    let mac = interface.mac();
    let key = |further: &[Value]| {
        let port = Value::Interface(interface.veth.host_link.clone());
        [&[port, Value::Ether(mac)], further].concat()
    };
    let id = attachment.id().to_string();
    let mut elements = vec![port_element(&interface.veth.host_link, id.clone())];
    let mut add = |set, further: &[Value]| {
        let (table, key, comment) = (TableName::BRIDGE, key(further), Some(id.clone()));
        elements.push(Element { table, set, key, data: Vec::new(), comment });
    };
    let link_local = interface.setup.link_local.map(IpAddr::V6);
    for address in interface.addresses().chain(link_local) {
        match address {
            IpAddr::V4(address) => {
                let (sender, own) = (Value::Ether(mac), Value::Ipv4(address));
                let nobody = Value::Ipv4(Ipv4Addr::UNSPECIFIED);
                add(IPV4_SOURCES, std::slice::from_ref(&own));
                add(ARP_SENDERS, &[sender.clone(), own.clone()]);
                add(ARP_PROBES, &[sender, nobody, own]);
            }
            IpAddr::V6(address) => {
                add(IPV6_SOURCES, &[Value::Ipv6(address)]);
                add(ND_TARGETS, &[Value::NeighbourTarget(address)]);
            }
        }
    }
    if link_local.is_some() {
        for option in [NeighbourOption::SourceAddress, NeighbourOption::TargetAddress] {
            add(ND_OPTIONS, &[Value::NeighbourOption(option, mac)]);
        }
    }
    elements
}
