//! Published ports are kept from the host's own programs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rootful_net_core::observed::{Observed, Query};
use rootful_net_core::plan::Step;
use rootful_net_core::publish::{Port, Protocol, Reservation};
use rootful_net_kernel::{Kernel, KernelError};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::message;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::Uid;

use crate::daemon::{
    ALICE, BOB, DEADLINE, MALLORY, ROOT, System, Web, container_of, ensure_nothing_is_left,
    ensure_refused, ensure_seen, ensure_silent, fd,
};

pub(crate) const TESTS: &[Test] = &[
    ("reservations::reserved_port_cannot_be_bound_in_any_way", reserved_port_cannot_be_bound),
    ("reservations::address_that_the_host_does_not_have_is_reserved", absent_address),
    ("reservations::own_sockets_are_no_listeners", own_sockets_are_no_listeners),
    ("reservations::bound_program_is_refused_and_nothing_reserved", bound_program_is_refused),
    ("reservations::connection_from_the_port_is_left_alone", connection_from_the_port),
    ("reservations::connected_datagram_socket_is_left_alone", connected_datagram_socket),
    ("reservations::leftovers_of_a_server_are_not_in_the_way", leftovers_of_a_server),
    ("reservations::program_is_left_its_port_where_it_is_not_claimed", program_is_left_its_port),
    ("reservations::failing_plan_gives_back_and_takes_again", failing_plan),
    ("reservations::datagrams_take_no_memory", datagrams_take_no_memory),
    ("reservations::without_ipv6_ipv4_is_reserved", without_ipv6),
    ("reservations::unknown_protocol_is_reserved_of_itself", unknown_protocol),
    ("reservations::cost_is_measured", cost_is_measured),
    ("reservations::published_port_is_safe_from_other_users", safe_from_other_users),
    ("reservations::address_that_appears_later_is_published", address_that_appears_later),
    ("reservations::new_address_is_published_and_reserved_with_any", new_address_with_any),
    ("reservations::program_that_is_bound_is_refused_by_its_uid", program_that_is_bound),
    ("reservations::connection_of_the_host_does_not_refuse_a_port", connection_of_the_host),
    ("reservations::replacing_keeps_what_stays", replacing_keeps_what_stays),
    ("reservations::address_of_a_port_can_be_replaced", address_of_a_port_can_be_replaced),
    ("reservations::failed_attachment_gives_its_ports_back", failed_attachment),
    ("reservations::dead_container_gives_its_ports_back", dead_container),
    ("reservations::ports_are_reserved_again_at_start", reserved_again_at_start),
    ("reservations::program_that_came_while_the_daemon_was_away", program_came_meanwhile),
    ("reservations::descriptors_that_run_out_refuse_the_request", descriptors_that_run_out),
];

/// How a program asks for a port.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    reuse_address: bool,
    reuse_port: bool,
    ipv6_only: bool,
}

const MANNERS: [Manner; 5] = [
    Manner { reuse_address: false, reuse_port: false, ipv6_only: false },
    Manner { reuse_address: true, reuse_port: false, ipv6_only: false },
    Manner { reuse_address: false, reuse_port: true, ipv6_only: false },
    Manner { reuse_address: true, reuse_port: true, ipv6_only: false },
    Manner { reuse_address: true, reuse_port: true, ipv6_only: true },
];

/// Binds as a program of the user does, and listens.
fn program(
    uid: u32,
    protocol: Protocol,
    address: SocketAddr,
    manner: Manner,
) -> Result<OwnedFd, Errno> {
    let as_user = || {
        let id = Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(id, id, id)?;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = match protocol {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp | Protocol::Sctp => SocketType::DGRAM,
        };
        let socket = rustix::net::socket(family, kind, None)?;
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
    };
    std::thread::scope(|scope| match scope.spawn(as_user).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Fails unless no user, root included, gets the address by any protocol of these and in any manner.
fn ensure_kept(protocols: &[Protocol], address: &str) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    for uid in [MALLORY.uid(), 0] {
        for &protocol in protocols {
            for manner in MANNERS {
                let outcome = program(uid, protocol, address, manner);
                let found = outcome.as_ref().err();
                ensure!(
                    found == Some(&Errno::ADDRINUSE),
                    "user {uid}, {address}/{protocol}, {manner:?}: {found:?}"
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
fn ensure_free(protocols: &[Protocol], address: &str) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    protocols.iter().try_for_each(|&protocol| {
        let attempt = || {
            program(MALLORY.uid(), protocol, address, Manner::default())
                .with_context(|| format!("{address}/{protocol}"))
        };
        eventually(DEADLINE, attempt).map(|_| ())
    })
}

/// Claims ports that were free a moment ago, see [`ensure_free`].
fn claim(kernel: &mut Kernel, ports: &[Reservation]) -> Result<()> {
    eventually(DEADLINE, || Ok(kernel.apply(&Step::ClaimPorts(ports.to_vec()), None)?))
}

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// `ADDRESS:PORT`, with `*` for any address of both families.
fn reservation(protocol: Protocol, text: &str) -> Reservation {
    let dual_stack = text.starts_with('*');
    let address: SocketAddr = text.replace('*', "[::]").parse().expect("a socket address");
    let port = Port::new(address.port()).expect("not 0");
    Reservation { protocol, address: address.ip(), dual_stack, port }
}

fn both(text: &str) -> Vec<Reservation> {
    BOTH.map(|protocol| reservation(protocol, text)).into()
}

fn observe(kernel: &mut Kernel) -> Result<Observed> {
    Ok(kernel.observe(&Query { listeners: true, ..Query::default() }, None)?)
}

fn give_addresses() -> Result<()> {
    run("ip address add 192.0.2.1/24 dev lo")?;
    run("ip address add 192.0.2.2/24 dev lo")?;
    run("ip address add 2001:db8::1/64 dev lo nodad")?;
    run("ip address add 2001:db8::2/64 dev lo nodad")?;
    Ok(())
}

fn reserved_port_cannot_be_bound(_: &Sandbox) -> Result<()> {
    give_addresses()?;
    // What is reserved, what is in its way, and what is not.
    let cases: [(&str, &[&str], &[&str]); 5] = [
        (
            "*:8080",
            &[
                "0.0.0.0:8080",
                "[::]:8080",
                "127.0.0.1:8080",
                "192.0.2.1:8080",
                "[::ffff:192.0.2.1]:8080",
                "[2001:db8::1]:8080",
                "[::1]:8080",
            ],
            &["0.0.0.0:8081"],
        ),
        (
            "0.0.0.0:8080",
            &["0.0.0.0:8080", "192.0.2.1:8080", "[::ffff:192.0.2.1]:8080"],
            &["[2001:db8::1]:8080"],
        ),
        ("[::]:8080", &["[::]:8080", "[2001:db8::1]:8080"], &["0.0.0.0:8080"]),
        ("192.0.2.1:8080", &["0.0.0.0:8080", "192.0.2.1:8080"], &["192.0.2.2:8080"]),
        ("[2001:db8::1]:8080", &["[::]:8080", "[2001:db8::1]:8080"], &["[2001:db8::2]:8080"]),
    ];
    let mut kernel = Kernel::open()?;
    for (reserved, kept, free) in cases {
        kept.iter().chain(free).try_for_each(|address| ensure_free(&BOTH, address))?;
        claim(&mut kernel, &both(reserved))?;
        ensure!(observe(&mut kernel)?.reserved == both(reserved).into_iter().collect());
        kept.iter().try_for_each(|address| ensure_kept(&BOTH, address))?;
        free.iter().try_for_each(|address| ensure_free(&BOTH, address))?;
        kernel.apply(&Step::ReleasePorts(both(reserved)), None)?;
        ensure!(observe(&mut kernel)?.reserved.is_empty());
        kept.iter().try_for_each(|address| ensure_free(&BOTH, address))?;
    }
    Ok(())
}

fn absent_address(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    for address in ["192.0.2.1:80", "[2001:db8::1]:80"] {
        kernel.apply(&Step::ClaimPorts(both(address)), None)?;
    }
    give_addresses()?;
    for address in ["192.0.2.1:80", "[2001:db8::1]:80", "0.0.0.0:80", "[::]:80"] {
        let address: SocketAddr = address.parse()?;
        for protocol in BOTH {
            let outcome = program(0, protocol, address, Manner::default());
            ensure!(outcome.is_err_and(|error| error == Errno::ADDRINUSE), "{address}/{protocol}");
        }
    }
    Ok(())
}

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

/// Binds a TCP socket that does not listen.
fn bound_only(address: &str, reuse: bool) -> Result<OwnedFd> {
    let address: SocketAddr = address.parse()?;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
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

/// Closes both ends of a connection in this order, whoever else has them.
fn close(mut first: TcpStream, mut second: TcpStream) -> Result<()> {
    first.shutdown(Shutdown::Write)?;
    ensure!(second.read(&mut [0])? == 0);
    second.shutdown(Shutdown::Write)?;
    ensure!(first.read(&mut [0])? == 0);
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

fn failing_plan(_: &Sandbox) -> Result<()> {
    let mut ports = 8000..;
    let mut attempt = || {
        let port = ports.next().context("ports do not end")?;
        let mut kernel = Kernel::open()?;
        let old = both(&format!("*:{port}"));
        kernel.apply(&Step::ClaimPorts(old.clone()), None)?;
        let impossible = Step::BringUp("nothing0".parse()?);
        let steps = [
            Step::ReleasePorts(old.clone()),
            Step::ClaimPorts(both(&format!("127.0.0.1:{port}"))),
            Step::ReservePorts(both(&format!("*:{}", port + 1000))),
            impossible,
        ];
        let failure = kernel.carry_out(&steps, None).expect_err("there is no such link");
        ensure!(failure.undo_failures.is_empty(), "{failure:?}");
        ensure!(observe(&mut kernel)?.reserved == old.into_iter().collect());
        ensure_kept(&BOTH, &format!("0.0.0.0:{port}"))?;
        ensure_free(&BOTH, &format!("0.0.0.0:{}", port + 1000))
    };
    // Taking a port again fails while another test starts a process, see `ensure_free`.
    eventually(DEADLINE, &mut attempt)
}

/// The bytes that wait in the receive buffer of the UDP socket at this port, as `ss` shows it.
fn waiting(port: u16) -> Result<u64> {
    let shown = run(&format!("ss -H -u -a -n -m sport = :{port}"))?;
    let memory = shown.split("skmem:(r").nth(1).with_context(|| shown.clone())?;
    let number = memory.split(',').next().unwrap_or_default();
    number.parse().with_context(|| shown.clone())
}

fn datagrams_take_no_memory(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    kernel.apply(&Step::ClaimPorts(both("*:8080")), None)?;
    let _program = UdpSocket::bind("127.0.0.1:8081")?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    for address in ["127.0.0.1:8081", "127.0.0.1:8080"] {
        for _ in 0..100 {
            sender.send_to(&[0; 100], address)?;
        }
    }
    // On the loopback interface they have arrived by now.
    ensure!(waiting(8081)? > 0);
    ensure!(waiting(8080)? == 0);
    // And there is nobody to talk to.
    let refused = TcpStream::connect("127.0.0.1:8080").expect_err("nobody listens");
    ensure!(refused.kind() == std::io::ErrorKind::ConnectionRefused, "{refused}");
    Ok(())
}

fn without_ipv6(_: &Sandbox) -> Result<()> {
    for name in ["all", "default", "lo"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
    }
    run("ip address add 192.0.2.1/24 dev lo")?;
    let mut kernel = Kernel::open()?;
    kernel.apply(&Step::ClaimPorts(both("*:8080")), None)?;
    kernel.apply(&Step::ClaimPorts(both("[2001:db8::1]:8081")), None)?;
    for address in ["0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080"] {
        ensure_kept(&BOTH, address)?;
    }
    Ok(())
}

/// Where the kernel has SCTP, its port is as good as the others; where not, there is nothing to reserve.
fn unknown_protocol(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    let port = reservation(Protocol::Sctp, "*:8080");
    kernel.apply(&Step::ClaimPorts(vec![port]), None)?;
    ensure!(observe(&mut kernel)?.reserved == BTreeSet::from([port]));
    kernel.apply(&Step::ReleasePorts(vec![port]), None)?;
    ensure!(observe(&mut kernel)?.reserved.is_empty());
    Ok(())
}

fn cost_is_measured(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    let ports = |first: u16, count: u16| -> Vec<_> {
        (first..first + count)
            .map(|port| reservation(Protocol::Udp, &format!("*:{port}")))
            .collect()
    };
    // The first time the process gets its table of descriptors.
    for (first, count) in [(20_000, 4000), (30_000, 1), (30_100, 100), (40_000, 4000)] {
        let ports = ports(first, count);
        let started = Instant::now();
        kernel.apply(&Step::ClaimPorts(ports.clone()), None)?;
        let claimed = started.elapsed();
        let started = Instant::now();
        observe(&mut kernel)?;
        let observed = started.elapsed();
        let started = Instant::now();
        kernel.apply(&Step::ReleasePorts(ports), None)?;
        let released = started.elapsed();
        println!("{count} ports: claim {claimed:?}, look {observed:?}, release {released:?}");
    }
    Ok(())
}

const SYSCTLS: [&str; 3] = [
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/net/ipv4/ip_local_reserved_ports",
    "/proc/sys/net/ipv4/ip_nonlocal_bind",
];

fn safe_from_other_users(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let parameters = || SYSCTLS.map(fs::read_to_string).into_iter().collect::<Result<Vec<_>, _>>();
    let before = parameters()?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp -p 192.0.2.1:8081:80/tcp,udp")?;
    let container = container_of(BOB)?;
    ROOT.set_up(&container, "low", "-p 80:80/tcp,udp -p :81")?;
    let addresses = ["0.0.0.0", "[::]", "192.0.2.1", "127.0.0.1", "[::1]", "[2001:db8:1::1]"];
    for address in addresses {
        ensure_kept(&BOTH, &format!("{address}:8080"))?;
    }
    for address in ["0.0.0.0:8081", "192.0.2.1:8081", "[::]:8081"] {
        // The last takes IPv4 as well.
        let address: SocketAddr = address.parse()?;
        for protocol in BOTH {
            let outcome = program(MALLORY.uid(), protocol, address, MANNERS[3]);
            ensure!(outcome.is_err_and(|error| error == Errno::ADDRINUSE), "{address}/{protocol}");
        }
    }
    ensure_free(&BOTH, "127.0.0.1:8081")?;
    let low = program(0, Protocol::Tcp, "192.0.2.1:80".parse()?, Manner::default());
    ensure!(low.is_err_and(|error| error == Errno::ADDRINUSE));
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    ensure!(parameters()? == before, "{before:?}");
    ALICE.tear_down("web")?;
    // Once it is answered, the ports are free.
    ensure_free(&BOTH, "0.0.0.0:8080")?;
    ensure_free(&BOTH, "[::]:8080")?;
    ensure_free(&BOTH, "192.0.2.1:8081")?;
    drop(web);
    ROOT.succeed(&["teardown", "--pid", &container.pid().to_string()])?;
    ensure_nothing_is_left()
}

fn address_that_appears_later(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let arguments = "-p 192.0.2.50:8080:80/tcp,udp -p [2001:db8:1::50]:8080:80/tcp,udp";
    let _web = Web::set_up(ALICE, "web", arguments)?;
    system.lan.run(|| ensure_silent("192.0.2.50:8080"))?;
    run("ip address add 192.0.2.50/24 dev lan0")?;
    run("ip address add 2001:db8:1::50/64 dev lan0 nodad")?;
    system.lan.run(|| {
        ensure_seen("192.0.2.50:8080", "192.0.2.100")?;
        ensure_seen("[2001:db8:1::50]:8080", "2001:db8:1::100")
    })?;
    ensure_kept(&BOTH, "192.0.2.50:8080")?;
    ensure_kept(&BOTH, "0.0.0.0:8080")?;
    ensure_kept(&BOTH, "[2001:db8:1::50]:8080")?;
    ensure_free(&BOTH, "192.0.2.1:8080")
}

fn new_address_with_any(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    run("ip address add 192.0.2.51/24 dev lan0")?;
    run("ip address add 2001:db8:1::51/64 dev lan0 nodad")?;
    system.lan.run(|| {
        ensure_seen("192.0.2.51:8080", "192.0.2.100")?;
        ensure_seen("[2001:db8:1::51]:8080", "2001:db8:1::100")
    })?;
    ensure_kept(&BOTH, "192.0.2.51:8080")?;
    ensure_kept(&BOTH, "[2001:db8:1::51]:8080")
}

fn program_that_is_bound(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let as_mallory = || -> Result<OwnedFd> {
        let id = Uid::from_raw(MALLORY.uid());
        rustix::thread::set_thread_res_uid(id, id, id)?;
        bound_only("192.0.2.1:8001", false)
    };
    let bound = std::thread::scope(|scope| scope.spawn(as_mallory).join().expect("no panic"))?;
    let uid = format!("user {}", MALLORY.uid());
    for publish in ["8001:80", "192.0.2.1:8001:80"] {
        let message = message("web", &["rootful0"], &[publish]);
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
        ensure_refused("Conflict", &["8001/tcp", "program of the host", &uid], attempt)?;
    }
    drop(bound);
    eventually(DEADLINE, || ALICE.set_up(&container, "web", "-p 8001:80").map(|_| ()))
}

fn connection_of_the_host(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let server = system.lan.run(|| Ok(TcpListener::bind("192.0.2.100:7000")?))?;
    let client = TcpStream::connect("192.0.2.100:7000")?;
    let (accepted, _) = server.accept()?;
    let port = client.local_addr()?.port();
    let web = Web::set_up(ALICE, "web", &format!("-p {port}:80/tcp,udp"))?;
    let address = format!("192.0.2.1:{port}");
    system.lan.run(|| ensure_seen(&address, "192.0.2.100"))?;
    ensure_kept(&[Protocol::Udp], &address)?;
    // The next change of the attachment finds it free.
    close(accepted, client)?;
    let arguments = format!("-p {port}:80/tcp,udp -p 9000:90 --replace");
    let other = format!("-p {port}:80/tcp,udp --replace");
    eventually(DEADLINE, || {
        ALICE.set_up(&web.container, "web", &arguments)?;
        ALICE.set_up(&web.container, "web", &other)?;
        ensure_kept(&[Protocol::Tcp], &address)
    })
}

fn replacing_keeps_what_stays(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "-p 8080:80/tcp,udp -p 8081:81")?;
    let stop = AtomicBool::new(false);
    let address: SocketAddr = "0.0.0.0:8080".parse()?;
    let lie_in_wait = |protocol| {
        let mut attempts = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            if program(MALLORY.uid(), protocol, address, Manner::default()).is_ok() {
                anyhow::bail!("{address}/{protocol} was free for a moment");
            }
            attempts += 1;
        }
        Ok(attempts)
    };
    std::thread::scope(|scope| {
        let waiting = BOTH.map(|protocol| scope.spawn(move || lie_in_wait(protocol)));
        let replace = |arguments: &str| {
            ALICE.set_up(&container, "web", &format!("-p 8080:80/tcp,udp {arguments} --replace"))
        };
        let outcome = (0..5).try_for_each(|_| {
            replace("-p 8082:82").and_then(|_| replace("-p 8081:81")).map(|_| ())
        });
        stop.store(true, Ordering::Relaxed);
        for thread in waiting {
            let attempts = thread.join().expect("no panic")?;
            ensure!(attempts > 10, "{attempts}");
        }
        outcome
    })?;
    ensure_kept(&[Protocol::Tcp], "0.0.0.0:8081")?;
    ensure_free(&[Protocol::Tcp], "0.0.0.0:8082")
}

fn address_of_a_port_can_be_replaced(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    ALICE.set_up(&web.container, "web", "-p 192.0.2.1:8080:80/tcp,udp --replace")?;
    ensure_kept(&BOTH, "192.0.2.1:8080")?;
    ensure_free(&BOTH, "127.0.0.1:8080")?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    ALICE.set_up(&web.container, "web", "-p 8080:80/tcp,udp --replace")?;
    ensure_kept(&BOTH, "127.0.0.1:8080")
}

fn failed_attachment(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    // Setting the container's interface up fails.
    container.run(|| run("ip -6 route add blackhole default"))?;
    let message = message("web", &["rootful0"], &["8080:80/tcp,udp"]);
    let outcome = ALICE.attach(fd(&container)?.as_fd(), &message)?;
    ensure!(outcome.is_err(), "{outcome:?}");
    ensure_free(&BOTH, "0.0.0.0:8080")?;
    ensure_nothing_is_left()
}

fn dead_container(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let dying = container_of(ALICE)?;
    ALICE.set_up(&dying, "dying", "-p 8080:80/tcp,udp")?;
    ensure_kept(&BOTH, "0.0.0.0:8080")?;
    dying.kill()?;
    eventually(DEADLINE, || ensure_free(&BOTH, "0.0.0.0:8080"))
}

fn reserved_again_at_start(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    for end in [Daemon::stop, Daemon::kill] {
        system.end(end)?;
        system.start_again()?;
        ensure_kept(&BOTH, "0.0.0.0:8080")?;
    }
    Ok(())
}

fn program_came_meanwhile(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp -p 8081:80")?;
    system.end(Daemon::stop)?;
    let address: SocketAddr = "0.0.0.0:8080".parse()?;
    let _program = program(MALLORY.uid(), Protocol::Tcp, address, Manner::default())?;
    system.start_again()?;
    // It is left what it has, and the others are reserved.
    ensure_kept(&[Protocol::Udp], "0.0.0.0:8080")?;
    ensure_kept(&[Protocol::Tcp], "0.0.0.0:8081")?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))
}

fn descriptors_that_run_out(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let limit = |number: u32| {
        let pid = system.daemon()?.pid();
        run(&format!("prlimit --pid {pid} --nofile={number}:"))
    };
    limit(128)?;
    let message = message("web", &["rootful0"], &["8000-8199:8000-8199"]);
    let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
    ensure_refused("Internal", &["cannot reserve port *:8", "Too many open files"], attempt)?;
    limit(1024)?;
    ensure_free(&BOTH, "0.0.0.0:8000")?;
    ALICE.set_up(&container, "web", "-p 8000-8199:8000-8199")?;
    ensure_kept(&[Protocol::Tcp], "0.0.0.0:8199")
}
