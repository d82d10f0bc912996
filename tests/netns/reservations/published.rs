//! What users publish is reserved for as long as they do, by the real daemon.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use rootful_net_core::publish::Protocol;
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::message;
use rustix::io::Errno;

use super::BOTH;
use super::program::{MANNERS, Manner, bound_only, close, ensure_free, ensure_kept, program};
use crate::daemon::{
    ALICE, BOB, DEADLINE, MALLORY, ROOT, System, Web, container_of, ensure_nothing_is_left,
    ensure_refused, ensure_seen, ensure_silent, fd,
};

pub(super) const TESTS: &[Test] = &[
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
            let outcome = program(MALLORY, protocol, address, MANNERS[3]);
            ensure!(outcome.is_err_and(|error| error == Errno::ADDRINUSE), "{address}/{protocol}");
        }
    }
    ensure_free(&BOTH, "127.0.0.1:8081")?;
    let low = program(ROOT, Protocol::Tcp, "192.0.2.1:80".parse()?, Manner::default());
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
    let bound = MALLORY.on_thread(|| bound_only("192.0.2.1:8001", false))?;
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
            if program(MALLORY, protocol, address, Manner::default()).is_ok() {
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
    let _program = program(MALLORY, Protocol::Tcp, address, Manner::default())?;
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
