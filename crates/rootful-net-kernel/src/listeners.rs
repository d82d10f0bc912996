//! Finds the sockets that are bound to ports of the host, in the current network namespace.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rootful_net_core::observed::Listener;
use rootful_net_core::publish::{Port, Protocol, Reservation};

use crate::netlink::Exchange;

/// A TCP socket that is bound, does not listen and is not connected, `TCP_BOUND_INACTIVE` of include/net/tcp_states.h.
/// The kernel lists them since 6.8, commit 91051f003948.
const BOUND_INACTIVE: u8 = 13;
const STATE_CLOSE: u8 = 7;
const STATE_LISTEN: u8 = 10;

/// A socket of the host that is bound to a port.
#[derive(Clone, Debug)]
pub(crate) struct PortUser {
    /// Where it is bound, and whose it is.
    pub(crate) listener: Listener,
    /// Whether it is one end of a connection, or what is left of one, and takes nothing from newcomers.
    pub(crate) connected: bool,
    cookie: u64,
}

impl PortUser {
    /// Whether it keeps the port from being reserved, by its address.
    pub(crate) fn blocks(&self, port: &Reservation) -> bool {
        let Listener { protocol, address, dual_stack, port: number, .. } = self.listener;
        port.overlaps(&Reservation { protocol, address, dual_stack, port: number })
    }
}

/// Lists the sockets of IPv4 and IPv6 that are bound to a port and not connected: TCP sockets, SCTP sockets that
/// listen, and UDP sockets.
///
/// The kernel picks them out by their state, so that connections cost nothing.
///
/// # Errors
/// Where the kernel does not answer. That it has no SCTP is no error.
pub fn listeners() -> io::Result<Vec<Listener>> {
    listeners_but(&BTreeSet::new())
}

/// The same without the sockets that have these cookies.
pub(crate) fn listeners_but(own: &BTreeSet<u64>) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let states = match protocol {
            Protocol::Tcp => 1 << STATE_LISTEN | 1 << BOUND_INACTIVE,
            Protocol::Sctp => 1 << STATE_LISTEN,
            // A UDP socket that is bound and not connected is in this state, net/ipv4/udp.c.
            Protocol::Udp => 1 << STATE_CLOSE,
        };
        dump(protocol, None, states, |user| {
            if !own.contains(&user.cookie) {
                listeners.push(user.listener);
            }
        })?;
    }
    Ok(listeners)
}

/// Lists the sockets that use the ports, connected ones too, without those that have the cookies in `own`.
///
/// # Errors
/// Where the kernel does not answer.
pub(crate) fn users(
    protocol: Protocol,
    ports: &BTreeSet<Port>,
    own: &BTreeSet<u64>,
) -> io::Result<Vec<PortUser>> {
    // The kernel picks out one port or none.
    let only = match ports.len() {
        1 => ports.first().copied(),
        _ => None,
    };
    let mut users = Vec::new();
    dump(protocol, only, u32::MAX, |user| {
        if ports.contains(&user.listener.port) && !own.contains(&user.cookie) {
            users.push(user);
        }
    })?;
    Ok(users)
}

/// Hands the sockets in these states to `each`; with `port`, those that are bound to it.
fn dump(
    protocol: Protocol,
    port: Option<Port>,
    states: u32,
    mut each: impl FnMut(PortUser),
) -> io::Result<()> {
    let mut exchange = Exchange::open(NETLINK_SOCK_DIAG)?;
    for socket_id in [SocketId::new_v4(), SocketId::new_v6()] {
        let question = SockDiagMessage::InetRequest(InetRequest {
            family: if socket_id.source_address.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol: protocol.number(),
            extensions: ExtensionFlags::empty(),
            states: StateFlags::from_bits_retain(states),
            socket_id: SocketId { source_port: port.map_or(0, Port::get), ..socket_id },
        });
        let outcome = exchange.dump(question, |answer| {
            if let SockDiagMessage::InetResponse(socket) = answer {
                port_user(protocol, &socket).into_iter().for_each(&mut each);
            }
        });
        match outcome {
            Err(error) if protocol == Protocol::Sctp && is_missing(&error) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

fn port_user(protocol: Protocol, socket: &InetResponse) -> Option<PortUser> {
    let header = &socket.header;
    let bound = header.socket_id.source_address;
    let ipv6_only = socket.nlas.contains(&Nla::SkV6Only(true));
    let listener = Listener {
        protocol,
        // An IPv6 socket can be bound to an IPv4 address, ipv6(7).
        address: bound.to_canonical(),
        dual_stack: bound.is_ipv6() && bound.is_unspecified() && !ipv6_only,
        port: Port::new(header.socket_id.source_port)?,
        uid: header.uid,
    };
    let connected = ![STATE_LISTEN, STATE_CLOSE, BOUND_INACTIVE].contains(&header.state);
    Some(PortUser { listener, connected, cookie: cookie(header.socket_id.cookie) })
}

/// The kernel gives it as two numbers, the lower half first.
fn cookie([a, b, c, d, e, f, g, h]: [u8; 8]) -> u64 {
    let half = |bytes| u64::from(u32::from_ne_bytes(bytes));
    half([a, b, c, d]) | half([e, f, g, h]) << 32
}

/// The kernel has no way to list sockets of this protocol, hence none of them either.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
