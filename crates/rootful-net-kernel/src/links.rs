//! Makes, repairs and removes the links of the host: bridges and veth pairs. What goes on inside the
//! container's namespace is in `interface`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use ipnet::IpNet;
use rootful_net_core::link::{Bridge, Veth};
use rootful_net_core::mac::MacAddress;
use rootful_net_core::name::InterfaceName;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort,
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
};
use rustix::io::Errno;

use crate::error::{KernelError, LinkAction, RequestError};
use crate::namespace::Namespace;
use crate::observe;
use crate::route_socket::{Batch, RouteSocket};
use crate::sysctl;

/// The group of a link that is made and has not got its alias yet, which the kernel takes only once a link is there: by
/// it, what an interrupted step leaves is known for rootful-net's. Nothing else uses the number, which spells `rnet`.
pub(crate) const UNFINISHED_GROUP: u32 = 0x726e_6574;
/// The group of every other link, `INIT_NETDEV_GROUP` of linux/netdevice.h.
const DEFAULT_GROUP: u32 = 0;

/// Makes a bridge with its addresses and brings it up. What it made it removes when a part fails.
pub(crate) fn create_bridge(socket: &mut RouteSocket, bridge: &Bridge) -> Result<(), KernelError> {
    // A fixed address keeps the bridge from taking that of a port. Multicast snooping without a querier
    // loses neighbour solicitations, and there is none on a bridge of containers.
    let message = LinkMessageBuilder::<LinkBridge>::new(bridge.name.as_str())
        .address(bridge.mac.octets().to_vec())
        .append_info_data(InfoBridge::StpState(BridgeStpState::Disabled))
        .append_info_data(InfoBridge::MulticastSnooping(false))
        .append_extra_attribute(LinkAttribute::Group(UNFINISHED_GROUP))
        .build();
    create(socket, &bridge.name, message, |_| None)?;
    let configured = configure_bridge(socket, bridge, NLM_F_CREATE | NLM_F_EXCL);
    undo_unless(configured, &bridge.name, || delete(socket, &bridge.name))
}

/// Brings a bridge to what it should be. Addresses that somebody added stay.
pub(crate) fn repair_bridge(socket: &mut RouteSocket, bridge: &Bridge) -> Result<(), KernelError> {
    configure_bridge(socket, bridge, NLM_F_CREATE | NLM_F_REPLACE)
}

fn configure_bridge(
    socket: &mut RouteSocket,
    bridge: &Bridge,
    address_flags: u16,
) -> Result<(), KernelError> {
    let index = index(socket, &bridge.name)?;
    let mut properties = LinkUnspec::new_with_index(index)
        .address(bridge.mac.octets().to_vec())
        .append_extra_attribute(LinkAttribute::Group(DEFAULT_GROUP))
        .append_extra_attribute(LinkAttribute::IfAlias(bridge.alias.clone()));
    if let Some(mtu) = bridge.mtu {
        // Set on the link that exists already: given at creation, a bridge forgets it for that of its ports.
        properties = properties.mtu(mtu.into());
    }
    let mut batch = Batch::new();
    let fails = |action| failure(action, &bridge.name);
    let properties = without_generated_addresses(properties).build();
    batch.add(set(properties), 0, fails(LinkAction::Configure));
    for address in bridge.all_addresses() {
        add_address(&mut batch, index, &bridge.name, address, address_flags);
    }
    batch.add(set(LinkUnspec::new_with_index(index).up().build()), 0, fails(LinkAction::BringUp));
    socket.change(batch)
}

/// Makes a veth pair with the container's end in its namespace from the start. Both ends are down.
pub(crate) fn create_veth(
    socket: &mut RouteSocket,
    veth: &Veth,
    namespace: &Namespace,
) -> Result<(), KernelError> {
    let bridge = index(socket, &veth.bridge)?;
    let mut host = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(veth.host_link.as_str())
        .append_extra_attribute(LinkAttribute::Group(UNFINISHED_GROUP))
        .controller(bridge);
    let mut peer = LinkUnspec::new_with_name(veth.container_link.as_str())
        .address(veth.container_mac.octets().to_vec())
        .setns_by_fd(namespace.fd().as_raw_fd());
    if let Some(mtu) = veth.mtu {
        host = host.mtu(mtu.into());
        peer = peer.mtu(mtu.into());
    }
    let host = host.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build()))).build();
    create(socket, &veth.host_link, host, |socket| {
        match socket.index(&veth.host_link) {
            // The name that is taken is not the host's.
            Ok(None) => Some(KernelError::InterfaceExists { link: veth.container_link.clone() }),
            Ok(Some(_)) | Err(_) => None,
        }
    })?;
    let configured = configure_port(socket, veth);
    undo_unless(configured, &veth.host_link, || delete(socket, &veth.host_link))
}

/// Makes the host end of an existing pair a port of its bridge, with everything that a port of ours has. It is down
/// meanwhile and when this returns, so that nothing comes in before the port is what it should be.
pub(crate) fn plug_in(socket: &mut RouteSocket, veth: &Veth) -> Result<(), KernelError> {
    let (index, bridge) = (index(socket, &veth.host_link)?, index(socket, &veth.bridge)?);
    let fails = |action| failure(action, &veth.host_link);
    let mut batch = Batch::new();
    let down = LinkUnspec::new_with_index(index).down().build();
    batch.add(set(down), 0, fails(LinkAction::Configure));
    let mut port = LinkUnspec::new_with_index(index).controller(bridge);
    if let Some(mtu) = veth.mtu {
        port = port.mtu(mtu.into());
    }
    batch.add(set(port.build()), 0, fails(LinkAction::Configure));
    socket.change(batch)?;
    configure_port(socket, veth)
}

/// Sets what the kernel does not take when a link is made: the alias, and how the bridge treats the port.
fn configure_port(socket: &mut RouteSocket, veth: &Veth) -> Result<(), KernelError> {
    let index = index(socket, &veth.host_link)?;
    let flags = veth.port_flags();
    let port = LinkBridgePort::new(index)
        .learning(flags.learning)
        .flood(flags.flood)
        .append_info_data(InfoBridgePort::Locked(flags.locked))
        .append_info_data(InfoBridgePort::HairpinMode(flags.hairpin))
        .append_info_data(InfoBridgePort::Isolated(flags.isolated))
        .group_fwd_mask(flags.group_fwd_mask);
    let properties = port
        .append_extra_attribute(LinkAttribute::Group(DEFAULT_GROUP))
        .append_extra_attribute(LinkAttribute::IfAlias(veth.alias.clone()));
    let properties = without_generated_addresses(properties).build();
    let fails = || failure(LinkAction::Configure, &veth.host_link);
    let mut batch = Batch::new();
    batch.add(RouteNetlinkMessage::NewLink(properties), 0, fails());
    let station = RouteNetlinkMessage::NewNeighbour(station(index, veth.container_mac));
    batch.add(station, NLM_F_CREATE | NLM_F_REPLACE, fails());
    socket.change(batch)
}

/// The forwarding database's entry that a MAC address is behind a port, for as long as the port is there.
fn station(port: u32, mac: MacAddress) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    // Static; a permanent one would be an address of the host.
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller;
    let address = NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec());
    message.attributes.push(address);
    message
}

/// Has the host forget the MAC addresses of neighbours on a bridge. What it does not know, or a bridge that is gone, is no
/// error.
pub(crate) fn forget_neighbours(
    socket: &mut RouteSocket,
    bridge: &InterfaceName,
    addresses: &[IpAddr],
) -> Result<(), KernelError> {
    let Some(index) = socket.index(bridge)? else { return Ok(()) };
    for &address in addresses {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        let destination = match address {
            IpAddr::V4(address) => {
                message.header.family = AddressFamily::Inet;
                NeighbourAddress::Inet(address)
            }
            IpAddr::V6(address) => {
                message.header.family = AddressFamily::Inet6;
                NeighbourAddress::Inet6(address)
            }
        };
        message.attributes.push(NeighbourAttribute::Destination(destination));
        let mut batch = Batch::new();
        let message = RouteNetlinkMessage::DelNeighbour(message);
        batch.add(message, 0, failure(LinkAction::Configure, bridge));
        match socket.change(batch) {
            Err(KernelError::Link {
                source: RequestError::Refused { errno: Errno::NOENT, .. },
                ..
            })
            | Err(KernelError::NoLink { .. }) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Brings a link up.
pub(crate) fn bring_up(socket: &mut RouteSocket, link: &InterfaceName) -> Result<(), KernelError> {
    let mut batch = Batch::new();
    let message = LinkUnspec::new_with_name(link.as_str()).up().build();
    batch.add(set(message), 0, failure(LinkAction::BringUp, link));
    socket.change(batch)
}

/// Removes a link, a veth with its other end. One that is gone already is no error.
pub(crate) fn delete(socket: &mut RouteSocket, link: &InterfaceName) -> Result<(), KernelError> {
    let mut batch = Batch::new();
    let message = LinkUnspec::new_with_name(link.as_str()).build();
    batch.add(RouteNetlinkMessage::DelLink(message), 0, failure(LinkAction::Delete, link));
    match socket.change(batch) {
        Err(KernelError::NoLink { .. }) => Ok(()),
        // The answer was lost, not necessarily the request.
        Err(KernelError::Exchange { .. }) if socket.index(link)?.is_none() => Ok(()),
        outcome => outcome,
    }
}

/// The index of a link that must be there.
pub(crate) fn index(socket: &RouteSocket, link: &InterfaceName) -> Result<u32, KernelError> {
    socket.index(link)?.ok_or_else(|| KernelError::NoLink { link: link.clone() })
}

/// The request that changes an existing link.
pub(crate) fn set(message: LinkMessage) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(message)
}

/// Makes the error of a request about `link`.
pub(crate) fn failure(
    action: LinkAction,
    link: &InterfaceName,
) -> impl FnOnce(RequestError) -> KernelError + use<> {
    let link = link.clone();
    move |source| match source {
        RequestError::Refused { errno: Errno::NODEV, .. } => KernelError::NoLink { link },
        source => KernelError::Link { action, link, source },
    }
}

/// Keeps the kernel from making a link-local address of its own when the link goes up.
pub(crate) fn without_generated_addresses<T>(link: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
    // Booted with ipv6.disable=1 it makes none, and does not know the attribute either.
    if !sysctl::has_ipv6() {
        return link;
    }
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let attribute = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
    link.append_extra_attribute(attribute)
}

/// Adds the request that gives a link an address. An IPv6 address is usable at once: addresses are assigned
/// and not guessed, and duplicate detection (RFC 4862) would take a second or two.
pub(crate) fn add_address<'a>(
    batch: &mut Batch<'a>,
    index: u32,
    link: &'a InterfaceName,
    address: IpNet,
    flags: u16,
) {
    let failure = move |source| KernelError::Address { link: link.clone(), address, source };
    let message = RouteNetlinkMessage::NewAddress(address_message(index, address));
    batch.add(message, flags, failure);
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    match address {
        IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(net.addr(), net.prefix_len())
            .build(),
        IpNet::V6(net) => {
            let mut message = AddressMessageBuilder::<Ipv6Addr>::new()
                .index(index)
                .address(net.addr(), net.prefix_len())
                .build();
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            message
        }
    }
}

fn create(
    socket: &mut RouteSocket,
    link: &InterfaceName,
    message: LinkMessage,
    other_reason: impl FnOnce(&RouteSocket) -> Option<KernelError>,
) -> Result<(), KernelError> {
    let mut batch = Batch::new();
    let message = RouteNetlinkMessage::NewLink(message);
    batch.add(message, NLM_F_CREATE | NLM_F_EXCL, |source| KernelError::Link {
        action: LinkAction::Create,
        link: link.clone(),
        source,
    });
    match socket.change(batch) {
        Err(KernelError::Link {
            source: RequestError::Refused { errno: Errno::EXIST, .. },
            ..
        }) => {
            Err(other_reason(socket)
                .unwrap_or_else(|| KernelError::LinkExists { link: link.clone() }))
        }
        // The answer was lost, not necessarily the request.
        Err(error @ KernelError::Exchange { .. }) => {
            let is_made = observe::is_unfinished(socket, link)?;
            undo_unless(Err(error), link, || if is_made { delete(socket, link) } else { Ok(()) })
        }
        outcome => outcome,
    }
}

/// Hands an outcome through, and takes back what was begun where it is an error.
fn undo_unless(
    outcome: Result<(), KernelError>,
    link: &InterfaceName,
    undo: impl FnOnce() -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let Err(error) = outcome else { return Ok(()) };
    match undo() {
        Ok(()) => Err(error),
        Err(source) => Err(KernelError::Unfinished {
            link: link.clone(),
            unfinished: Box::new(error),
            source: Box::new(source),
        }),
    }
}
