//! What the kernel keeps once it is reserved, without a daemon.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rootful_net_core::plan::Step;
use rootful_net_core::publish::{Protocol, Reservation};
use rootful_net_kernel::Kernel;
use rootful_net_tests::Test;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rustix::io::Errno;

use super::program::{Manner, ensure_free, ensure_kept, program};
use super::{BOTH, both, give_addresses, observe, reservation};
use crate::daemon::{DEADLINE, ROOT};

pub(super) const TESTS: &[Test] = &[
    ("reservations::reserved_port_cannot_be_bound_in_any_way", reserved_port_cannot_be_bound),
    ("reservations::address_that_the_host_does_not_have_is_reserved", absent_address),
    ("reservations::failing_plan_gives_back_and_takes_again", failing_plan),
    ("reservations::datagrams_take_no_memory", datagrams_take_no_memory),
    ("reservations::without_ipv6_ipv4_is_reserved", without_ipv6),
    ("reservations::unknown_protocol_is_reserved_of_itself", unknown_protocol),
    ("reservations::cost_is_measured", cost_is_measured),
];

/// Claims ports that were free a moment ago, see [`ensure_free`].
fn claim(kernel: &mut Kernel, ports: &[Reservation]) -> Result<()> {
    eventually(DEADLINE, || Ok(kernel.apply(&Step::ClaimPorts(ports.to_vec()), None)?))
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
            let outcome = program(ROOT, protocol, address, Manner::default());
            ensure!(outcome.is_err_and(|error| error == Errno::ADDRINUSE), "{address}/{protocol}");
        }
    }
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
