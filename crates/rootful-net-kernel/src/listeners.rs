//! Finds the sockets that take what comes in on a port of the host, in the current network namespace.

use std::io::{self, ErrorKind};

use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rootful_net_core::observed::Listener;
use rootful_net_core::publish::{Port, Protocol};

use crate::netlink::Exchange;

/// Lists the listening TCP and SCTP sockets and the unconnected UDP sockets, of IPv4 and IPv6.
///
/// The kernel picks them out by their state, so that connections cost nothing.
///
/// # Errors
/// Where the kernel does not answer. That it has no SCTP is no error.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut exchange = Exchange::open(NETLINK_SOCK_DIAG)?;
    let mut listeners = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        for socket_id in [SocketId::new_v4(), SocketId::new_v6()] {
            let question = SockDiagMessage::InetRequest(request(protocol, socket_id));
            let outcome = exchange.dump(question, |answer| {
                if let SockDiagMessage::InetResponse(socket) = answer {
                    listeners.extend(listener(protocol, &socket));
                }
            });
            match outcome {
                Err(error) if protocol == Protocol::Sctp && is_missing(&error) => {}
                outcome => outcome?,
            }
        }
    }
    Ok(listeners)
}

fn request(protocol: Protocol, socket_id: SocketId) -> InetRequest {
    let states = match protocol {
        Protocol::Tcp | Protocol::Sctp => StateFlags::LISTEN,
        // A UDP socket that is bound and not connected is in this state, net/ipv4/udp.c.
        Protocol::Udp => StateFlags::CLOSE,
    };
    InetRequest {
        family: if socket_id.source_address.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: protocol.number(),
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    }
}

fn listener(protocol: Protocol, socket: &InetResponse) -> Option<Listener> {
    let header = &socket.header;
    let bound = header.socket_id.source_address;
    let ipv6_only = socket.nlas.contains(&Nla::SkV6Only(true));
    Some(Listener {
        protocol,
        // An IPv6 socket can be bound to an IPv4 address, ipv6(7).
        address: bound.to_canonical(),
        dual_stack: bound.is_ipv6() && bound.is_unspecified() && !ipv6_only,
        port: Port::new(header.socket_id.source_port)?,
        uid: header.uid,
    })
}

/// The kernel has no way to list sockets of this protocol, hence none of them either.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
