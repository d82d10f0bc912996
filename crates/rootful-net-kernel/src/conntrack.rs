//! Removes connection tracking entries of published ports, so that the next packet of a flow is routed afresh.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED, Nla as _};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, ConntrackMessageType, IPTuple, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use rootful_net_core::plan::Flows;
use rootful_net_core::publish::{HostAddress, Port, Protocol};
use rustix::io::Errno;

use crate::netlink::Exchange;

/// `CTA_ID` and `CTA_ZONE` of linux/netfilter/nfnetlink_conntrack.h: with the original tuple they name one
/// entry, and none that takes its place meanwhile.
const IDENTITY: [u16; 2] = [12, 18];
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_PROTO` in it and `CTA_PROTO_NUM` in that.
const ORIGINAL_TUPLE: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
/// `CTA_FILTER`, and `CTA_FILTER_ORIG_FLAGS` in it.
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
/// `CTA_FILTER_F_CTA_PROTO_NUM` of the kernel's net/netfilter/nf_internals.h.
const FILTER_BY_PROTOCOL: u32 = 1 << 3;

/// Deletes the entries whose original destination is one of `flows`, in the current network namespace, and
/// returns how many there were. A kernel without connection tracking has none.
///
/// # Errors
/// Where the kernel does not answer or refuses.
pub fn forget(flows: &[Flows]) -> io::Result<usize> {
    let flows: BTreeSet<Flows> = flows.iter().copied().collect();
    let mut exchange = match Exchange::open(NETLINK_NETFILTER) {
        Err(error) if is(&error, Errno::PROTONOSUPPORT) => return Ok(0),
        opened => opened?,
    };
    let mut forgotten = 0;
    for protocol in flows.iter().map(|flow| flow.protocol).collect::<BTreeSet<_>>() {
        for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
            for entry in entries(&mut exchange, family, protocol, &flows)? {
                match exchange.request(message(family, ConntrackMessage::Delete(entry))) {
                    Ok(()) => forgotten += 1,
                    // It ran out by itself.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(forgotten)
}

fn message(
    family: NetfilterProtoFamily,
    inner: impl Into<NetfilterMessageInner>,
) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

/// The entries of `protocol` that belong to `flows`, each as the attributes that name it.
fn entries(
    exchange: &mut Exchange,
    family: NetfilterProtoFamily,
    protocol: Protocol,
    flows: &BTreeSet<Flows>,
) -> io::Result<Vec<Vec<ConntrackAttribute>>> {
    let mut found = Vec::new();
    let question = NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::Conntrack,
        message_type: ConntrackMessageType::Get.into(),
        attributes: only(protocol),
    };
    let outcome = exchange.dump(message(family, question), |answer| {
        if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(mut entry)) = answer.inner
            && original_destination(&entry).is_some_and(|destination| destination.is_in(flows))
        {
            entry.retain(names_an_entry);
            found.push(entry);
        }
    });
    match outcome {
        // nfnetlink says this where nobody has registered as connection tracking.
        Err(error) if is(&error, Errno::INVAL) => Ok(Vec::new()),
        outcome => outcome.map(|()| found),
    }
}

/// Has the kernel show only entries of the protocol; one before 5.8 shows all.
fn only(protocol: Protocol) -> Vec<DefaultNla> {
    let number = DefaultNla::new(PROTOCOL_NUMBER, vec![protocol.number()]);
    let flags = DefaultNla::new(FILTER_ORIGINAL_FLAGS, FILTER_BY_PROTOCOL.to_ne_bytes().to_vec());
    vec![nest(ORIGINAL_TUPLE, &nest(TUPLE_PROTOCOL, &number)), nest(FILTER, &flags)]
}

/// An attribute that consists of another.
fn nest(kind: u16, inner: &DefaultNla) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    // ConntrackAttribute would lose this flag, which the kernel insists on in the filter.
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

/// Where the first packet of a connection was sent to.
struct Destination {
    protocol: Protocol,
    address: IpAddr,
    port: Port,
}

impl Destination {
    fn is_in(&self, flows: &BTreeSet<Flows>) -> bool {
        let addresses = match self.address {
            IpAddr::V4(address) => {
                [HostAddress::Any, HostAddress::AnyIpv4, HostAddress::Ipv4(address)]
            }
            IpAddr::V6(address) => {
                [HostAddress::Any, HostAddress::AnyIpv6, HostAddress::Ipv6(address)]
            }
        };
        let &Self { protocol, port: host_port, .. } = self;
        addresses
            .into_iter()
            .any(|host_address| flows.contains(&Flows { protocol, host_address, host_port }))
    }
}

/// `None` for protocols that are never published.
fn original_destination(entry: &[ConntrackAttribute]) -> Option<Destination> {
    let tuple = entry.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuple) => Some(tuple),
        _ => None,
    })?;
    let (mut protocol, mut address, mut port) = (None, None, None);
    for part in tuple {
        match part {
            Tuple::Ip(parts) => {
                address = parts.iter().find_map(|part| match part {
                    IPTuple::DestinationAddress(address) => Some(*address),
                    _ => None,
                });
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => protocol = published(u8::from(*number)),
                        ProtoTuple::DestinationPort(number) => port = Port::new(*number),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(Destination { protocol: protocol?, address: address?, port: port? })
}

fn published(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol.number() == number)
}

fn names_an_entry(attribute: &ConntrackAttribute) -> bool {
    match attribute {
        ConntrackAttribute::CtaTupleOrig(_) => true,
        other => IDENTITY.contains(&other.kind()),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
