//! Ethernet frames of every kind, true and forged, as bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC address.
pub type Mac = [u8; 6];

/// Everybody.
pub const BROADCAST: Mac = [0xff; 6];

/// Types of frames.
pub const IPV4: u16 = 0x0800;
/// See [`IPV4`].
pub const ARP: u16 = 0x0806;
/// See [`IPV4`].
pub const IPV6: u16 = 0x86dd;

/// Protocols behind an IP header.
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;
/// See [`ICMP`].
pub const ICMPV6: u8 = 58;
/// Extension headers of IPv6.
pub const HOP_BY_HOP: u8 = 0;
/// See [`HOP_BY_HOP`].
pub const ROUTING: u8 = 43;
/// See [`HOP_BY_HOP`].
pub const FRAGMENT: u8 = 44;
/// See [`HOP_BY_HOP`].
pub const DESTINATION: u8 = 60;

/// A frame.
pub fn ethernet(to: Mac, from: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes(), payload].concat()
}

/// A frame with a tag: `protocol` is 0x8100 or 0x88a8.
pub fn tagged(frame: &[u8], protocol: u16, vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &protocol.to_be_bytes(), &vlan.to_be_bytes(), rest].concat()
}

/// A frame of IEEE 802.3, with a length and a header of IEEE 802.2.
pub fn with_length(to: Mac, from: Mac, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(header.len() + payload.len()).expect("a frame");
    ethernet(to, from, length, &[header, payload].concat())
}

/// An ARP packet: 1 asks, 2 answers.
pub fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4];
    let (sender_ip, target_ip) = (sender.1.octets(), target.1.octets());
    let operation = operation.to_be_bytes();
    [&head[..], &operation, &sender.0, &sender_ip, &target.0, &target_ip].concat()
}

/// An IPv4 packet.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(from, to, protocol, 0, payload)
}

/// An IPv4 packet with what stands in the field of flags and offset, 0x2000 for "more fragments".
pub fn ipv4_fragment(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a packet").to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let mut header =
        [&[0x45, 0][..], &length, &[0x12, 0x34, high, low, 64, protocol, 0, 0]].concat();
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    header.extend(payload);
    header
}

/// A UDP datagram without a checksum, which IPv4 allows.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram");
    let head = [from, to, length, 0].map(u16::to_be_bytes).concat();
    [&head, payload].concat()
}

/// An ICMP message with a checksum.
pub fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], body].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// An IPv6 packet.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a packet").to_be_bytes();
    let head = [&[0x60, 0, 0, 0][..], &length, &[next, hop_limit]].concat();
    [&head, &from.octets()[..], &to.octets(), payload].concat()
}

/// A header of options that does nothing, 8 bytes: hop-by-hop or destination.
pub fn padding_options(next: u8) -> Vec<u8> {
    vec![next, 0, 1, 4, 0, 0, 0, 0]
}

/// A hop-by-hop header with the router alert of multicast listener discovery, RFC 3810.
pub fn router_alert(next: u8) -> Vec<u8> {
    vec![next, 0, 5, 2, 0, 0, 1, 0]
}

/// A routing header of a type that nobody has to follow.
pub fn routing(next: u8) -> Vec<u8> {
    vec![next, 0, 253, 0, 0, 0, 0, 0]
}

/// A fragment header; the offset is in units of 8 bytes.
pub fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    vec![next, 0, high, low, 0, 0, 0x12, 0x34]
}

/// An ICMPv6 message with a checksum; `body` begins behind the checksum.
pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0], body].concat();
    let length = u32::try_from(message.len()).expect("a message").to_be_bytes();
    let pseudo = [&from.octets()[..], &to.octets(), &length, &[0, 0, 0, ICMPV6], &message].concat();
    let sum = checksum(&pseudo).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// The body of a neighbour solicitation: the target and options.
pub fn solicitation(target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&[0; 4][..], &target.octets(), options].concat()
}

/// The body of a neighbour advertisement that overrides what is known.
pub fn advertisement(target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&[0x60, 0, 0, 0][..], &target.octets(), options].concat()
}

/// An option of neighbour discovery: 1 is the sender's link-layer address, 2 the target's.
pub fn link_layer_option(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

/// The body of a router advertisement that makes its sender the default router.
pub fn router_advertisement(mac: Mac) -> Vec<u8> {
    let head = [64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    [&head[..], &link_layer_option(1, mac)].concat()
}

/// The multicast MAC address of an IPv6 multicast address.
pub fn multicast(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The group in which the holder of the address listens for solicitations.
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let mut octets = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    octets[13..].copy_from_slice(&[a, b, c]);
    octets.into()
}

/// The Internet checksum, RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => u32::from(pair[0]) << 8,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}
