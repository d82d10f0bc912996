//! What containers may ask of the host itself, and how many connections each of them may have: a part of
//! the table `inet rootful_net`.

use std::net::IpAddr;

use super::{
    Comparison, CtState, Element, Field, Match, Number, Rule, Selector, Set, Statement, TableName,
    Value, Verdict,
};
use crate::attachment::Attachment;
use crate::dns;
use crate::mac::MacAddress;
use crate::network::{HostAccess, Network};

/// Bridges from which only some services of the host are reached.
const RESTRICTED: &str = "restricted";
/// Services of the host that a restricted bridge reaches all the same.
const HOST_SERVICES4: &str = "host_services4";
const HOST_SERVICES6: &str = "host_services6";
/// Our bridges' own MAC addresses: what is sent to one is for the host, to take or to pass on.
const ROUTERS: &str = "routers";
/// Containers' addresses with the connections that each may have.
const CONNECTIONS4: &str = "connections4";
const CONNECTIONS6: &str = "connections6";

const SERVICE4: &[Selector] = &[
    Selector::IncomingInterface,
    Selector::Ipv4Destination,
    Selector::TransportProtocol,
    Selector::DestinationPort,
];
const SERVICE6: &[Selector] = &[
    Selector::IncomingInterface,
    Selector::Ipv6Destination,
    Selector::TransportProtocol,
    Selector::DestinationPort,
];
const SOURCE4: &[Selector] = &[Selector::IncomingInterface, Selector::Ipv4Source];
const SOURCE6: &[Selector] = &[Selector::IncomingInterface, Selector::Ipv6Source];
const ROUTER: &[Selector] = &[Selector::IncomingInterface, Selector::EtherDestination];

/// Types of ICMP and ICMPv6, RFC 792, RFC 4443 and RFC 4861.
const ECHO_REQUEST: u16 = 8;
const ECHO_REQUEST_6: u16 = 128;
const ND_SOLICITATION: u16 = 135;
const ND_ADVERTISEMENT: u16 = 136;

const ACCEPT: Statement = Statement::Verdict(Verdict::Accept);
const DROP: Statement = Statement::Verdict(Verdict::Drop);

fn rule<const N: usize>(matches: [Match; N], statement: Statement) -> Rule {
    Rule { matches: matches.into(), statement }
}

pub(super) fn sets() -> [Set; 6] {
    use Field::{
        ConnectionLimit, EtherAddress, InetProtocol, InetService, InterfaceName, Ipv4Address,
        Ipv6Address,
    };
    let set = |name, key| Set { name, key, data: &[] };
    let counting = |name, key| Set { name, key, data: &[ConnectionLimit] };
    [
        set(RESTRICTED, &[InterfaceName]),
        set(HOST_SERVICES4, &[InterfaceName, Ipv4Address, InetProtocol, InetService]),
        set(HOST_SERVICES6, &[InterfaceName, Ipv6Address, InetProtocol, InetService]),
        set(ROUTERS, &[InterfaceName, EtherAddress]),
        counting(CONNECTIONS4, &[InterfaceName, Ipv4Address]),
        counting(CONNECTIONS6, &[InterfaceName, Ipv6Address]),
    ]
}

/// A container that has its number of connections gets no further one. The guard sees to it that its
/// addresses are its own.
pub(super) fn connection_rules() -> Vec<Rule> {
    let new = || Match::CtState(CtState::New);
    vec![
        rule([new(), Match::InSet(SOURCE4, CONNECTIONS4)], DROP),
        rule([new(), Match::InSet(SOURCE6, CONNECTIONS6)], DROP),
    ]
}

pub(super) fn input_rules() -> Vec<Rule> {
    let restricted = Match::InSet(&[Selector::IncomingInterface], RESTRICTED);
    vec![rule([restricted], Statement::Verdict(Verdict::Jump("host_access")))]
}

/// Whichever of the host's addresses it is sent to.
pub(super) fn host_access_rules() -> Vec<Rule> {
    let is = |number, constant| Match::Number(number, Comparison::Equal, constant);
    vec![
        rule([Match::CtState(CtState::EstablishedOrRelated)], ACCEPT),
        rule([is(Number::IcmpType, ECHO_REQUEST)], ACCEPT),
        rule([is(Number::Icmpv6Type, ECHO_REQUEST_6)], ACCEPT),
        rule([is(Number::Icmpv6Type, ND_SOLICITATION)], ACCEPT),
        rule([is(Number::Icmpv6Type, ND_ADVERTISEMENT)], ACCEPT),
        rule([Match::InSet(SERVICE4, HOST_SERVICES4)], ACCEPT),
        rule([Match::InSet(SERVICE6, HOST_SERVICES6)], ACCEPT),
        rule([], Statement::Reject),
    ]
}

/// Neighbours reach each other over the bridge. Through the host they reach published ports only: it would
/// have to ask for the MAC address of every destination they think of, and remember each.
pub(super) fn within_bridge_rules() -> Vec<Rule> {
    vec![
        // With br_netfilter, frames that stay on the bridge come by here too.
        rule([Match::NotInSet(ROUTER, ROUTERS)], ACCEPT),
        rule([Match::CtState(CtState::EstablishedOrRelated)], ACCEPT),
        rule([Match::CtStatusDnat], ACCEPT),
        rule([], DROP),
    ]
}

/// The elements that a network adds for its host while it has attachments. `mac` is its bridge's.
pub fn bridge_elements(network: &Network, mac: MacAddress) -> Vec<Element> {
    let bridge = || Value::Interface(network.interface().clone());
    let element = |set, key| Element {
        table: TableName::INET,
        set,
        key,
        data: Vec::new(),
        comment: Some(network.name().to_string()),
    };
    let mut elements = vec![element(ROUTERS, vec![bridge(), Value::Ether(mac)])];
    let services = match network.host_access() {
        HostAccess::All => return elements,
        HostAccess::Dns => name_services(network),
        HostAccess::None => Vec::new(),
    };
    elements.push(element(RESTRICTED, vec![bridge()]));
    elements.extend(services.into_iter().map(|(set, key)| {
        let bridge = [bridge()];
        element(set, bridge.into_iter().chain(key).collect())
    }));
    elements
}

/// Where the gateways answer for names: asked at one port, served at another where the server is ours.
fn name_services(network: &Network) -> Vec<(&'static str, [Value; 3])> {
    let mut services = Vec::new();
    for gateway in network.subnets().iter().map(|subnet| subnet.gateway()) {
        let set = if gateway.is_ipv4() { HOST_SERVICES4 } else { HOST_SERVICES6 };
        let is_ours = dns::name_servers(network).any(|server| server == gateway);
        let ports = [Some(dns::QUERY_PORT), is_ours.then_some(dns::SERVER_PORT)];
        for port in ports.into_iter().flatten() {
            services.extend(dns::PROTOCOLS.map(|protocol| {
                (set, [gateway.into(), Value::Protocol(protocol), Value::Port(port)])
            }));
        }
    }
    services
}

/// The elements that limit an attachment's connections, as many for each of its addresses.
pub(super) fn connection_elements(attachment: &Attachment) -> Vec<Element> {
    let mut elements = Vec::new();
    for interface in attachment.interfaces() {
        let Some(limit) = interface.connection_limit else {
            continue;
        };
        let link_local = interface.setup.link_local.map(IpAddr::V6);
        elements.extend(interface.addresses().chain(link_local).map(|address| Element {
            table: TableName::INET,
            set: if address.is_ipv4() { CONNECTIONS4 } else { CONNECTIONS6 },
            key: vec![Value::Interface(interface.veth.bridge.clone()), address.into()],
            data: vec![Value::ConnectionLimit(limit)],
            comment: Some(attachment.id().to_string()),
        }));
    }
    elements
}
