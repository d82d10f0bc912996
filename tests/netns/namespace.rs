//! What is taken for a container's network namespace, whose it is, and what happens inside.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, ensure};
use rootful_net_core::ownership::{Owner, Ownership, may_attach};
use rootful_net_kernel::{Namespace, NamespaceError};
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::namespace::NetworkNamespace;
use rootful_net_tests::sandbox::Sandbox;
use rustix::fs::{Mode, OFlags};

const ALICE: u32 = 1000;
const BOB: u32 = 1001;

pub(crate) const TESTS: &[Test] = &[
    ("namespace::what_is_no_network_namespace_is_refused_by_what_it_is", refused_by_what_it_is),
    ("namespace::path_only_descriptor_is_refused", path_only_descriptor),
    ("namespace::hosts_own_namespace_is_refused_for_everybody", hosts_own_namespace),
    ("namespace::user_attaches_own_container_and_not_anothers", own_and_anothers),
    ("namespace::nested_user_namespace_belongs_to_the_outermost_user", nested_user_namespace),
    ("namespace::namespace_of_root_is_for_root", namespace_of_root),
    ("namespace::mounted_namespace_is_the_same_one", mounted_namespace),
    ("namespace::work_inside_leaves_the_caller_outside", work_inside),
];

fn open(path: impl AsRef<std::path::Path>) -> anyhow::Result<OwnedFd> {
    let path = path.as_ref();
    Ok(File::open(path).with_context(|| path.display().to_string())?.into())
}

fn verify(container: &Container) -> anyhow::Result<Namespace> {
    Ok(Namespace::verify(open(container.netns_path())?)?)
}

fn refused_by_what_it_is(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    let file = |name: &str| open(format!("/proc/{}/ns/{name}", container.pid()));
    let cases = [
        (open("/etc/passwd")?, "is not a network namespace"),
        (open("/proc/self/status")?, "is not a network namespace"),
        (open("/dev/null")?, "is not a network namespace"),
        (std::io::pipe()?.0.into(), "is not a network namespace"),
        (file("pid")?, "is a PID namespace"),
        (file("user")?, "is a user namespace"),
        (file("mnt")?, "is a mount namespace"),
        (file("uts")?, "is a UTS namespace"),
    ];
    for (fd, expected) in cases {
        let error = Namespace::verify(fd).err().context("taken for a network namespace")?;
        ensure!(error.to_string().contains(expected), "{error}, not: {expected}");
    }
    Ok(())
}

fn path_only_descriptor(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = rustix::fs::open(container.netns_path(), flags, Mode::empty())?;
    let outcome = Namespace::verify(fd);
    ensure!(matches!(outcome, Err(NamespaceError::PathOnly)), "{outcome:?}");
    Ok(())
}

fn hosts_own_namespace(_: &Sandbox) -> anyhow::Result<()> {
    let namespace = Namespace::verify(open("/proc/thread-self/ns/net")?)?;
    ensure!(namespace.ownership() == Ownership::Host, "{namespace:?}");
    for caller in [0, ALICE] {
        let refused = may_attach(caller, namespace.ownership()).err().context("attached")?;
        ensure!(refused.to_string().contains("host's own"), "{refused}");
    }
    Ok(())
}

fn own_and_anothers(_: &Sandbox) -> anyhow::Result<()> {
    let (alices, bobs) = (Container::of(ALICE)?, Container::of(BOB)?);
    let (alices, bobs) = (verify(&alices)?, verify(&bobs)?);
    ensure!(alices.id() != bobs.id(), "{alices:?} {bobs:?}");
    let owner =
        |caller, namespace: &Namespace| may_attach(caller, namespace.ownership()).map(Owner::uid);
    ensure!(owner(ALICE, &alices) == Ok(ALICE));
    ensure!(owner(BOB, &bobs) == Ok(BOB));
    ensure!(owner(0, &bobs) == Ok(BOB));
    let refused = owner(ALICE, &bobs).err().context("attached")?.to_string();
    ensure!(refused.contains("uid 1001"), "{refused}");
    Ok(())
}

fn nested_user_namespace(_: &Sandbox) -> anyhow::Result<()> {
    let namespace = verify(&Container::nested_of(ALICE)?)?;
    ensure!(namespace.ownership() == Ownership::User(ALICE), "{namespace:?}");
    Ok(())
}

fn namespace_of_root(_: &Sandbox) -> anyhow::Result<()> {
    let namespace = Namespace::verify(NetworkNamespace::new()?.fd()?)?;
    ensure!(namespace.ownership() == Ownership::InitialUserNamespace, "{namespace:?}");
    ensure!(may_attach(0, namespace.ownership()).map(Owner::uid) == Ok(0));
    ensure!(may_attach(ALICE, namespace.ownership()).is_err());
    // Root's rootless containers are in a user namespace all the same.
    let namespace = verify(&Container::of(0)?)?;
    ensure!(namespace.ownership() == Ownership::User(0), "{namespace:?}");
    Ok(())
}

fn mounted_namespace(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    let mount_point = tempfile::NamedTempFile::new()?;
    rustix::mount::mount_bind(container.netns_path(), mount_point.path())?;
    let (direct, mounted) = (verify(&container)?, Namespace::verify(open(mount_point.path())?)?);
    rustix::mount::unmount(mount_point.path(), rustix::mount::UnmountFlags::DETACH)?;
    ensure!(direct.id() == mounted.id(), "{direct:?} {mounted:?}");
    ensure!(mounted.ownership() == Ownership::User(ALICE), "{mounted:?}");
    Ok(())
}

fn work_inside(_: &Sandbox) -> anyhow::Result<()> {
    let here = || std::fs::read_link("/proc/thread-self/ns/net");
    let container = Container::of(ALICE)?;
    let namespace = verify(&container)?;
    let before = here()?;
    let inside = namespace.run(here)??;
    ensure!(inside == std::fs::read_link(container.netns_path())?, "{}", inside.display());
    ensure!(before == here()? && before != inside, "{}", before.display());
    // Also when the work panics.
    let panicking =
        std::panic::AssertUnwindSafe(|| namespace.run(|| std::panic::resume_unwind(Box::new(()))));
    ensure!(std::panic::catch_unwind(panicking).is_err() && before == here()?);
    Ok(())
}
