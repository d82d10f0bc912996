//! Many users at once, each container on a connection of its own: nobody is refused, and nobody gets what is somebody
//! else's.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd as _;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rootful_net_dbus::{AttachmentProperties, DetachOptions, ManagerProxy, objects};
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::Installation;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::{Refusal, User, message};

use crate::daemon::{
    ALICE, BOB, DEADLINE, ROOT, System, Web, addresses, container_of, ensure_nothing_is_left,
    ensure_seen,
};

pub(crate) const TESTS: &[Test] = &[
    ("concurrency::fifty_containers_of_five_users_attach_at_once", fifty_at_once),
    ("concurrency::of_two_users_for_one_port_one_gets_it", two_for_one_port),
    ("concurrency::attach_detach_and_death_of_one_name", one_name),
];

const USERS: [User; 5] =
    [User::new(10_011), User::new(10_012), User::new(10_013), User::new(10_014), User::new(10_015)];
const CONTAINERS: usize = 50;
const ROUNDS: usize = 20;

/// With five more users, all members of the group.
fn add_users(_: &Installation) -> Result<()> {
    let mut users = fs::read_to_string("/etc/passwd")?;
    for user in USERS {
        let uid = user.uid();
        users.push_str(&format!("user{uid}:x:{uid}:{uid}::/nonexistent:/bin/sh\n"));
    }
    fs::write("/etc/passwd", users)?;
    let names = USERS.map(|user| format!(",user{}", user.uid())).concat();
    let groups = fs::read_to_string("/etc/group")?;
    Ok(fs::write("/etc/group", groups.replace("alice,bob", &format!("alice,bob{names}")))?)
}

/// Something that is to be done at the same time as others.
type Work<'a, T> = Box<dyn FnOnce() -> Result<T> + Send + 'a>;

/// Does the pieces of work at the same time, each on a thread of its own; answers with what came of each.
fn at_once<'a, T: Send + 'a>(work: impl IntoIterator<Item = Work<'a, T>>) -> Vec<Result<T>> {
    let work: Vec<_> = work.into_iter().collect();
    let start = &Barrier::new(work.len());
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for work in work {
            threads.push(scope.spawn(move || {
                start.wait();
                work()
            }));
        }
        threads.into_iter().map(|thread| thread.join().expect("nobody panics")).collect()
    })
}

fn attach(
    user: User,
    container: &Container,
    name: &str,
    publish: &str,
) -> Result<Result<(), Refusal>> {
    let namespace = container.namespace().fd()?;
    let answer = user.attach(namespace.as_fd(), &message(name, &["rootful0"], &[publish]))?;
    Ok(answer.map(|_| ()))
}

/// Detaches everything of the user's; answers with how much that is.
fn detach_all(user: User) -> Result<usize> {
    user.on_bus(async |bus| {
        let manager = ManagerProxy::new(&bus).await?;
        Ok(manager.detach_all(&DetachOptions::default().to_dictionary()).await?.len())
    })
}

fn all_attached() -> Result<Vec<AttachmentProperties>> {
    let shown = ROOT.on_bus(async |bus| Ok(objects::attachments(&bus).await?))?;
    Ok(shown.into_iter().map(|(_, attachment)| attachment).collect())
}

/// Fails if two of these are the same; `what` they are.
fn ensure_different<T: Ord + std::fmt::Debug>(what: &str, all: Vec<T>) -> Result<usize> {
    let count = all.len();
    let different: BTreeSet<_> = all.into_iter().collect();
    ensure!(different.len() == count, "{count} {what}s, of which differ {different:?}");
    Ok(count)
}

fn fifty_at_once(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start_with(sandbox, add_users)?;
    let owner = |number: usize| USERS[number % USERS.len()];
    let containers: Vec<_> =
        (0..CONTAINERS).map(|number| container_of(owner(number))).collect::<Result<_>>()?;
    let mut first = None;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let started = Instant::now();
        let work = containers.iter().enumerate().map(|(number, container)| {
            // Names are the same from user to user; ports are chosen for whoever asks.
            let name = format!("web{}", number / USERS.len());
            let attach = move || attach(owner(number), container, &name, ":80");
            Box::new(attach) as Work<'_, Result<(), Refusal>>
        });
        for outcome in at_once(work) {
            let outcome: Result<(), Refusal> = outcome?;
            ensure!(outcome.is_ok(), "round {round}: {outcome:?}");
        }
        took.push(started.elapsed());
        let attached = all_attached()?;
        let interfaces = || attached.iter().flat_map(|attachment| &attachment.interfaces);
        let all = interfaces().flat_map(|interface| &interface.addresses).collect();
        ensure!(ensure_different("address", all)? == 2 * CONTAINERS);
        ensure_different("MAC address", interfaces().map(|interface| &interface.mac).collect())?;
        ensure_different("link", interfaces().map(|interface| &interface.host_link).collect())?;
        let names = interfaces().flat_map(|interface| &interface.names).collect();
        ensure_different("served name", names)?;
        let ports = attached.iter().flat_map(|attachment| &attachment.ports);
        let ports = ports.map(|port| (&port.protocol, port.host_port)).collect();
        ensure!(ensure_different("port", ports)? == CONTAINERS);
        let holders = attached.iter().map(|one| (one.owner, &one.name)).collect();
        ensure!(ensure_different("holder", holders)? == CONTAINERS);
        // Whoever comes first: everybody's address is the one from before.
        let of_each: BTreeSet<_> = attached
            .iter()
            .map(|one| Ok((one.owner, one.name.clone(), addresses(one)?)))
            .collect::<Result<_>>()?;
        ensure!(*first.get_or_insert_with(|| of_each.clone()) == of_each, "in round {round}");
        let work = USERS.iter().map(|user| Box::new(move || detach_all(*user)) as Work<'_, usize>);
        for detached in at_once(work) {
            ensure!(detached? == CONTAINERS / USERS.len());
        }
    }
    took.sort_unstable();
    println!("{CONTAINERS} at once: median {:?}, worst {:?}", took[ROUNDS / 2], took[ROUNDS - 1]);
    ensure_nothing_is_left()
}

fn two_for_one_port(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let users = [ALICE, BOB];
    let containers = [container_of(ALICE)?, container_of(BOB)?];
    let _servers = containers
        .iter()
        .map(|container| crate::daemon::serve(container, &[80]))
        .collect::<Result<Vec<_>>>()?;
    let mut won = [0; 2];
    for round in 0..ROUNDS {
        let work = [0, 1].map(|which: usize| {
            let (user, container) = (users[which], &containers[which]);
            let attach = move || attach(user, container, "web", "8080:80/tcp,udp");
            Box::new(attach) as Work<'_, Result<(), Refusal>>
        });
        let outcomes: Vec<_> = at_once(work).into_iter().collect::<Result<_>>()?;
        let winners: Vec<_> = (0..2).filter(|which| outcomes[*which].is_ok()).collect();
        let [winner] = winners[..] else { anyhow::bail!("round {round}: {outcomes:?}") };
        won[winner] += 1;
        let refusal = outcomes[1 - winner].as_ref().err().context("one is refused")?;
        ensure!(refusal.name == "Conflict" && refusal.message.contains("8080"), "{refusal:?}");
        let attached = all_attached()?;
        ensure!(attached.len() == 1 && attached[0].owner == users[winner].uid(), "{attached:#?}");
        system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
        users[winner].tear_down("web")?;
        ensure_nothing_is_left()?;
    }
    println!("alice and bob had the port {won:?} times");
    Ok(())
}

fn one_name(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    // Somebody whom all this does not concern.
    let web = Web::set_up(BOB, "web", "-p 8081:80")?;
    let before = Footprint::look()?;
    for round in 0..ROUNDS {
        let (dying, staying) = (container_of(ALICE)?, container_of(ALICE)?);
        ALICE.set_up(&dying, "web", "-p 8080:80")?;
        let attach_staying = || -> Result<()> {
            let namespace = staying.namespace().fd()?;
            let mut message = message("web", &["rootful0"], &["8080:80"]);
            message.replace = true;
            match ALICE.attach(namespace.as_fd(), &message)? {
                Ok(_) => Ok(()),
                Err(refusal) => anyhow::bail!("attach: {refusal:?}"),
            }
        };
        let detach = || -> Result<()> {
            let detached = ALICE.detach("web", &DetachOptions::default())?;
            detached.map(|_| ()).map_err(|refusal| anyhow::anyhow!("detach: {refusal:?}"))
        };
        let work: [Work<'_, ()>; 3] =
            [Box::new(move || dying.kill()), Box::new(attach_staying), Box::new(detach)];
        at_once(work).into_iter().collect::<Result<()>>()?;
        // Whichever came last: the name is the living container's, or nobody's.
        let settled = || -> Result<Option<AttachmentProperties>> {
            let attached = all_attached()?;
            let footprint = Footprint::look()?;
            let links = footprint.links.keys().filter(|link| link.starts_with("rn")).count();
            ensure!(attached.len() == links && footprint.records.len() == links, "{footprint:#?}");
            Ok(attached.into_iter().find(|attachment| attachment.owner == ALICE.uid()))
        };
        // The other's death is told only now, perhaps.
        let attached = eventually(DEADLINE, settled)?;
        if attached.is_some() {
            // What is there is in the container that lives.
            let shown = ALICE.set_up(&staying, "web", "-p 8080:80")?;
            ensure!(Some(&shown) == attached.as_ref(), "round {round}: {shown:#?}");
            ALICE.tear_down("web")?;
        }
        eventually(Duration::from_secs(10), || {
            let after = Footprint::look()?;
            ensure!(after.links == before.links && after.ruleset == before.ruleset, "{after:#?}");
            ensure!(after.records == before.records, "{after:#?}");
            Ok(())
        })?;
    }
    drop(web);
    ensure_nothing_is_left()
}
