//! Descriptors that are no network namespace which the caller may attach, and namespaces that are not as they
//! should be.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, ensure};
use rootful_net_dbus::DetachOptions;
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::namespace::{NetworkNamespace, run};
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::message;
use rustix::fs::{Mode, OFlags};

use crate::daemon::{
    ALICE, BOB, DEADLINE, ROOT, System, container_of, ensure_nothing_is_left, ensure_refused, fd,
};

pub(crate) const TESTS: &[Test] = &[
    ("namespaces::other_files_are_refused", other_files),
    ("namespaces::host_is_refused_even_to_root", host_is_refused),
    ("namespaces::roots_is_refused_to_users", roots_is_refused),
    ("namespaces::other_users_is_refused", other_users),
    ("namespaces::nested_one_is_its_makers", nested),
    ("namespaces::one_with_an_interface_is_in_use", with_interface),
    ("namespaces::attached_one_has_one_name", attached_under_one_name),
    ("namespaces::taken_interface_name_is_a_conflict", taken_interface_name),
    ("namespaces::one_without_processes_goes_with_its_descriptor", without_processes),
    ("namespaces::one_that_is_in_the_way_of_routes_leaves_nothing", blocks_the_default_route),
];

fn other_files(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let (pipe, _other_end) = std::io::pipe()?;
    let path = container.netns_path();
    let path_only = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let cases: [(OwnedFd, &str); 6] = [
        (File::open("/etc/passwd")?.into(), "not a network namespace"),
        (File::open("/proc/self")?.into(), "not a network namespace"),
        (pipe.into(), "not a network namespace"),
        (File::open(format!("/proc/{}/ns/pid", container.pid()))?.into(), "PID namespace"),
        (File::open(format!("/proc/{}/ns/user", container.pid()))?.into(), "user namespace"),
        (path_only, "O_PATH"),
    ];
    for (file, words) in &cases {
        for user in [ALICE, ROOT] {
            let message = message("web", &["rootful0"], &["8080:80"]);
            let attempt = || user.attach(file.as_fd(), &message);
            ensure_refused("NamespaceRefused", &[words], attempt)?;
            let attempt = || user.detach_namespace(file.as_fd());
            ensure_refused("NamespaceRefused", &[words], attempt)?;
        }
    }
    ensure_nothing_is_left()
}

fn host_is_refused(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let host = File::open("/proc/thread-self/ns/net")?;
    for user in [ALICE, ROOT] {
        let attempt = || user.attach(host.as_fd(), &message("web", &["rootful0"], &[]));
        ensure_refused("NamespaceRefused", &["host's own", "--network=none"], attempt)?;
    }
    Ok(())
}

fn roots_is_refused(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let namespace = NetworkNamespace::new()?;
    let message = message("web", &["rootful0"], &[]);
    let attempt = || ALICE.attach(namespace.fd()?.as_fd(), &message);
    ensure_refused("NamespaceRefused", &["root"], attempt)?;
    ensure!(matches!(ROOT.attach(namespace.fd()?.as_fd(), &message)?, Ok((_, true))));
    Ok(())
}

fn other_users(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(BOB)?;
    let message = message("web", &["rootful0"], &[]);
    let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message);
    ensure_refused("NamespaceRefused", &["uid 10002", "uid 10001"], attempt)?;
    ensure!(matches!(BOB.attach(fd(&container)?.as_fd(), &message)?, Ok((_, true))));
    Ok(())
}

fn nested(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = Container::nested_of(ALICE.uid())?;
    let message = message("web", &["rootful0"], &[]);
    let attempt = || BOB.attach(fd(&container)?.as_fd(), &message);
    ensure_refused("NamespaceRefused", &["uid 10001"], attempt)?;
    ensure!(matches!(ALICE.attach(fd(&container)?.as_fd(), &message)?, Ok((_, true))));
    Ok(())
}

fn with_interface(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    container.run(|| run("ip link add tap0 type veth peer name tap1"))?;
    let attempt = || ALICE.attach(fd(&container)?.as_fd(), &message("web", &["rootful0"], &[]));
    ensure_refused("Conflict", &["tap", "--network=none"], attempt)?;
    ensure_nothing_is_left()
}

fn attached_under_one_name(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "")?;
    for replace in [false, true] {
        let mut other = message("other", &["rootful0"], &[]);
        other.replace = replace;
        let attempt = || ALICE.attach(fd(&container)?.as_fd(), &other);
        ensure_refused("Conflict", &["\"web\""], attempt)?;
    }
    Ok(())
}

fn taken_interface_name(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let message = message("web", &["rootful0:interface_name=lo"], &[]);
    let before = Footprint::look()?;
    let outcome = ALICE.attach(fd(&container)?.as_fd(), &message)?;
    let Err(refusal) = outcome else { anyhow::bail!("a second lo is made: {outcome:?}") };
    ensure!(["Conflict", "InvalidArgument"].contains(&refusal.name.as_str()), "{refusal:?}");
    ensure!(Footprint::look()? == before);
    Ok(())
}

fn without_processes(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let namespace = fd(&container)?;
    // Dies between being opened and being attached: the descriptor alone keeps it.
    container.kill()?;
    let message = message("web", &["rootful0"], &["8080:80"]);
    let outcome = ALICE.attach(namespace.as_fd(), &message)?;
    ensure!(matches!(outcome, Ok((_, true))), "{outcome:?}");
    drop(namespace);
    ensure_nothing_is_left()?;
    eventually(DEADLINE, || {
        ensure!(ALICE.detach("web", &DetachOptions::default())? == Ok(false));
        Ok(())
    })
}

fn blocks_the_default_route(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    // The bridge and the veth pair are made by then; this fails inside.
    container.run(|| run("ip -6 route add blackhole default"))?;
    let message = message("web", &["rootful0"], &["8080:80"]);
    let before = Footprint::look()?;
    let outcome = ALICE.attach(fd(&container)?.as_fd(), &message)?;
    let Err(refusal) = outcome else { anyhow::bail!("it is attached: {outcome:?}") };
    ensure!(refusal.message.contains("default route"), "{refusal:?}");
    ensure!(Footprint::look()? == before, "{:#?}", Footprint::look()?);
    let inside = container.run(|| run("ip -brief link"))?;
    ensure!(!inside.contains("eth0"), "{inside}");
    Ok(())
}
