//! Frames that the owner of a namespace forges, and those that everybody sends: which of them reach the
//! neighbours and the host. Each forged one is sent again without the guard, to see that it would arrive.

use std::net::{Ipv4Addr, Ipv6Addr};

use rootful_net_tests::Test;
use rootful_net_tests::frame::{
    self, ARP, BROADCAST, DESTINATION, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, IPV4, IPV6, Mac,
    ROUTING, TCP, UDP, advertisement, arp, ethernet, icmp, icmpv6, ipv4, ipv4_fragment, ipv6,
    link_layer_option, padding_options, router_advertisement, router_alert, solicitation,
    solicited_node, tagged, udp, with_length,
};

use crate::guarded::{Shared, Stations};

const NOBODY: Mac = [2, 0, 0, 0x99, 0x99, 0x99];
const UNASSIGNED: Ipv4Addr = Ipv4Addr::new(10, 87, 99, 99);
const UNASSIGNED6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x87, 0, 0, 0, 0, 0, 0x9999);
const UNASSIGNED_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x9999);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_LISTENER_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// Types of ICMPv6.
const ECHO: u8 = 128;
const ROUTER_SOLICITATION: u8 = 133;
const RA: u8 = 134;
const NS: u8 = 135;
const NA: u8 = 136;
const REDIRECT: u8 = 137;

/// Tests of one kind, each with its name and the frames that it sends.
macro_rules! cases {
    ($check:ident: $($name:ident => $frames:expr;)*) => {
        &[$((concat!("guard::", stringify!($name)), |_| {
            let frames: fn(&Stations) -> Vec<Vec<u8>> = $frames;
            let mut shared = Shared::new()?;
            let frames = frames(&shared.stations);
            shared.$check(&frames)
        }),)*]
    };
}

/// Mallory's IPv4 packet to everybody.
fn own_ipv4(s: &Stations, protocol: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    from_ipv4(s, s.mallory.ipv4, protocol, payload)
}

/// A packet from mallory that says it comes from this address.
fn from_ipv4(s: &Stations, from: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    let packet = |to| ipv4(from, to, protocol, payload);
    vec![
        ethernet(BROADCAST, s.mallory.mac, IPV4, &packet(Ipv4Addr::BROADCAST)),
        ethernet(s.victim.mac, s.mallory.mac, IPV4, &packet(s.victim.ipv4)),
        ethernet(s.gateway.mac, s.mallory.mac, IPV4, &packet(s.gateway.ipv4)),
    ]
}

fn datagram_from(s: &Stations, from: Ipv4Addr) -> Vec<Vec<u8>> {
    from_ipv4(s, from, UDP, &udp(1000, 1000, b"hello"))
}

fn datagram_from6(s: &Stations, from: Ipv6Addr) -> Vec<Vec<u8>> {
    let packet = |to| ipv6(from, to, UDP, 64, &udp(1000, 1000, b"hello"));
    vec![
        s.mallory.to_group(ALL_NODES, &packet(ALL_NODES)),
        ethernet(s.victim.mac, s.mallory.mac, IPV6, &packet(s.victim.ipv6)),
        ethernet(s.gateway.mac, s.mallory.mac, IPV6, &packet(s.gateway.ipv6)),
    ]
}

/// An ICMPv6 message to all nodes, from mallory's link-local address, never forwarded.
fn message(s: &Stations, kind: u8, body: &[u8]) -> Vec<Vec<u8>> {
    message_from(s, s.mallory.link_local, kind, body)
}

fn message_from(s: &Stations, from: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<Vec<u8>> {
    behind(s, from, &[], ICMPV6, &icmpv6(from, ALL_NODES, kind, body))
}

/// A packet to all nodes with these headers between its own and the message.
fn behind(s: &Stations, from: Ipv6Addr, headers: &[u8], first: u8, rest: &[u8]) -> Vec<Vec<u8>> {
    let packet = ipv6(from, ALL_NODES, first, 255, &[headers, rest].concat());
    vec![s.mallory.to_group(ALL_NODES, &packet)]
}

/// A router advertisement behind a header.
fn advertisement_behind(s: &Stations, first: u8, header: &[u8]) -> Vec<Vec<u8>> {
    let me = s.mallory.link_local;
    let body = router_advertisement(s.mallory.mac);
    behind(s, me, header, first, &icmpv6(me, ALL_NODES, RA, &body))
}

/// A neighbour advertisement with the target's link-layer address.
fn neighbour(s: &Stations, target: Ipv6Addr, mac: Mac) -> Vec<Vec<u8>> {
    message(s, NA, &advertisement(target, &link_layer_option(2, mac)))
}

/// An ARP packet to everybody, from mallory's own MAC address as far as the frame goes.
fn arp_packet(
    s: &Stations,
    operation: u16,
    sender: (Mac, Ipv4Addr),
    target: Ipv4Addr,
) -> Vec<Vec<u8>> {
    let packet = arp(operation, sender, ([0; 6], target));
    [BROADCAST, s.victim.mac, s.gateway.mac]
        .map(|to| ethernet(to, s.mallory.mac, ARP, &packet))
        .into()
}

/// A datagram of mallory's own with another source MAC address.
fn frame_from(s: &Stations, mac: Mac) -> Vec<Vec<u8>> {
    let packet = ipv4(s.mallory.ipv4, Ipv4Addr::BROADCAST, UDP, &udp(1000, 1000, b"hello"));
    [BROADCAST, s.victim.mac, s.gateway.mac].map(|to| ethernet(to, mac, IPV4, &packet)).into()
}

/// Mallory's own datagram, to be wrapped.
fn own_frame(s: &Stations) -> Vec<u8> {
    own_ipv4(s, UDP, &udp(1000, 1000, b"hello")).swap_remove(0)
}

/// A frame of a type to everybody.
fn of_type(s: &Stations, ether_type: u16) -> Vec<Vec<u8>> {
    vec![ethernet(BROADCAST, s.mallory.mac, ether_type, &[0x55; 46])]
}

/// A frame of a type to one of the groups 01:80:c2:00:00:0x.
fn to_bridge_group(s: &Stations, group: u8, ether_type: u16) -> Vec<Vec<u8>> {
    vec![ethernet([1, 0x80, 0xc2, 0, 0, group], s.mallory.mac, ether_type, &[0x55; 46])]
}

/// An IPv4 header with an option that does nothing, put around a payload.
fn with_ipv4_options(packet: &[u8]) -> Vec<u8> {
    let (header, payload) = packet.split_at(20);
    let mut header = [header, &[1, 1, 1, 0]].concat();
    header[0] = 0x46;
    header[3] += 4;
    // The checksum goes down by what was added, RFC 1624.
    let sum = u16::from_be_bytes([header[10], header[11]]);
    let added: u32 = 0x0100 + 4 + 0x0101 + 0x0100;
    let sum = u32::from(!sum) + added;
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header, payload].concat()
}

const STOPPED: &[Test] = cases! { ensure_stopped:
    // Who sends a frame.
    frame_from_unknown_mac => |s| frame_from(s, NOBODY);
    frame_from_victims_mac => |s| {
        let mut frames = frame_from(s, s.victim.mac);
        frames.retain(|frame| !frame.starts_with(&s.victim.mac));
        frames
    };
    frame_from_gateways_mac => |s| frame_from(s, s.gateway.mac);
    // ARP.
    arp_request_as_victim => |s| arp_packet(s, 1, (s.mallory.mac, s.victim.ipv4), s.gateway.ipv4);
    arp_request_as_gateway => |s| arp_packet(s, 1, (s.mallory.mac, s.gateway.ipv4), s.victim.ipv4);
    arp_reply_as_victim => |s| arp_packet(s, 2, (s.mallory.mac, s.victim.ipv4), s.gateway.ipv4);
    arp_reply_as_gateway => |s| arp_packet(s, 2, (s.mallory.mac, s.gateway.ipv4), s.victim.ipv4);
    gratuitous_arp_request_for_victim =>
        |s| arp_packet(s, 1, (s.mallory.mac, s.victim.ipv4), s.victim.ipv4);
    gratuitous_arp_reply_for_gateway =>
        |s| arp_packet(s, 2, (s.mallory.mac, s.gateway.ipv4), s.gateway.ipv4);
    arp_from_unassigned_address =>
        |s| arp_packet(s, 1, (s.mallory.mac, UNASSIGNED), s.victim.ipv4);
    arp_with_victims_hardware_address =>
        |s| arp_packet(s, 2, (s.victim.mac, s.mallory.ipv4), s.gateway.ipv4);
    arp_with_nobodys_hardware_address => |s| arp_packet(s, 2, (NOBODY, s.mallory.ipv4), s.gateway.ipv4);
    arp_in_a_frame_from_elsewhere => |s| {
        let packet = arp(2, (s.mallory.mac, s.mallory.ipv4), (BROADCAST, s.victim.ipv4));
        vec![ethernet(BROADCAST, NOBODY, ARP, &packet)]
    };
    arp_probe_for_victims_address =>
        |s| arp_packet(s, 1, (s.mallory.mac, Ipv4Addr::UNSPECIFIED), s.victim.ipv4);
    arp_probe_for_gateways_address =>
        |s| arp_packet(s, 1, (s.mallory.mac, Ipv4Addr::UNSPECIFIED), s.gateway.ipv4);
    arp_for_other_address_lengths => |s| {
        let mut packet = arp(2, (s.mallory.mac, s.victim.ipv4), (BROADCAST, s.victim.ipv4));
        packet[4] = 8;
        vec![ethernet(BROADCAST, s.mallory.mac, ARP, &packet)]
    };
    reverse_arp => |s| of_type(s, 0x8035);
    // IPv4.
    ipv4_from_victims_address => |s| datagram_from(s, s.victim.ipv4);
    ipv4_from_gateways_address => |s| datagram_from(s, s.gateway.ipv4);
    ipv4_from_unassigned_address => |s| datagram_from(s, UNASSIGNED);
    ipv4_from_the_internet => |s| datagram_from(s, Ipv4Addr::new(192, 0, 2, 100));
    ipv4_from_loopback => |s| datagram_from(s, Ipv4Addr::LOCALHOST);
    ipv4_from_broadcast => |s| datagram_from(s, Ipv4Addr::BROADCAST);
    ipv4_from_a_group => |s| datagram_from(s, Ipv4Addr::new(224, 0, 0, 1));
    ipv4_with_options_from_victims_address => |s| {
        let packet = ipv4(s.victim.ipv4, Ipv4Addr::BROADCAST, UDP, &udp(1000, 1000, b"hello"));
        vec![ethernet(BROADCAST, s.mallory.mac, IPV4, &with_ipv4_options(&packet))]
    };
    ipv4_later_fragment_from_victims_address => |s| {
        let packet = ipv4_fragment(s.victim.ipv4, Ipv4Addr::BROADCAST, UDP, 9, &[0x55; 32]);
        vec![ethernet(BROADCAST, s.mallory.mac, IPV4, &packet)]
    };
    dhcp_discovery_without_address =>
        |s| from_ipv4(s, Ipv4Addr::UNSPECIFIED, UDP, &udp(68, 67, &[0x55; 240]));
    dhcp_servers_reply => |s| own_ipv4(s, UDP, &udp(67, 68, &[0x55; 240]));
    dhcp_reply_from_another_port => |s| own_ipv4(s, UDP, &udp(6767, 68, &[0x55; 240]));
    dhcp_reply_in_a_first_fragment => |s| {
        let datagram = udp(67, 68, &[0x55; 240]);
        let packet = ipv4_fragment(s.mallory.ipv4, Ipv4Addr::BROADCAST, UDP, 0x2000, &datagram[..8]);
        vec![ethernet(BROADCAST, s.mallory.mac, IPV4, &packet)]
    };
    dhcp_reply_behind_ipv4_options => |s| {
        let packet = ipv4(s.mallory.ipv4, Ipv4Addr::BROADCAST, UDP, &udp(67, 68, &[0x55; 200]));
        vec![ethernet(BROADCAST, s.mallory.mac, IPV4, &with_ipv4_options(&packet))]
    };
    icmp_redirect => |s| own_ipv4(s, ICMP, &icmp(5, 1, &[0x55; 32]));
    icmp_redirect_behind_ipv4_options => |s| {
        let packet = ipv4(s.mallory.ipv4, Ipv4Addr::BROADCAST, ICMP, &icmp(5, 1, &[0x55; 32]));
        vec![ethernet(BROADCAST, s.mallory.mac, IPV4, &with_ipv4_options(&packet))]
    };
    icmp_router_advertisement => |s| own_ipv4(s, ICMP, &icmp(9, 0, &[0x55; 12]));
    // IPv6.
    ipv6_from_victims_address => |s| datagram_from6(s, s.victim.ipv6);
    ipv6_from_gateways_address => |s| datagram_from6(s, s.gateway.ipv6);
    ipv6_from_victims_link_local_address => |s| datagram_from6(s, s.victim.link_local);
    ipv6_from_gateways_link_local_address => |s| datagram_from6(s, s.gateway.link_local);
    ipv6_from_unassigned_address => |s| datagram_from6(s, UNASSIGNED6);
    ipv6_from_unassigned_link_local_address => |s| datagram_from6(s, UNASSIGNED_LINK_LOCAL);
    ipv6_from_a_group => |s| datagram_from6(s, ALL_NODES);
    ipv6_from_loopback => |s| datagram_from6(s, Ipv6Addr::LOCALHOST);
    ipv6_from_mapped_address => |s| datagram_from6(s, s.victim.ipv4.to_ipv6_mapped());
    ipv6_without_address => |s| datagram_from6(s, Ipv6Addr::UNSPECIFIED);
    ipv6_later_fragment_from_victims_address => |s| {
        let header = frame::fragment(UDP, 9, false);
        behind(s, s.victim.ipv6, &header, FRAGMENT, &[0x55; 32])
    };
    // Neighbour discovery.
    neighbour_advertisement_for_victim => |s| neighbour(s, s.victim.ipv6, s.mallory.mac);
    neighbour_advertisement_for_victims_link_local =>
        |s| neighbour(s, s.victim.link_local, s.mallory.mac);
    neighbour_advertisement_for_gateway => |s| neighbour(s, s.gateway.ipv6, s.mallory.mac);
    neighbour_advertisement_for_unassigned_address =>
        |s| neighbour(s, UNASSIGNED6, s.mallory.mac);
    neighbour_advertisement_with_victims_mac => |s| neighbour(s, s.mallory.ipv6, s.victim.mac);
    neighbour_advertisement_with_nobodys_mac => |s| neighbour(s, s.mallory.ipv6, NOBODY);
    neighbour_advertisement_without_mac_for_victim =>
        |s| message(s, NA, &advertisement(s.victim.ipv6, &[]));
    neighbour_advertisement_with_the_mac_behind_another_option => |s| {
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let options = [&nonce[..], &link_layer_option(2, s.victim.mac)].concat();
        message(s, NA, &advertisement(s.mallory.ipv6, &options))
    };
    neighbour_advertisement_with_two_macs => |s| {
        let own = link_layer_option(2, s.mallory.mac);
        let options = [own, link_layer_option(2, s.victim.mac)].concat();
        message(s, NA, &advertisement(s.mallory.ipv6, &options))
    };
    neighbour_advertisement_without_a_mac_for_the_victim =>
        |s| message(s, NA, &advertisement(s.victim.ipv6, &[]));
    neighbour_advertisement_without_a_mac_for_the_gateway =>
        |s| message(s, NA, &advertisement(s.gateway.ipv6, &[]));
    neighbour_solicitation_without_a_mac_from_victims_address =>
        |s| message_from(s, s.victim.ipv6, NS, &solicitation(s.gateway.ipv6, &[]));
    neighbour_advertisement_from_victims_address => |s| {
        let body = advertisement(s.victim.ipv6, &link_layer_option(2, s.mallory.mac));
        message_from(s, s.victim.link_local, NA, &body)
    };
    neighbour_advertisement_behind_hop_by_hop => |s| {
        let me = s.mallory.link_local;
        let body = advertisement(s.victim.ipv6, &link_layer_option(2, s.mallory.mac));
        let message = icmpv6(me, ALL_NODES, NA, &body);
        behind(s, me, &padding_options(ICMPV6), HOP_BY_HOP, &message)
    };
    neighbour_advertisement_in_a_fragment => |s| {
        let me = s.mallory.link_local;
        let body = advertisement(s.victim.ipv6, &link_layer_option(2, s.mallory.mac));
        let message = icmpv6(me, ALL_NODES, NA, &body);
        behind(s, me, &frame::fragment(ICMPV6, 0, false), FRAGMENT, &message)
    };
    neighbour_solicitation_with_victims_mac => |s| {
        let option = link_layer_option(1, s.victim.mac);
        message_from(s, s.mallory.ipv6, NS, &solicitation(s.gateway.ipv6, &option))
    };
    neighbour_solicitation_with_the_mac_behind_another_option => |s| {
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let options = [&nonce[..], &link_layer_option(1, s.victim.mac)].concat();
        message_from(s, s.mallory.ipv6, NS, &solicitation(s.gateway.ipv6, &options))
    };
    neighbour_solicitation_from_victims_address => |s| {
        let option = link_layer_option(1, s.mallory.mac);
        message_from(s, s.victim.ipv6, NS, &solicitation(s.gateway.ipv6, &option))
    };
    neighbour_solicitation_that_was_forwarded => |s| {
        let me = s.mallory.ipv6;
        let body = solicitation(s.victim.ipv6, &link_layer_option(1, s.mallory.mac));
        let packet = ipv6(me, ALL_NODES, ICMPV6, 64, &icmpv6(me, ALL_NODES, NS, &body));
        vec![s.mallory.to_group(ALL_NODES, &packet)]
    };
    address_detection_for_victims_address => |s| {
        message_from(s, Ipv6Addr::UNSPECIFIED, NS, &solicitation(s.victim.ipv6, &[]))
    };
    address_detection_behind_destination_options => |s| {
        let nobody = Ipv6Addr::UNSPECIFIED;
        let message = icmpv6(nobody, ALL_NODES, NS, &solicitation(s.mallory.ipv6, &[]));
        behind(s, nobody, &padding_options(ICMPV6), DESTINATION, &message)
    };
    listener_report_without_address => |s| {
        message_from(s, Ipv6Addr::UNSPECIFIED, 143, &[0, 0, 0, 0])
    };
    // Routers.
    router_advertisement_plain => |s| message(s, RA, &router_advertisement(s.mallory.mac));
    router_advertisement_as_gateway =>
        |s| message_from(s, s.gateway.link_local, RA, &router_advertisement(s.mallory.mac));
    router_advertisement_behind_hop_by_hop =>
        |s| advertisement_behind(s, HOP_BY_HOP, &padding_options(ICMPV6));
    router_advertisement_behind_router_alert =>
        |s| advertisement_behind(s, HOP_BY_HOP, &router_alert(ICMPV6));
    router_advertisement_behind_destination_options =>
        |s| advertisement_behind(s, DESTINATION, &padding_options(ICMPV6));
    router_advertisement_behind_routing_header =>
        |s| advertisement_behind(s, ROUTING, &frame::routing(ICMPV6));
    router_advertisement_in_a_fragment =>
        |s| advertisement_behind(s, FRAGMENT, &frame::fragment(ICMPV6, 0, false));
    router_advertisement_in_a_first_fragment =>
        |s| advertisement_behind(s, FRAGMENT, &frame::fragment(ICMPV6, 0, true));
    router_advertisement_behind_four_headers => |s| {
        let headers = [
            padding_options(DESTINATION),
            padding_options(ROUTING),
            frame::routing(FRAGMENT),
            frame::fragment(ICMPV6, 0, false),
        ];
        advertisement_behind(s, HOP_BY_HOP, &headers.concat())
    };
    router_advertisement_hidden_in_a_later_fragment => |s| {
        // The first fragment ends before the message; in the second an option header goes before it.
        let header = [frame::fragment(DESTINATION, 1, false), padding_options(ICMPV6)].concat();
        advertisement_behind(s, FRAGMENT, &header)
    };
    redirect => |s| {
        let body = [&[0; 4][..], &s.mallory.link_local.octets(), &s.gateway.ipv6.octets()].concat();
        message(s, REDIRECT, &body)
    };
    redirect_behind_destination_options => |s| {
        let me = s.mallory.link_local;
        let body = [&[0; 4][..], &me.octets(), &s.gateway.ipv6.octets()].concat();
        let message = icmpv6(me, ALL_NODES, REDIRECT, &body);
        behind(s, me, &padding_options(ICMPV6), DESTINATION, &message)
    };
    router_solicitation => |s| {
        let me = s.mallory.link_local;
        let body = [&[0; 4][..], &link_layer_option(1, s.victim.mac)].concat();
        let packet = ipv6(
            me, ALL_ROUTERS, ICMPV6, 255, &icmpv6(me, ALL_ROUTERS, ROUTER_SOLICITATION, &body),
        );
        vec![s.mallory.to_group(ALL_ROUTERS, &packet)]
    };
    router_renumbering => |s| message(s, 138, &[0x55; 32]);
    inverse_neighbour_advertisement => |s| message(s, 142, &[0x55; 32]);
    multicast_router_advertisement => |s| message(s, 151, &[0x55; 4]);
    dhcpv6_servers_reply => |s| {
        let me = s.mallory.link_local;
        behind(s, me, &[], UDP, &udp(547, 546, &[0x55; 64]))
    };
    dhcpv6_reply_behind_destination_options => |s| {
        let me = s.mallory.link_local;
        behind(s, me, &padding_options(UDP), DESTINATION, &udp(547, 546, &[0x55; 64]))
    };
    // Tags, and what is no Ethernet II.
    vlan_0_tag => |s| vec![tagged(&own_frame(s), 0x8100, 0)];
    vlan_5_tag => |s| vec![tagged(&own_frame(s), 0x8100, 5)];
    vlan_tag_of_providers => |s| vec![tagged(&own_frame(s), 0x88a8, 5)];
    two_vlan_tags => |s| vec![tagged(&tagged(&own_frame(s), 0x8100, 5), 0x88a8, 5)];
    two_equal_vlan_tags => |s| vec![tagged(&tagged(&own_frame(s), 0x8100, 0), 0x8100, 0)];
    vlan_tag_before_forged_arp => |s| {
        let forged = arp_packet(s, 2, (s.mallory.mac, s.gateway.ipv4), s.victim.ipv4);
        vec![tagged(&forged[0], 0x8100, 0)]
    };
    vlan_tag_before_router_advertisement => |s| {
        vec![tagged(&message(s, RA, &router_advertisement(s.mallory.mac))[0], 0x8100, 0)]
    };
    ipv4_in_snap => |s| {
        let packet = ipv4(s.victim.ipv4, Ipv4Addr::BROADCAST, UDP, &udp(1, 1, b"hello"));
        let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
        vec![with_length(BROADCAST, s.mallory.mac, &snap, &packet)]
    };
    llc_frame => |s| vec![with_length(BROADCAST, s.mallory.mac, &[0xf0, 0xf0, 3], &[0x55; 46])];
    // What switches and bridges say to each other.
    spanning_tree => |s| {
        let group = [1, 0x80, 0xc2, 0, 0, 0];
        vec![with_length(group, s.mallory.mac, &[0x42, 0x42, 3], &[0; 35])]
    };
    spanning_tree_to_everybody =>
        |s| vec![with_length(BROADCAST, s.mallory.mac, &[0x42, 0x42, 3], &[0; 35])];
    spanning_tree_of_another_maker => |s| {
        let group = [1, 0, 0x0c, 0xcc, 0xcc, 0xcd];
        let snap = [0xaa, 0xaa, 3, 0, 0, 0x0c, 1, 0x0b];
        vec![with_length(group, s.mallory.mac, &snap, &[0; 42])]
    };
    lldp => |s| to_bridge_group(s, 0x0e, 0x88cc);
    lldp_to_the_nearest_customer_bridge => |s| to_bridge_group(s, 0, 0x88cc);
    lldp_to_everybody => |s| of_type(s, 0x88cc);
    eapol => |s| to_bridge_group(s, 3, 0x888e);
    lacp => |s| to_bridge_group(s, 2, 0x8809);
    ipv4_as_victim_to_a_bridge_group => |s| {
        // Frames to that group go to the host's protocols past the bridge, unless the port says otherwise.
        let packet = ipv4(s.victim.ipv4, s.gateway.ipv4, UDP, &udp(1000, 1000, b"hello"));
        vec![ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], s.mallory.mac, IPV4, &packet)]
    };
    // Others.
    unknown_ether_type => |s| of_type(s, 0x88b5);
    mpls => |s| of_type(s, 0x8847);
    pppoe_discovery => |s| of_type(s, 0x8863);
    precision_time => |s| of_type(s, 0x88f7);
    loopback_protocol => |s| of_type(s, 0x9000);
};

/// What the bridge drops, guard or no guard.
const STOPPED_BY_BRIDGE: &[Test] = cases! { ensure_silent:
    frame_from_a_group_mac => |s| frame_from(s, [1, 0, 0x5e, 0, 0, 1]);
    frame_from_broadcast_mac => |s| frame_from(s, BROADCAST);
    frame_from_zero_mac => |s| frame_from(s, [0; 6]);
    pause_frame => |s| to_bridge_group(s, 1, 0x8808);
};

const PASSED: &[Test] = cases! { ensure_passed:
    passes_arp_request => |s| {
        let packet = arp(1, (s.mallory.mac, s.mallory.ipv4), ([0; 6], s.victim.ipv4));
        vec![ethernet(BROADCAST, s.mallory.mac, ARP, &packet)]
    };
    passes_arp_to_the_gateway => |s| {
        [1, 2].map(|operation| {
            let own = (s.mallory.mac, s.mallory.ipv4);
            let packet = arp(operation, own, (s.gateway.mac, s.gateway.ipv4));
            ethernet(s.gateway.mac, s.mallory.mac, ARP, &packet)
        }).into()
    };
    passes_arp_request_for_the_gateway => |s| {
        let packet = arp(1, (s.mallory.mac, s.mallory.ipv4), ([0; 6], s.gateway.ipv4));
        vec![ethernet(BROADCAST, s.mallory.mac, ARP, &packet)]
    };
    passes_arp_reply => |s| {
        let packet = arp(2, (s.mallory.mac, s.mallory.ipv4), (s.victim.mac, s.victim.ipv4));
        vec![ethernet(s.victim.mac, s.mallory.mac, ARP, &packet)]
    };
    passes_gratuitous_arp_for_own_address => |s| {
        [1, 2].map(|operation| {
            let own = (s.mallory.mac, s.mallory.ipv4);
            ethernet(BROADCAST, s.mallory.mac, ARP, &arp(operation, own, own))
        }).into()
    };
    passes_arp_probe_for_own_address => |s| {
        let nobody = (s.mallory.mac, Ipv4Addr::UNSPECIFIED);
        let packet = arp(1, nobody, ([0; 6], s.mallory.ipv4));
        vec![ethernet(BROADCAST, s.mallory.mac, ARP, &packet)]
    };
    passes_ipv4_unicast_broadcast_and_multicast => |s| {
        let datagram = udp(5353, 5353, b"hello");
        let packet = |to| ipv4(s.mallory.ipv4, to, UDP, &datagram);
        let group = Ipv4Addr::new(224, 0, 0, 251);
        vec![
            ethernet(s.victim.mac, s.mallory.mac, IPV4, &packet(s.victim.ipv4)),
            ethernet(BROADCAST, s.mallory.mac, IPV4, &packet(Ipv4Addr::BROADCAST)),
            ethernet([1, 0, 0x5e, 0, 0, 0xfb], s.mallory.mac, IPV4, &packet(group)),
        ]
    };
    passes_packets_to_the_gateway_and_beyond => |s| {
        let datagram = udp(1000, 1000, b"hello");
        let packet = |to| ipv4(s.mallory.ipv4, to, UDP, &datagram);
        let packet6 = |from, to| ipv6(from, to, UDP, 64, &datagram);
        let beyond6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);
        let packets = [
            (IPV4, packet(s.gateway.ipv4)),
            (IPV4, packet(Ipv4Addr::new(192, 0, 2, 100))),
            (IPV6, packet6(s.mallory.ipv6, s.gateway.ipv6)),
            (IPV6, packet6(s.mallory.link_local, s.gateway.link_local)),
            (IPV6, packet6(s.mallory.ipv6, beyond6)),
        ];
        packets
            .map(|(kind, packet)| ethernet(s.gateway.mac, s.mallory.mac, kind, &packet))
            .into()
    };
    passes_ipv4_fragments_and_options => |s| {
        let part = |fragment| {
            ipv4_fragment(s.mallory.ipv4, s.victim.ipv4, ICMP, fragment, &icmp(8, 0, &[0x55; 44]))
        };
        let options = with_ipv4_options(&ipv4(s.mallory.ipv4, s.victim.ipv4, TCP, &[0; 20]));
        [part(0x2000), part(0x2006), part(12), options]
            .map(|packet| ethernet(s.victim.mac, s.mallory.mac, IPV4, &packet))
            .into()
    };
    passes_icmp_echo_and_errors => |s| {
        [icmp(8, 0, &[0; 8]), icmp(0, 0, &[0; 8]), icmp(3, 4, &[0x55; 32]), icmp(11, 0, &[0; 32])]
            .map(|message| {
                let packet = ipv4(s.mallory.ipv4, s.victim.ipv4, ICMP, &message);
                ethernet(s.victim.mac, s.mallory.mac, IPV4, &packet)
            })
            .into()
    };
    passes_igmp_report => |s| {
        let group = Ipv4Addr::new(224, 0, 0, 22);
        let packet = with_ipv4_options(&ipv4(s.mallory.ipv4, group, 2, &[0x22, 0, 0, 0, 0, 0, 0, 0]));
        vec![ethernet([1, 0, 0x5e, 0, 0, 22], s.mallory.mac, IPV4, &packet)]
    };
    passes_ipv6_unicast_and_multicast => |s| {
        let datagram = udp(5353, 5353, b"hello");
        let packet = |from, to| ipv6(from, to, UDP, 255, &datagram);
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
        vec![
            ethernet(s.victim.mac, s.mallory.mac, IPV6, &packet(s.mallory.ipv6, s.victim.ipv6)),
            s.mallory.to_group(group, &packet(s.mallory.link_local, group)),
        ]
    };
    passes_neighbour_solicitation => |s| {
        let group = solicited_node(s.victim.ipv6);
        [s.mallory.ipv6, s.mallory.link_local].map(|me| {
            let body = solicitation(s.victim.ipv6, &link_layer_option(1, s.mallory.mac));
            let packet = ipv6(me, group, ICMPV6, 255, &icmpv6(me, group, NS, &body));
            s.mallory.to_group(group, &packet)
        }).into()
    };
    passes_neighbour_discovery_to_the_gateway => |s| {
        let addresses = [
            (s.mallory.ipv6, s.gateway.ipv6),
            (s.mallory.link_local, s.gateway.link_local),
        ];
        // As a kernel finds out whether the gateway is still there.
        let messages = addresses.map(|(me, gateway)| {
            let asked = solicitation(gateway, &link_layer_option(1, s.mallory.mac));
            let answer = advertisement(me, &link_layer_option(2, s.mallory.mac));
            [(NS, asked), (NA, answer)].map(|(kind, body)| {
                let packet = ipv6(me, gateway, ICMPV6, 255, &icmpv6(me, gateway, kind, &body));
                ethernet(s.gateway.mac, s.mallory.mac, IPV6, &packet)
            })
        });
        messages.concat()
    };
    passes_neighbour_solicitation_for_the_gateway => |s| {
        let group = solicited_node(s.gateway.ipv6);
        let me = s.mallory.ipv6;
        let body = solicitation(s.gateway.ipv6, &link_layer_option(1, s.mallory.mac));
        let packet = ipv6(me, group, ICMPV6, 255, &icmpv6(me, group, NS, &body));
        vec![s.mallory.to_group(group, &packet)]
    };
    passes_neighbour_advertisement_for_own_addresses => |s| {
        [s.mallory.ipv6, s.mallory.link_local]
            .map(|me| neighbour(s, me, s.mallory.mac).swap_remove(0))
            .into()
    };
    passes_address_detection_for_own_addresses => |s| {
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let probe = |target, options: &[u8]| {
            let body = solicitation(target, options);
            message_from(s, Ipv6Addr::UNSPECIFIED, NS, &body).swap_remove(0)
        };
        vec![probe(s.mallory.ipv6, &[]), probe(s.mallory.link_local, &nonce)]
    };
    passes_multicast_listener_reports => |s| {
        [(143, vec![0; 4]), (131, vec![0; 20]), (132, vec![0; 20])].map(|(kind, body)| {
            let (me, group) = (s.mallory.link_local, ALL_LISTENER_ROUTERS);
            let payload = [router_alert(ICMPV6), icmpv6(me, group, kind, &body)].concat();
            s.mallory.to_group(group, &ipv6(me, group, HOP_BY_HOP, 1, &payload))
        }).into()
    };
    passes_icmpv6_echo_and_errors => |s| {
        let (me, victim) = (s.mallory.ipv6, s.victim.ipv6);
        [(ECHO, 8), (129, 8), (2, 64), (1, 64), (3, 64), (4, 64)].map(|(kind, length)| {
            let message = icmpv6(me, victim, kind, &vec![0x55; length]);
            ethernet(s.victim.mac, s.mallory.mac, IPV6, &ipv6(me, victim, ICMPV6, 64, &message))
        }).into()
    };
    passes_icmpv6_echo_in_fragments => |s| {
        let (me, victim) = (s.mallory.ipv6, s.victim.ipv6);
        let message = icmpv6(me, victim, ECHO, &[0x55; 60]);
        [(0, true, &message[..32]), (4, false, &message[32..])].map(|(offset, more, part)| {
            let payload = [&frame::fragment(ICMPV6, offset, more), part].concat();
            ethernet(s.victim.mac, s.mallory.mac, IPV6, &ipv6(me, victim, FRAGMENT, 64, &payload))
        }).into()
    };
    passes_ipv6_extension_headers => |s| {
        let (me, victim) = (s.mallory.ipv6, s.victim.ipv6);
        let datagram = udp(1000, 1000, b"hello");
        let chains = [
            (DESTINATION, [padding_options(UDP), datagram.clone()].concat()),
            (HOP_BY_HOP, [padding_options(UDP), datagram.clone()].concat()),
            (FRAGMENT, [frame::fragment(UDP, 0, true), datagram].concat()),
            (FRAGMENT, [frame::fragment(UDP, 9, false), vec![0x55; 32]].concat()),
            // Encapsulated and encrypted: nothing that is read here.
            (50, vec![0x55; 32]),
        ];
        chains.map(|(first, payload)| {
            ethernet(s.victim.mac, s.mallory.mac, IPV6, &ipv6(me, victim, first, 64, &payload))
        }).into()
    };
};

/// All of them.
pub(crate) fn tests() -> Vec<Test> {
    [STOPPED, STOPPED_BY_BRIDGE, PASSED].concat()
}
