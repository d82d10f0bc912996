//! The table `inet rootful_net`: published ports, masquerading and the forward policy.
//!
//! A packet to a local address costs one lookup keyed by address, protocol and port and, when that finds
//! nothing, one keyed by protocol and port; what may be forwarded is decided by sets of bridges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::host_access::{
    self, connection_elements, connection_rules, host_access_rules, input_rules,
    within_bridge_rules,
};
use super::{
    Chain, ChainKind, CtState, Element, Field, Hook, HookPoint, Match, Protocol3, Rule, Selector,
    Set, Statement, Table, TableName, Value, Verdict,
};
use crate::attachment::Attachment;
use crate::dns;
use crate::network::{Isolate, Network};
use crate::publish::HostAddress;

/// One of the maps from a published port to a container, and the rule's key that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishMap {
    /// The map's name.
    pub name: &'static str,
    /// IPv4 or IPv6.
    pub protocol: Protocol3,
    /// The selectors that make its key.
    pub selectors: &'static [Selector],
    key: &'static [Field],
    data: &'static [Field],
}

const PUBLISH4_ADDRESS: PublishMap = PublishMap {
    name: "publish4_address",
    protocol: Protocol3::Ipv4,
    selectors: &[Selector::Ipv4Destination, Selector::TransportProtocol, Selector::DestinationPort],
    key: &[Field::Ipv4Address, Field::InetProtocol, Field::InetService],
    data: &[Field::Ipv4Address, Field::InetService],
};
const PUBLISH4: PublishMap = PublishMap {
    name: "publish4",
    protocol: Protocol3::Ipv4,
    selectors: &[Selector::TransportProtocol, Selector::DestinationPort],
    key: &[Field::InetProtocol, Field::InetService],
    data: &[Field::Ipv4Address, Field::InetService],
};
const PUBLISH6_ADDRESS: PublishMap = PublishMap {
    name: "publish6_address",
    protocol: Protocol3::Ipv6,
    selectors: &[Selector::Ipv6Destination, Selector::TransportProtocol, Selector::DestinationPort],
    key: &[Field::Ipv6Address, Field::InetProtocol, Field::InetService],
    data: &[Field::Ipv6Address, Field::InetService],
};
const PUBLISH6: PublishMap = PublishMap {
    name: "publish6",
    protocol: Protocol3::Ipv6,
    selectors: &[Selector::TransportProtocol, Selector::DestinationPort],
    key: &[Field::InetProtocol, Field::InetService],
    data: &[Field::Ipv6Address, Field::InetService],
};

/// The maps in the order in which they are consulted: an address of its own goes before any address.
pub const PUBLISH_MAPS: [PublishMap; 4] = [PUBLISH4_ADDRESS, PUBLISH4, PUBLISH6_ADDRESS, PUBLISH6];

/// Bridges of all networks.
const BRIDGES: &str = "bridges";
/// Each bridge paired with itself: traffic that leaves by the bridge it came from.
const SAME_BRIDGE: &str = "same_bridge";
/// Containers' IPv4 addresses, each with its bridge.
const MEMBERS4: &str = "members4";
/// Containers' IPv6 addresses, each with its bridge.
const MEMBERS6: &str = "members6";
/// Bridges of internal networks, which reach nothing beyond themselves.
const INTERNAL: &str = "internal";
/// Bridges of networks with `isolate` `true` or `strict`.
const ISOLATED: &str = "isolated";
/// Bridges of networks with `isolate` `strict`.
const STRICTLY_ISOLATED: &str = "strictly_isolated";

const PRIORITY_RAW: i32 = -300;
const PRIORITY_MANGLE: i32 = -150;
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;

/// The fixed part of `inet rootful_net`.
pub fn inet_table() -> Table {
    Table { name: TableName::INET, sets: sets(), chains: chains() }
}

fn sets() -> Vec<Set> {
    const ONE: &[Field] = &[Field::InterfaceName];
    const PAIR: &[Field] = &[Field::InterfaceName, Field::InterfaceName];
    let set = |name, key| Set { name, key, data: &[] };
    let maps = PUBLISH_MAPS.map(|map| Set { name: map.name, key: map.key, data: map.data });
    let bridge_sets = [
        set(BRIDGES, ONE),
        set(SAME_BRIDGE, PAIR),
        set(MEMBERS4, &[Field::Ipv4Address, Field::InterfaceName]),
        set(MEMBERS6, &[Field::Ipv6Address, Field::InterfaceName]),
        set(INTERNAL, ONE),
        set(ISOLATED, ONE),
        set(STRICTLY_ISOLATED, ONE),
    ];
    maps.into_iter().chain(bridge_sets).chain(host_access::sets()).collect()
}

fn chains() -> Vec<Chain> {
    use HookPoint::{Forward, Input, Output, Postrouting, Prerouting};
    let part = |name, rules| Chain { name, hook: None, rules };
    vec![
        base("loopback", ChainKind::Filter, Prerouting, PRIORITY_RAW, loopback_rules()),
        base("connections", ChainKind::Filter, Prerouting, PRIORITY_MANGLE, connection_rules()),
        part("publish", publish_rules()),
        base("prerouting", ChainKind::Nat, Prerouting, PRIORITY_DSTNAT, to_publish()),
        base("output", ChainKind::Nat, Output, PRIORITY_DSTNAT, output_rules()),
        part("host_access", host_access_rules()),
        base("input", ChainKind::Filter, Input, PRIORITY_FILTER, input_rules()),
        part("within_bridge", within_bridge_rules()),
        part("to_member", to_member_rules()),
        base("forward", ChainKind::Filter, Forward, PRIORITY_FILTER, forward_rules()),
        base("postrouting", ChainKind::Nat, Postrouting, PRIORITY_SRCNAT, postrouting_rules()),
    ]
}

fn base(
    name: &'static str,
    kind: ChainKind,
    point: HookPoint,
    priority: i32,
    rules: Vec<Rule>,
) -> Chain {
    Chain { name, hook: Some(Hook { kind, point, priority }), rules }
}

fn rule<const N: usize>(matches: [Match; N], statement: Statement) -> Rule {
    Rule { matches: matches.into(), statement }
}

const ACCEPT: Statement = Statement::Verdict(Verdict::Accept);
const DROP: Statement = Statement::Verdict(Verdict::Drop);

fn from(set: &'static str) -> Match {
    Match::InSet(&[Selector::IncomingInterface], set)
}

fn to(set: &'static str) -> Match {
    Match::InSet(&[Selector::OutgoingInterface], set)
}

fn within_one_bridge() -> Match {
    Match::InSet(&[Selector::IncomingInterface, Selector::OutgoingInterface], SAME_BRIDGE)
}

fn ipv4_loopback() -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8))
}

/// `route_localnet` on the bridges lets the host reach published ports through 127.0.0.1; nobody else may
/// use it to reach the host's loopback services.
fn loopback_rules() -> Vec<Rule> {
    vec![rule([from(BRIDGES), Match::InPrefix(Selector::Ipv4Destination, ipv4_loopback())], DROP)]
}

fn to_publish() -> Vec<Rule> {
    vec![rule([Match::DestinationIsLocal], Statement::Verdict(Verdict::Jump("publish")))]
}

/// The kernel does not route from ::1 to another link: refused at once, a program that tries it first goes
/// on to 127.0.0.1.
fn output_rules() -> Vec<Rule> {
    let loopback = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));
    let mut rules = vec![rule([Match::InPrefix(Selector::Ipv6Destination, loopback)], ACCEPT)];
    rules.extend(to_publish());
    rules
}

fn publish_rules() -> Vec<Rule> {
    let dnat = |map: PublishMap| Statement::DnatByMap {
        protocol: map.protocol,
        key: map.selectors,
        map: map.name,
    };
    PUBLISH_MAPS.map(|map| rule([Match::NetworkProtocol(map.protocol)], dnat(map))).into()
}

/// What is not published is not reachable from outside; a container reaches out unless its network is
/// internal.
fn forward_rules() -> Vec<Rule> {
    let established = || Match::CtState(CtState::EstablishedOrRelated);
    vec![
        rule([within_one_bridge()], Statement::Verdict(Verdict::Jump("within_bridge"))),
        rule([from(BRIDGES), Match::CtState(CtState::Invalid)], DROP),
        rule([from(BRIDGES), established()], ACCEPT),
        rule([to(BRIDGES), established()], ACCEPT),
        rule([from(INTERNAL)], DROP),
        rule([to(INTERNAL)], DROP),
        rule([from(STRICTLY_ISOLATED), to(BRIDGES)], DROP),
        rule([from(BRIDGES), to(STRICTLY_ISOLATED)], DROP),
        rule([from(ISOLATED), to(ISOLATED)], DROP),
        rule([from(BRIDGES), to(BRIDGES)], Statement::Verdict(Verdict::Jump("to_member"))),
        rule([from(BRIDGES)], ACCEPT),
        rule([to(BRIDGES), Match::CtStatusDnat], ACCEPT),
        rule([to(BRIDGES)], DROP),
    ]
}

/// From one bridge to another only to containers: the host would have to ask for the MAC address of every
/// other destination, and remember each.
fn to_member_rules() -> Vec<Rule> {
    const TARGET4: &[Selector] = &[Selector::Ipv4Destination, Selector::OutgoingInterface];
    const TARGET6: &[Selector] = &[Selector::Ipv6Destination, Selector::OutgoingInterface];
    vec![
        rule([Match::InSet(TARGET4, MEMBERS4)], ACCEPT),
        rule([Match::InSet(TARGET6, MEMBERS6)], ACCEPT),
        rule([], DROP),
    ]
}

fn postrouting_rules() -> Vec<Rule> {
    const SOURCE4: &[Selector] = &[Selector::Ipv4Source, Selector::OutgoingInterface];
    const SOURCE6: &[Selector] = &[Selector::Ipv6Source, Selector::OutgoingInterface];
    let hairpin = |protocol, source, members| {
        let from_member = Match::InSet(source, members);
        let matches = [Match::NetworkProtocol(protocol), from_member, Match::CtStatusDnat];
        rule(matches, Statement::Masquerade)
    };
    vec![
        // A container that reaches a neighbour through the host's address must get its answers back the
        // same way, or the neighbour answers it directly from an address it never called. Told by the
        // source, since with br_netfilter such a packet stays on the bridge and has no incoming interface.
        hairpin(Protocol3::Ipv4, SOURCE4, MEMBERS4),
        hairpin(Protocol3::Ipv6, SOURCE6, MEMBERS6),
        rule(
            [to(BRIDGES), Match::InPrefix(Selector::Ipv4Source, ipv4_loopback())],
            Statement::Masquerade,
        ),
        rule(
            [from(BRIDGES), Match::NotInSet(&[Selector::OutgoingInterface], BRIDGES)],
            Statement::Masquerade,
        ),
    ]
}

/// The elements that a network adds while it has attachments.
pub fn network_elements(network: &Network) -> Vec<Element> {
    let bridge = Value::Interface(network.interface().clone());
    let element = |set, key| Element {
        table: TableName::INET,
        set,
        key,
        data: Vec::new(),
        comment: Some(network.name().to_string()),
    };
    let mut elements = vec![
        element(BRIDGES, vec![bridge.clone()]),
        element(SAME_BRIDGE, vec![bridge.clone(), bridge.clone()]),
    ];
    if network.internal() {
        elements.push(element(INTERNAL, vec![bridge.clone()]));
    }
    match network.isolate() {
        Isolate::Off => {}
        Isolate::On => elements.push(element(ISOLATED, vec![bridge])),
        Isolate::Strict => {
            elements.push(element(ISOLATED, vec![bridge.clone()]));
            elements.push(element(STRICTLY_ISOLATED, vec![bridge]));
        }
    }
    elements.extend(name_elements(network));
    elements
}

/// What leads queries to the name server, which listens on a port of its own. As a gateway's own address
/// goes before any address, a container that publishes port 53 on all of them takes no queries away.
fn name_elements(network: &Network) -> impl Iterator<Item = Element> + '_ {
    dns::name_servers(network).flat_map(move |gateway| {
        let map = match gateway {
            IpAddr::V4(_) => PUBLISH4_ADDRESS,
            IpAddr::V6(_) => PUBLISH6_ADDRESS,
        };
        dns::PROTOCOLS.map(|protocol| Element {
            table: TableName::INET,
            set: map.name,
            key: vec![gateway.into(), Value::Protocol(protocol), Value::Port(dns::QUERY_PORT)],
            data: vec![gateway.into(), Value::Port(dns::SERVER_PORT)],
            comment: Some(network.name().to_string()),
        })
    })
}

/// The elements that an attachment adds: one for each published port, protocol and address family.
pub fn attachment_elements(attachment: &Attachment) -> Vec<Element> {
    let comment = Some(attachment.id().to_string());
    let mut elements = member_elements(attachment);
    elements.extend(connection_elements(attachment));
    for forward in attachment.forwards() {
        for target in forward.targets() {
            let port = Value::Port(forward.host_port);
            let mut key = vec![Value::Protocol(forward.protocol), port];
            let map = match (forward.host_address, target) {
                (HostAddress::Any | HostAddress::AnyIpv4, IpAddr::V4(_)) => PUBLISH4,
                (HostAddress::Any | HostAddress::AnyIpv6, IpAddr::V6(_)) => PUBLISH6,
                (HostAddress::Ipv4(address), IpAddr::V4(_)) => {
                    key.insert(0, Value::Ipv4(address));
                    PUBLISH4_ADDRESS
                }
                (HostAddress::Ipv6(address), IpAddr::V6(_)) => {
                    key.insert(0, Value::Ipv6(address));
                    PUBLISH6_ADDRESS
                }
                (HostAddress::AnyIpv4 | HostAddress::Ipv4(_), IpAddr::V6(_))
                | (HostAddress::AnyIpv6 | HostAddress::Ipv6(_), IpAddr::V4(_)) => continue,
            };
            elements.push(Element {
                table: TableName::INET,
                set: map.name,
                key,
                data: vec![target.into(), Value::Port(forward.container_port)],
                comment: comment.clone(),
            });
        }
    }
    elements
}

fn member_elements(attachment: &Attachment) -> Vec<Element> {
    let interfaces = attachment.interfaces().iter();
    let members = interfaces.flat_map(|interface| {
        interface.addresses().map(|address| Element {
            table: TableName::INET,
            set: if address.is_ipv4() { MEMBERS4 } else { MEMBERS6 },
            key: vec![address.into(), Value::Interface(interface.veth.bridge.clone())],
            data: Vec::new(),
            comment: Some(attachment.id().to_string()),
        })
    });
    members.collect()
}
