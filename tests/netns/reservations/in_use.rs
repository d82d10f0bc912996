//! Ports that something of the host has when they are to be reserved, without a daemon: who is in the way, and who is
//! not.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};
use rootful_net_core::plan::Step;
use rootful_net_core::publish::{Protocol, Reservation};
use rootful_net_kernel::{Kernel, KernelError};
use rootful_net_tests::Test;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;

use super::program::{bound_only, close, ensure_free, ensure_kept};
use super::{both, give_addresses, observe, reservation};
use crate::daemon::DEADLINE;

pub(super) const TESTS: &[Test] = &[
    ("reservations::own_sockets_are_no_listeners", own_sockets_are_no_listeners),
    ("reservations::bound_program_is_refused_and_nothing_reserved", bound_program_is_refused),
    ("reservations::program_is_left_its_port_where_it_is_not_claimed", program_is_left_its_port),
    ("reservations::connection_from_the_port_is_left_alone", connection_from_the_port),
    ("reservations::connected_datagram_socket_is_left_alone", connected_datagram_socket),
    ("reservations::leftovers_of_a_server_are_not_in_the_way", leftovers_of_a_server),
];

fn own_sockets_are_no_listeners(_: &Sandbox) -> Result<()> {
    give_addresses()?;
    let mut kernel = Kernel::open()?;
    for text in ["*:8080", "192.0.2.1:8081", "[2001:db8::1]:8081"] {
        kernel.apply(&Step::ClaimPorts(both(text)), None)?;
    }
    ensure!(observe(&mut kernel)?.listeners.is_empty());
    let _program = UdpSocket::bind("192.0.2.2:8081")?;
    let observed = observe(&mut kernel)?;
    let found: Vec<_> = observed.listeners.iter().map(|found| found.port.get()).collect();
    ensure!(found == [8081], "{observed:#?}");
    Ok(())
}

fn bound_program_is_refused(_: &Sandbox) -> Result<()> {
    give_addresses()?;
    let mut kernel = Kernel::open()?;
    kernel.apply(&Step::ClaimPorts(both("*:8000")), None)?;
    let programs: Vec<(OwnedFd, Protocol)> = vec![
        (bound_only("192.0.2.1:8001", false)?, Protocol::Tcp),
        (bound_only("0.0.0.0:8002", true)?, Protocol::Tcp),
        (TcpListener::bind("[2001:db8::1]:8003")?.into(), Protocol::Tcp),
        (UdpSocket::bind("127.0.0.1:8004")?.into(), Protocol::Udp),
        (UdpSocket::bind("[::]:8005")?.into(), Protocol::Udp),
    ];
    for (number, (_, protocol)) in programs.iter().enumerate() {
        let port = 8001 + u16::try_from(number)?;
        let asked = [
            reservation(*protocol, "*:8000"),
            reservation(*protocol, &format!("*:{}", 1000 + port)),
            reservation(*protocol, &format!("*:{port}")),
            reservation(*protocol, &format!("*:{}", 2000 + port)),
        ];
        let refused = kernel.apply(&Step::ClaimPorts(asked.into()), None);
        let Err(KernelError::PortInUse { port: found, uid }) = refused else {
            anyhow::bail!("{port}/{protocol}: {refused:?}");
        };
        ensure!((found.port.get(), uid) == (port, Some(0)), "{found} {uid:?}");
        // What was kept before still is, and nothing else.
        ensure!(observe(&mut kernel)?.reserved == both("*:8000").into_iter().collect());
        ensure_free(&[*protocol], &format!("0.0.0.0:{}", 1000 + port))?;
        // Where it is not in the way there is room.
        let other = [reservation(*protocol, &format!("192.0.2.2:{port}"))];
        if [1, 3, 4].contains(&(number + 1)) {
            kernel.apply(&Step::ClaimPorts(other.into()), None)?;
            kernel.apply(&Step::ReleasePorts(other.into()), None)?;
        }
    }
    Ok(())
}

fn program_is_left_its_port(_: &Sandbox) -> Result<()> {
    let _programs = (TcpListener::bind("0.0.0.0:8001")?, UdpSocket::bind("0.0.0.0:8002")?);
    let ports: Vec<_> = ["*:8001", "*:8002", "*:8003"].into_iter().flat_map(both).collect();
    let mut kernel = Kernel::open()?;
    let taken = [reservation(Protocol::Tcp, "*:8001"), reservation(Protocol::Udp, "*:8002")];
    ensure_left(&mut kernel, ports.clone(), taken[0], Some(0))?;
    let expected = ports.into_iter().filter(|port| !taken.contains(port)).collect();
    ensure!(observe(&mut kernel)?.reserved == expected);
    Ok(())
}

/// Both ends of a TCP connection, the client's first.
fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("192.0.2.1:7000")?;
    let client = TcpStream::connect("192.0.2.1:7000")?;
    Ok((client, listener.accept()?.0))
}

fn connection_from_the_port(_: &Sandbox) -> Result<()> {
    give_addresses()?;
    let (client, server) = connection()?;
    let port = client.local_addr()?.port();
    let in_use = reservation(Protocol::Tcp, &format!("*:{port}"));
    let free = reservation(Protocol::Tcp, "*:8080");
    let mut kernel = Kernel::open()?;
    kernel.apply(&Step::ClaimPorts(vec![in_use, free]), None)?;
    ensure!(observe(&mut kernel)?.reserved == BTreeSet::from([free]));
    let others = reservation(Protocol::Tcp, "*:8081");
    ensure_left(&mut kernel, vec![in_use, others], in_use, None)?;
    ensure!(observe(&mut kernel)?.reserved == BTreeSet::from([free, others]));
    kernel.apply(&Step::ReleasePorts(vec![others]), None)?;
    // Where several ports are in use it is looked for in another way.
    let (other_client, _other_server) = connection()?;
    let other = reservation(Protocol::Tcp, &format!("*:{}", other_client.local_addr()?.port()));
    kernel.apply(&Step::ClaimPorts(vec![in_use, other]), None)?;
    ensure!(observe(&mut kernel)?.reserved == BTreeSet::from([free]));
    // The side that closes first keeps the connection in mind.
    close(server, client)?;
    eventually(DEADLINE, || {
        kernel.apply(&Step::ReservePorts(vec![in_use]), None)?;
        ensure!(observe(&mut kernel)?.reserved == BTreeSet::from([free, in_use]));
        Ok(())
    })?;
    ensure_kept(&[Protocol::Tcp], &format!("192.0.2.1:{port}"))
}

fn connected_datagram_socket(_: &Sandbox) -> Result<()> {
    give_addresses()?;
    let socket = UdpSocket::bind("192.0.2.1:0")?;
    socket.connect("192.0.2.2:9")?;
    let port = socket.local_addr()?.port();
    let in_use = reservation(Protocol::Udp, &format!("*:{port}"));
    let mut kernel = Kernel::open()?;
    kernel.apply(&Step::ClaimPorts(vec![in_use]), None)?;
    ensure!(observe(&mut kernel)?.reserved.is_empty());
    drop(socket);
    eventually(DEADLINE, || {
        kernel.apply(&Step::ReservePorts(vec![in_use]), None)?;
        ensure!(observe(&mut kernel)?.reserved == BTreeSet::from([in_use]));
        Ok(())
    })
}

fn leftovers_of_a_server(_: &Sandbox) -> Result<()> {
    give_addresses()?;
    // Rust's listener has SO_REUSEADDR, as servers should.
    let (client, server) = connection()?;
    close(server, client)?;
    eventually(DEADLINE, || {
        let shown = run("ss -H -t -a -n sport = :7000")?;
        ensure!(shown.lines().count() == 1 && shown.contains("TIME-WAIT"), "{shown}");
        Ok(())
    })?;
    let mut kernel = Kernel::open()?;
    let reserved = reservation(Protocol::Tcp, "*:7000");
    kernel.apply(&Step::ClaimPorts(vec![reserved]), None)?;
    ensure!(observe(&mut kernel)?.reserved == BTreeSet::from([reserved]));
    ensure_kept(&[Protocol::Tcp], "0.0.0.0:7000")?;
    ensure_kept(&[Protocol::Tcp], "192.0.2.1:7000")?;
    // A program that is bound beside the leftovers is seen nevertheless.
    kernel.apply(&Step::ReleasePorts(vec![reserved]), None)?;
    let _program = eventually(DEADLINE, || bound_only("0.0.0.0:7000", true))?;
    let refused = kernel.apply(&Step::ClaimPorts(vec![reserved]), None);
    ensure!(matches!(refused, Err(KernelError::PortInUse { uid: Some(0), .. })), "{refused:?}");
    Ok(())
}

/// Fails unless this one of the ports is said to be left to a program with this uid.
fn ensure_left(
    kernel: &mut Kernel,
    ports: Vec<Reservation>,
    left: Reservation,
    program: Option<u32>,
) -> Result<()> {
    match kernel.apply(&Step::ReservePorts(ports), None) {
        Err(KernelError::PortInUse { port, uid }) if port == left && uid == program => Ok(()),
        outcome => anyhow::bail!("{left} is not left: {outcome:?}"),
    }
}
