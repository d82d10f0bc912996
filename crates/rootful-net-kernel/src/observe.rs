//! Looks at what the kernel really holds: links, routes, addresses. It reads no more than it was asked for,
//! and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use rootful_net_core::mac::MacAddress;
use rootful_net_core::name::InterfaceName;
use rootful_net_core::observed::{Link, LinkKind, Observed, PortFlags, Query, Route, Sysctl};
use rootful_net_core::planner;
use rtnetlink::packet_core::Parseable as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags};
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use crate::attribute::{self, Attribute};
use crate::error::KernelError;
use crate::links::UNFINISHED_GROUP;
use crate::namespace::Namespace;
use crate::route_socket::RouteSocket;
use crate::sysctl;

/// Attributes of linux/if_link.h. A link's name and alias may be any bytes, and a stranger chooses them in a
/// namespace of theirs; so they are read here, leniently, and nothing else of a link is decoded.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_GROUP_FWD_MASK: u16 = 31;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BRPORT_LOCKED: u16 = 39;

/// `struct ndmsg` of linux/neighbour.h, and the attributes behind it.
const NEIGHBOUR_HEADER_BYTES: usize = 12;
const NDA_LLADDR: u16 = 2;
const NDA_VLAN: u16 = 5;
/// The state of an entry that stays, and is no address of the host.
const NUD_NOARP: u16 = 0x40;
/// The flag of an entry that a link keeps for itself, not its bridge.
const NTF_SELF: u8 = 2;

/// How the names of host links of ours begin.
pub(crate) const OWN_PREFIX: &str = "rn";

/// Answers the parts of `query` that route netlink and `/proc/sys` know.
pub(crate) fn observe(
    socket: &mut RouteSocket,
    query: &Query,
    namespace: Option<&Namespace>,
) -> Result<Observed, KernelError> {
    let mut observed = Observed::default();
    let mut links = named_links(socket, query)?;
    if query.own_links {
        links.extend(all_links(socket)?.into_iter().filter(is_own));
    }
    observed.links = links.into_iter().map(|link| (link.name.clone(), link)).collect();
    if query.routes {
        observed.routes = routes(socket)?;
    }
    for parameter in &query.sysctls {
        if let Some(value) = sysctl::read(parameter)? {
            observed.sysctls.insert(parameter.clone(), value);
        }
    }
    let forwards = observed.sysctls.get(&Sysctl::ipv6_forwarding()).map(String::as_str);
    if query.router_advertisements && forwards != Some("1") {
        observed.links_accepting_ra = links_accepting_ra()?;
    }
    if !query.addresses.is_empty() {
        observed.addresses = addresses(socket, &query.addresses)?;
    }
    if query.stations {
        observed.stations = stations(socket)?;
    }
    if let Some(namespace) = namespace {
        let inside = || {
            let links = RouteSocket::open().and_then(|mut socket| all_links(&mut socket))?;
            let lacks_ipv6 = sysctl::read(&Sysctl::new_links_lack_ipv6())?.as_deref() == Some("1");
            Ok::<_, KernelError>((links, lacks_ipv6))
        };
        (observed.namespace_links, observed.namespace_lacks_ipv6) = namespace.run(inside)??;
    }
    Ok(observed)
}

/// Whether the link may be one that rootful-net made.
pub(crate) fn is_own(link: &Link) -> bool {
    link.name.starts_with(OWN_PREFIX) || link.kind == LinkKind::Bridge
}

/// Whether there is a link of this name that rootful-net made and did not finish.
pub(crate) fn is_unfinished(
    socket: &mut RouteSocket,
    link: &InterfaceName,
) -> Result<bool, KernelError> {
    let query = Query { links: [link.clone()].into(), ..Query::default() };
    let links = named_links(socket, &query)?;
    Ok(links
        .iter()
        .any(|link| link.alias.is_some() && link.alias == planner::unfinished_alias(&link.kind)))
}

fn named_links(socket: &mut RouteSocket, query: &Query) -> Result<Vec<Link>, KernelError> {
    let question = |name: &_| without_statistics(LinkUnspec::new_with_name(AsRef::as_ref(name)));
    let questions = query.links.iter().map(question).collect();
    let answers = socket.ask("links", questions, decode_link)?;
    Ok(answers.into_iter().flatten().flatten().collect())
}

fn all_links(socket: &mut RouteSocket) -> Result<Vec<Link>, KernelError> {
    socket.list("links", &without_statistics(LinkMessageBuilder::default()), decode_link)
}

fn without_statistics(builder: LinkMessageBuilder<LinkUnspec>) -> RouteNetlinkMessage {
    let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    RouteNetlinkMessage::GetLink(builder.append_extra_attribute(mask).build())
}

/// Reads an RTM_NEWLINK or RTM_DELLINK message; `None` for one that is about a bridge port, not a link.
pub(crate) fn decode_link(payload: &[u8]) -> Option<Link> {
    // struct ifinfomsg, rtnetlink(7): family, type, index, flags, change.
    let (header, attributes) = payload.split_at_checked(16)?;
    if header[0] != u8::from(AddressFamily::Unspec) {
        return None;
    }
    let word = |at: usize| {
        let bytes = header[at..at + 4].try_into().expect("four bytes of sixteen");
        u32::from_ne_bytes(bytes)
    };
    let flags = LinkFlags::from_bits_retain(word(8));
    let mut link = Link {
        index: word(4),
        name: String::new(),
        kind: LinkKind::Other(String::new()),
        alias: None,
        master: None,
        up: flags.contains(LinkFlags::Up),
        mac: None,
        mtu: 0,
        port: None,
    };
    let mut group = None;
    for attribute in attribute::attributes(attributes) {
        match attribute.kind {
            IFLA_ADDRESS => link.mac = mac(attribute.value),
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_MTU => link.mtu = attribute.number().unwrap_or_default(),
            IFLA_IFALIAS => link.alias = Some(attribute.text()),
            IFLA_MASTER => link.master = attribute.number(),
            IFLA_GROUP => group = attribute.number(),
            IFLA_LINKINFO => {
                let info = |kind| attribute.nested().find(|info| info.kind == kind);
                if let Some(kind) = info(IFLA_INFO_KIND) {
                    link.kind = link_kind(kind.text());
                }
                if info(IFLA_INFO_SLAVE_KIND).is_some_and(|kind| kind.text() == "bridge") {
                    link.port = info(IFLA_INFO_SLAVE_DATA).map(port_flags);
                }
            }
            _ => {}
        }
    }
    if flags.contains(LinkFlags::Loopback) {
        link.kind = LinkKind::Loopback;
    }
    if group == Some(UNFINISHED_GROUP) && link.alias.is_none() {
        link.alias = planner::unfinished_alias(&link.kind);
    }
    Some(link)
}

fn link_kind(kind: String) -> LinkKind {
    match kind.as_str() {
        "bridge" => LinkKind::Bridge,
        "veth" => LinkKind::Veth,
        _ => LinkKind::Other(kind),
    }
}

/// What an older kernel does not know of, it does not do.
fn port_flags(data: Attribute<'_>) -> PortFlags {
    let value = |kind| data.nested().find(|flag| flag.kind == kind).map(|flag| flag.value);
    let is_on = |kind| value(kind).is_some_and(|value| value == [1]);
    let mask = value(IFLA_BRPORT_GROUP_FWD_MASK).and_then(|value| value.try_into().ok());
    PortFlags {
        learning: is_on(IFLA_BRPORT_LEARNING),
        flood: is_on(IFLA_BRPORT_UNICAST_FLOOD),
        locked: is_on(IFLA_BRPORT_LOCKED),
        isolated: is_on(IFLA_BRPORT_ISOLATED),
        hairpin: is_on(IFLA_BRPORT_MODE),
        group_fwd_mask: mask.map_or(0, u16::from_ne_bytes),
    }
}

fn mac(value: &[u8]) -> Option<MacAddress> {
    MacAddress::try_from(<[u8; 6]>::try_from(value).ok()?).ok()
}

/// The addresses of these links, in the kernel's order; a link that is there without an address has none.
fn addresses(
    socket: &mut RouteSocket,
    links: &BTreeSet<InterfaceName>,
) -> Result<BTreeMap<String, Vec<IpNet>>, KernelError> {
    let mut names = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for link in links {
        if let Some(index) = socket.index(link)? {
            names.insert(index, link.to_string());
            addresses.insert(link.to_string(), Vec::new());
        }
    }
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    for (address, index) in socket.list("addresses", &question, decode_own_address)? {
        let name = names.get(&index);
        if let Some(own) = name.and_then(|name| addresses.get_mut(name)) {
            own.push(address);
        }
    }
    Ok(addresses)
}

/// What is behind which port, as somebody has said for good.
fn stations(socket: &mut RouteSocket) -> Result<BTreeSet<(u32, MacAddress)>, KernelError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    let question = RouteNetlinkMessage::GetNeighbour(message);
    Ok(socket.list("stations", &question, decode_station)?.into_iter().collect())
}

/// Reads a static entry of a bridge's forwarding database: the index of the port, and who is behind it.
fn decode_station(payload: &[u8]) -> Option<(u32, MacAddress)> {
    // struct ndmsg: family, padding to the index, state, flags, type.
    let (header, attributes) = payload.split_at_checked(NEIGHBOUR_HEADER_BYTES)?;
    let index = u32::from_ne_bytes(header[4..8].try_into().ok()?);
    let state = u16::from_ne_bytes(header[8..10].try_into().ok()?);
    let is_bridges = header[0] == u8::from(AddressFamily::Bridge) && header[10] & NTF_SELF == 0;
    let find = |kind| attribute::attributes(attributes).find(|found| found.kind == kind);
    let is_static = is_bridges && state == NUD_NOARP && find(NDA_VLAN).is_none();
    let mac = mac(find(NDA_LLADDR)?.value)?;
    is_static.then_some((index, mac))
}

/// Where the host sends packets to without a default route: unicast routes of every table, and the subnets
/// of its addresses, which have no route while their link is down. Routes that lead nowhere (`blackhole`,
/// `unreachable`, `prohibit`) are kept for lack of a better one and stand in nobody's way.
fn routes(socket: &mut RouteSocket) -> Result<Vec<Route>, KernelError> {
    let all_routes = RouteNetlinkMessage::GetRoute(RouteMessage::default());
    let mut destinations = socket.list("routes", &all_routes, decode_route)?;
    let all_addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    destinations.extend(socket.list("addresses", &all_addresses, decode_address)?);
    let mut names: BTreeMap<u32, Option<String>> = BTreeMap::new();
    let mut routes = Vec::new();
    destinations
        .retain(|(destination, _)| destination.prefix_len() != 0 && !is_link_local(destination));
    destinations.sort_unstable();
    destinations.dedup();
    for (destination, index) in destinations {
        let name = names.entry(index).or_insert_with(|| socket.name(index));
        if let Some(link) = name.clone() {
            routes.push(Route { destination, link });
        }
    }
    Ok(routes)
}

/// The links that take router advertisements unless the host forwards: `accept_ra` is 1, not 0 or 2.
fn links_accepting_ra() -> Result<Vec<InterfaceName>, KernelError> {
    let mut accepting = Vec::new();
    for name in sysctl::ipv6_links()? {
        if sysctl::read(&Sysctl::ipv6_link(&name, "accept_ra"))?.as_deref() == Some("1") {
            accepting.push(name);
        }
    }
    Ok(accepting)
}

/// Every link has the same one; it never stands in a network's way.
fn is_link_local(destination: &IpNet) -> bool {
    match destination {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}

fn decode_route(payload: &[u8]) -> Option<(IpNet, u32)> {
    let message = RouteMessage::parse(payload).ok()?;
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut destination = None;
    let mut index = None;
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(IpAddr::V4(address));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = Some(IpAddr::V6(address));
            }
            RouteAttribute::Oif(oif) => index = Some(oif),
            RouteAttribute::MultiPath(hops) => {
                index = hops.first().map(|hop| hop.interface_index);
            }
            _ => {}
        }
    }
    let net = IpNet::new(destination?, message.header.destination_prefix_length).ok()?;
    Some((net.trunc(), index?))
}

fn decode_address(payload: &[u8]) -> Option<(IpNet, u32)> {
    let message = AddressMessage::parse(payload).ok()?;
    // IFA_ADDRESS is the other end's on a point-to-point link, and it is what the host can reach.
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    let net = IpNet::new(address, message.header.prefix_len).ok()?;
    Some((net.trunc(), message.header.index))
}

/// Reads the address that the host itself has, with the length of its prefix.
fn decode_own_address(payload: &[u8]) -> Option<(IpNet, u32)> {
    let message = AddressMessage::parse(payload).ok()?;
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let other = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let net = IpNet::new(local.or(other)?, message.header.prefix_len).ok()?;
    Some((net, message.header.index))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::Emitable as _;
    use rtnetlink::packet_route::link::{
        InfoBridgePort, InfoKind, InfoPortData, InfoPortKind, LinkInfo,
    };
    use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourState};

    use super::*;

    fn message(family: AddressFamily) -> Vec<u8> {
        let message = LinkUnspec::new_with_name("rn0123456789")
            .index(7)
            .up()
            .append_extra_attribute(LinkAttribute::IfAlias("an alias".to_owned()))
            .address(vec![2, 0, 0, 0, 0, 7])
            .mtu(1400)
            .append_extra_attribute(LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![
                    InfoBridgePort::Learning(false),
                    InfoBridgePort::UnicastFlood(false),
                    InfoBridgePort::Locked(true),
                    InfoBridgePort::Isolated(true),
                    InfoBridgePort::HairpinMode(false),
                    InfoBridgePort::GroupFwdMask(0xfffd),
                ])),
            ]))
            .controller(3)
            .interface_family(family)
            .build();
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_link_is_read_from_its_message() {
        let link = decode_link(&message(AddressFamily::Unspec)).expect("a link");
        assert_eq!((link.index, link.name.as_str()), (7, "rn0123456789"));
        assert_eq!((link.alias.as_deref(), link.master), (Some("an alias"), Some(3)));
        assert!(link.up);
        assert_eq!(link.mac, MacAddress::try_from([2, 0, 0, 0, 0, 7]).ok());
        assert_eq!((link.kind, link.mtu), (LinkKind::Veth, 1400));
        let expected = PortFlags {
            learning: false,
            flood: false,
            locked: true,
            isolated: true,
            hairpin: false,
            group_fwd_mask: 0xfffd,
        };
        assert_eq!(link.port, Some(expected));
        assert_eq!(decode_link(&message(AddressFamily::Bridge)), None);
    }

    fn station(change: impl Fn(&mut NeighbourMessage)) -> Vec<u8> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = 7;
        message.header.state = NeighbourState::Noarp;
        let address = NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 7]);
        message.attributes.push(address);
        change(&mut message);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn only_what_stays_behind_a_port_is_a_station() {
        let mac = MacAddress::try_from([2, 0, 0, 0, 0, 7]).expect("a MAC address");
        let whole = station(|_| {});
        assert_eq!(decode_station(&whole), Some((7, mac)));
        // Behind the last address there are two bytes of padding.
        for len in 0..whole.len() - 2 {
            assert_eq!(decode_station(&whole[..len]), None, "{len} bytes");
        }
        let others = [
            station(|message| message.header.family = AddressFamily::Inet),
            station(|message| message.header.state = NeighbourState::Permanent),
            station(|message| message.header.state = NeighbourState::Reachable),
            station(|message| message.header.flags = NeighbourFlags::Own),
            station(|message| message.attributes.push(NeighbourAttribute::Vlan(1))),
            station(|message| message.attributes.clear()),
        ];
        for other in others {
            assert_eq!(decode_station(&other), None, "{other:?}");
        }
    }

    #[test]
    fn cut_and_damaged_messages_are_read_without_a_panic() {
        let whole = message(AddressFamily::Unspec);
        for length in 0..whole.len() {
            assert_eq!(decode_link(&whole[..length]).is_some(), length >= 16);
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[length] = byte;
                decode_link(&damaged);
            }
        }
    }
}
