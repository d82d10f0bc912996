//! Finds the sockets that are bound to ports of the host, in the current network namespace.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use netlink_packet_core::{DefaultNla, Emitable as _, Parseable as _};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rootful_net_core::observed::Listener;
use rootful_net_core::publish::{Port, Protocol, Reservation};

use crate::netlink::{Exchange, RawMessage};

/// A TCP socket that is bound, does not listen and is not connected, `TCP_BOUND_INACTIVE` of include/net/tcp_states.h.
/// The kernel lists them since 6.8, commit 91051f003948.
const BOUND_INACTIVE: u8 = 13;
const STATE_CLOSE: u8 = 7;
const STATE_LISTEN: u8 = 10;

/// The `SO_MARK` of the sockets that keep ports for us, by which the kernel passes them over: however many there are,
/// nobody waits for a list of them.
pub(crate) const OWN_MARK: u32 = u32::from_be_bytes(*b"rnet");

/// One operation of a filter, or its argument, in the kernel's language: `inet_diag_bc_op` of linux/inet_diag.h, which
/// has a code and how many bytes further it goes on where it holds and where it does not. What ends exactly at the end
/// of the filter has passed, what ends behind it has not.
type Operation = [u8; 4];

const REQ_BYTECODE: u16 = 1;
const BC_JMP: u8 = 1;
const BC_MARK_COND: u8 = 10;

const NOT_MARKED: [Operation; 4] = [
    operation(BC_MARK_COND, 12, 16),
    OWN_MARK.to_ne_bytes(),
    u32::MAX.to_ne_bytes(),
    // Always as if it did not hold.
    operation(BC_JMP, 4, 8),
];

const fn operation(code: u8, holds: u8, else_: u16) -> Operation {
    let [first, second] = else_.to_ne_bytes();
    [code, holds, first, second]
}

/// A socket of the host that is bound to a port.
#[derive(Clone, Debug)]
pub(crate) struct PortUser {
    /// Where it is bound, and whose it is.
    pub(crate) listener: Listener,
    /// Whether it is one end of a connection, or what is left of one, and takes nothing from newcomers.
    pub(crate) connected: bool,
}

impl PortUser {
    /// Whether it keeps the port from being reserved, by its address.
    pub(crate) fn blocks(&self, port: &Reservation) -> bool {
        let Listener { protocol, address, dual_stack, port: number, .. } = self.listener;
        port.overlaps(&Reservation { protocol, address, dual_stack, port: number })
    }
}

/// Lists the listening TCP and SCTP sockets and the unconnected UDP sockets, of IPv4 and IPv6, but for those that keep
/// ports for us.
///
/// The kernel picks them out by their state and mark, so that connections and reservations cost next to nothing. TCP
/// sockets that are bound and do not listen are not among them: to find one the kernel goes through a table as long as
/// there are ports, for 0.4 ms.
///
/// # Errors
/// Where the kernel does not answer. That it has no SCTP is no error.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let state = match protocol {
            Protocol::Tcp | Protocol::Sctp => STATE_LISTEN,
            // A UDP socket that is bound and not connected is in this state, net/ipv4/udp.c.
            Protocol::Udp => STATE_CLOSE,
        };
        dump(protocol, None, 1 << state, |user| listeners.push(user.listener))?;
    }
    Ok(listeners)
}

/// Lists the sockets that use the ports in any way, but for those that keep ports for us.
///
/// # Errors
/// Where the kernel does not answer.
pub(crate) fn users(protocol: Protocol, ports: &BTreeSet<Port>) -> io::Result<Vec<PortUser>> {
    // The kernel picks out one port or none.
    let only = match ports.len() {
        1 => ports.first().copied(),
        _ => None,
    };
    let mut users = Vec::new();
    dump(protocol, only, u32::MAX, |user| {
        if ports.contains(&user.listener.port) {
            users.push(user);
        }
    })?;
    Ok(users)
}

/// Hands the sockets in these states that are not marked to `each`; with `port`, those that are bound to it.
fn dump(
    protocol: Protocol,
    port: Option<Port>,
    states: u32,
    mut each: impl FnMut(PortUser),
) -> io::Result<()> {
    let mut exchange = Exchange::open(NETLINK_SOCK_DIAG)?;
    for socket_id in [SocketId::new_v4(), SocketId::new_v6()] {
        let request = InetRequest {
            family: if socket_id.source_address.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol: protocol.number(),
            extensions: ExtensionFlags::empty(),
            states: StateFlags::from_bits_retain(states),
            socket_id: SocketId { source_port: port.map_or(0, Port::get), ..socket_id },
        };
        let mut unreadable = None;
        let outcome = exchange.dump(question(&request), |answer: RawMessage| {
            match InetResponse::parse(&answer.payload) {
                Ok(socket) => port_user(protocol, &socket).into_iter().for_each(&mut each),
                Err(error) => unreadable = Some(error),
            }
        });
        if let Some(error) = unreadable {
            return Err(io::Error::new(ErrorKind::InvalidData, error.to_string()));
        }
        match outcome {
            Err(error) if protocol == Protocol::Sctp && is_missing(&error) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// The request, which netlink-packet-sock-diag writes without attributes, and the filter as one.
fn question(request: &InetRequest) -> RawMessage {
    let mut payload = vec![0; request.buffer_len()];
    request.emit(&mut payload);
    let filter = DefaultNla::new(REQ_BYTECODE, NOT_MARKED.concat());
    let start = payload.len();
    payload.resize(start + filter.buffer_len(), 0);
    filter.emit(&mut payload[start..]);
    RawMessage { kind: SOCK_DIAG_BY_FAMILY, payload }
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
    Some(PortUser { listener, connected })
}

/// The kernel has no way to list sockets of this protocol, hence none of them either.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
