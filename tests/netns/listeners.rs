//! What the kernel says of sockets that wait for connections.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context as _, Result};
use rootful_net_core::observed::Listener;
use rootful_net_core::publish::{Port, Protocol};
use rootful_net_kernel::listeners::listeners;
use rootful_net_tests::Test;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

pub(crate) const TESTS: &[Test] = &[
    ("listeners::are_those_that_wait", listeners_are_those_that_wait),
    ("listeners::none_in_a_fresh_namespace", none_in_a_fresh_namespace),
    ("listeners::are_all_seen_among_many", all_are_seen_among_many),
];

fn none_in_a_fresh_namespace(_: &Sandbox) -> Result<()> {
    assert_eq!(listeners()?, []);
    Ok(())
}

fn listeners_are_those_that_wait(_: &Sandbox) -> Result<()> {
    run("ip address add 192.0.2.1/24 dev lo")?;
    run("ip address add 2001:db8::1/64 dev lo nodad")?;
    let waiting =
        ["0.0.0.0:1001", "192.0.2.1:1002", "[2001:db8::1]:1003", "[::ffff:192.0.2.1]:1006"];
    let tcp = waiting.iter().map(TcpListener::bind).collect::<Result<Vec<_>, _>>()?;
    let udp = waiting.iter().map(UdpSocket::bind).collect::<Result<Vec<_>, _>>()?;
    let _any6 = (any_ipv6(1004, false)?, any_ipv6(1005, true)?);

    // None of these takes anything from a newcomer.
    let listener = tcp.first().context("one")?;
    let _connected = (TcpStream::connect("127.0.0.1:1001")?, listener.accept()?);
    let peer = UdpSocket::bind("127.0.0.1:2001")?;
    peer.connect("127.0.0.1:1001")?;

    let mut found = listeners()?;
    found.sort_by_key(|listener| (listener.protocol, listener.port));
    let expected = [
        ("0.0.0.0:1001", false),
        ("192.0.2.1:1002", false),
        ("[2001:db8::1]:1003", false),
        ("[::]:1004", true),
        ("[::]:1005", false),
        ("192.0.2.1:1006", false),
    ];
    let expected = [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(|protocol| {
        expected.map(|(address, dual_stack)| {
            let address: SocketAddr = address.parse().expect("valid");
            let port = Port::new(address.port()).expect("not 0");
            Listener { protocol, address: address.ip(), dual_stack, port, uid: 0 }
        })
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert_eq!(udp.len(), 4);
    Ok(())
}

/// TCP and UDP sockets bound to `[::]`.
fn any_ipv6(port: u16, only: bool) -> Result<[rustix::fd::OwnedFd; 2]> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let open = |kind| {
        let socket =
            rustix::net::socket_with(AddressFamily::INET6, kind, SocketFlags::CLOEXEC, None)?;
        sockopt::set_ipv6_v6only(&socket, only)?;
        rustix::net::bind(&socket, &address)?;
        Ok::<_, rustix::io::Errno>(socket)
    };
    let sockets = [open(SocketType::STREAM)?, open(SocketType::DGRAM)?];
    rustix::net::listen(&sockets[0], 1)?;
    Ok(sockets)
}

fn all_are_seen_among_many(_: &Sandbox) -> Result<()> {
    // More than one datagram of answers.
    let sockets = (0..500)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut expected =
        sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
    let mut found: Vec<_> = listeners()?.iter().map(|listener| listener.port.get()).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    Ok(())
}
