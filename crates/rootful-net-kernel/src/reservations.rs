//! Keeps published ports from the host's own programs, by a socket that is bound to each and does nothing else. It
//! does not listen, accept or read, so that nothing reaches it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rootful_net_core::publish::{Protocol, Reservation};
use rustix::io::Errno;
use socket2::{Domain, SockFilter, Socket, Type};

use crate::error::KernelError;
use crate::listeners::{self, OWN_MARK, PortUser};

/// A classic BPF program that takes no byte of any packet, `BPF_RET | BPF_K` of linux/filter.h.
const TAKE_NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// The ports that are kept now. They are free again when this is dropped, or when the process ends.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    kept: BTreeMap<Reservation, Kept>,
}

/// What keeps a port.
#[derive(Debug)]
enum Kept {
    /// A bound socket.
    Bound { _socket: Socket },
    /// The kernel has no such protocol or address family, hence no program that could have the port.
    OfItself,
}

/// What is to happen where a program of the host has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// Nothing is reserved, and the error says so.
    Refuse,
    /// The port is left to the program.
    Leave,
}

/// A port that is in use and not reserved.
#[derive(Debug)]
struct Left {
    port: Reservation,
    /// The uid of the program that is bound to it, where there is one that the kernel tells of.
    uid: Option<u32>,
}

/// Whether a socket may share its port while it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Alone,
    /// With sockets that allow it and do not listen: with what former connections of a server have left behind.
    WithLeftovers,
}

/// So many descriptors have room without a wait.
const ROOM: i32 = 4096;

impl Reservations {
    /// None yet. Where a process's table of descriptors grows, the kernel waits some milliseconds for those who read the
    /// old one; so it grows now, when nobody waits for a port.
    pub(crate) fn with_room() -> Self {
        // Where no more are allowed there is less to wait for.
        let _ = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), ROOM);
        Self::default()
    }

    /// What is kept.
    pub(crate) fn ports(&self) -> BTreeSet<Reservation> {
        self.kept.keys().copied().collect()
    }

    /// Reserves the ports, but for those that only connected sockets use.
    ///
    /// # Errors
    /// Where a program is bound to one of the ports, or the kernel refuses a socket; then none is reserved.
    pub(crate) fn claim(&mut self, ports: &[Reservation]) -> Result<(), KernelError> {
        self.keep(ports, Taken::Refuse).map(|_| ())
    }

    /// Reserves those of the ports that nobody uses.
    ///
    /// # Errors
    /// Where one is in use, when the others are reserved; where the kernel refuses a socket, and then none is
    /// reserved.
    pub(crate) fn reserve(&mut self, ports: &[Reservation]) -> Result<(), KernelError> {
        match self.keep(ports, Taken::Leave)? {
            None => Ok(()),
            Some(Left { port, uid }) => Err(KernelError::PortInUse { port, uid }),
        }
    }

    /// Gives the ports back.
    pub(crate) fn release(&mut self, ports: &[Reservation]) {
        for port in ports {
            self.kept.remove(port);
        }
    }

    /// Answers with the first port that is left to somebody.
    fn keep(&mut self, ports: &[Reservation], taken: Taken) -> Result<Option<Left>, KernelError> {
        let mut left = None;
        let mut new = BTreeMap::new();
        let mut used = BTreeSet::new();
        for &port in ports.iter().filter(|port| !self.kept.contains_key(port)) {
            match bind(port, Sharing::Alone)? {
                Some(kept) => _ = new.insert(port, kept),
                None => _ = used.insert(port),
            }
        }
        for (port, users) in users(used)? {
            let program = users.iter().find(|user| !user.connected);
            let kept = match program {
                Some(_) => None,
                // They have gone meanwhile, or are of a kind that the kernel does not list: TCP sockets before
                // Linux 6.8, and SCTP sockets, that are bound and do not listen.
                None if users.is_empty() => bind(port, Sharing::Alone)?,
                None => bind(port, Sharing::WithLeftovers)?,
            };
            let uid = program.map(|user| user.listener.uid);
            match kept {
                Some(kept) => _ = new.insert(port, kept),
                None if taken == Taken::Refuse && (program.is_some() || users.is_empty()) => {
                    return Err(KernelError::PortInUse { port, uid });
                }
                None => _ = left.get_or_insert(Left { port, uid }),
            }
        }
        self.kept.append(&mut new);
        Ok(left)
    }
}

/// Who uses each of the ports.
fn users(ports: BTreeSet<Reservation>) -> Result<Vec<(Reservation, Vec<PortUser>)>, KernelError> {
    let mut answers = BTreeMap::new();
    for protocol in ports.iter().map(|port| port.protocol).collect::<BTreeSet<_>>() {
        let asked = ports.iter().filter(|port| port.protocol == protocol).map(|port| port.port);
        let found = listeners::users(protocol, &asked.collect())
            .map_err(|source| KernelError::Listeners { source })?;
        answers.insert(protocol, found);
    }
    let of_port = |port: Reservation| {
        let found = answers.get(&port.protocol).into_iter().flatten();
        let users = found.filter(|user| user.listener.port == port.port && user.blocks(&port));
        (port, users.cloned().collect())
    };
    Ok(ports.into_iter().map(of_port).collect())
}

/// Binds a socket to the port; `None` where somebody uses it.
fn bind(port: Reservation, sharing: Sharing) -> Result<Option<Kept>, KernelError> {
    match bound_socket(port, sharing) {
        Ok(kept) => Ok(Some(kept)),
        Err(error) if is(&error, Errno::ADDRINUSE) => Ok(None),
        Err(source) => Err(KernelError::ReservePort { port, source }),
    }
}

fn bound_socket(port: Reservation, sharing: Sharing) -> io::Result<Kept> {
    let socket = match open(port.protocol, port.address) {
        Err(error) if is(&error, Errno::AFNOSUPPORT) && port.dual_stack => {
            let address = Ipv4Addr::UNSPECIFIED.into();
            return bound_socket(Reservation { address, dual_stack: false, ..port }, sharing);
        }
        Err(error) if is(&error, Errno::AFNOSUPPORT) || is(&error, Errno::PROTONOSUPPORT) => {
            return Ok(Kept::OfItself);
        }
        opened => opened?,
    };
    socket.set_mark(OWN_MARK)?;
    // The address may be one that the host gets later.
    match port.address {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) => {
            socket.set_freebind_v6(true)?;
            socket.set_only_v6(!port.dual_stack)?;
        }
    }
    if port.protocol == Protocol::Udp {
        // Behind the rules, what is sent to the port by other ways would wait here for somebody to read it.
        socket.attach_filter(&TAKE_NOTHING)?;
    }
    let address = SocketAddr::new(port.address, port.port.get()).into();
    match (sharing, port.protocol) {
        (Sharing::WithLeftovers, Protocol::Tcp | Protocol::Sctp) => {
            socket.set_reuse_address(true)?;
            socket.bind(&address)?;
            // From now on it is in the way of others who would share.
            socket.set_reuse_address(false)?;
        }
        // Datagram sockets that share take each other's datagrams, and leave nothing behind.
        (Sharing::WithLeftovers, Protocol::Udp) | (Sharing::Alone, _) => socket.bind(&address)?,
    }
    Ok(Kept::Bound { _socket: socket })
}

fn open(protocol: Protocol, address: IpAddr) -> io::Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let kind = match protocol {
        Protocol::Tcp | Protocol::Sctp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    Socket::new(domain, kind, Some(i32::from(protocol.number()).into()))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
