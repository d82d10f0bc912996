//! Programs of the host that bind ports, as any user's may, and which ports they get.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use rootful_net_core::publish::Protocol;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::user::User;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::daemon::{DEADLINE, MALLORY, ROOT};

/// How a program asks for a port.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    reuse_address: bool,
    reuse_port: bool,
    ipv6_only: bool,
}

pub(super) const MANNERS: [Manner; 5] = [
    Manner { reuse_address: false, reuse_port: false, ipv6_only: false },
    Manner { reuse_address: true, reuse_port: false, ipv6_only: false },
    Manner { reuse_address: false, reuse_port: true, ipv6_only: false },
    Manner { reuse_address: true, reuse_port: true, ipv6_only: false },
    Manner { reuse_address: true, reuse_port: true, ipv6_only: true },
];

/// Binds as a program of the user does, and listens.
pub(super) fn program(
    user: User,
    protocol: Protocol,
    address: SocketAddr,
    manner: Manner,
) -> Result<OwnedFd, Errno> {
    user.on_thread(|| {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = match protocol {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp | Protocol::Sctp => SocketType::DGRAM,
        };
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, manner.reuse_address)?;
        sockopt::set_socket_reuseport(&socket, manner.reuse_port)?;
        if address.is_ipv6() {
            let is_mapped = address.ip().to_canonical().is_ipv4();
            sockopt::set_ipv6_v6only(&socket, manner.ipv6_only && !is_mapped)?;
        }
        rustix::net::bind(&socket, &address)?;
        if protocol == Protocol::Tcp {
            rustix::net::listen(&socket, 1)?;
        }
        Ok(socket)
    })
}

/// Binds a TCP socket that does not listen.
pub(super) fn bound_only(address: &str, reuse: bool) -> Result<OwnedFd> {
    let address: SocketAddr = address.parse()?;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Fails unless no user, root included, gets the address by any protocol of these and in any manner.
pub(super) fn ensure_kept(protocols: &[Protocol], address: &str) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    for user in [MALLORY, ROOT] {
        for &protocol in protocols {
            for manner in MANNERS {
                let outcome = program(user, protocol, address, manner);
                let found = outcome.as_ref().err();
                ensure!(
                    found == Some(&Errno::ADDRINUSE),
                    "user {}, {address}/{protocol}, {manner:?}: {found:?}",
                    user.uid()
                );
            }
        }
    }
    Ok(())
}

/// Fails unless a user gets the address.
///
/// A process that another test is just starting has all sockets of this one until it runs its program; a port that was
/// given back here may be in use for so long.
pub(super) fn ensure_free(protocols: &[Protocol], address: &str) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    protocols.iter().try_for_each(|&protocol| {
        let attempt = || {
            program(MALLORY, protocol, address, Manner::default())
                .with_context(|| format!("{address}/{protocol}"))
        };
        eventually(DEADLINE, attempt).map(|_| ())
    })
}

/// Closes both ends of a connection in this order, whoever else has them.
pub(super) fn close(mut first: TcpStream, mut second: TcpStream) -> Result<()> {
    first.shutdown(Shutdown::Write)?;
    ensure!(second.read(&mut [0])? == 0);
    second.shutdown(Shutdown::Write)?;
    ensure!(first.read(&mut [0])? == 0);
    Ok(())
}
