//! How the service ends and what the next one finds: every request is answered, and what is attached is adopted
//! without a change that anybody could see.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use rootful_net_dbus::{AttachMessage, DetachOptions, Error as WireError, ManagerProxy};
use rootful_net_kernel::Kernel;
use rootful_net_tests::Test;
use rootful_net_tests::bus::Monitor;
use rootful_net_tests::changes::Changes;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::steady::Steady;
use rootful_net_tests::user::{User, message};
use rustix::process::Signal;
use zbus::{Connection, Fd, fdo};

use crate::daemon::{
    ALICE, BOB, Conversation, DEADLINE, MALLORY, System, Web, container_of, ensure_nothing_is_left,
    ensure_seen,
};

pub(crate) const TESTS: &[Test] = &[
    ("stopping::requests_that_wait_are_answered", requests_that_wait),
    ("stopping::requests_under_way_are_answered", requests_under_way),
    ("stopping::requests_that_go_on_coming_are_answered", requests_that_go_on),
    ("stopping::restart_changes_nothing", |sandbox| adopted(sandbox, System::restart)),
    ("stopping::restart_after_a_kill_changes_nothing", |sandbox| adopted(sandbox, System::crash)),
    ("stopping::upgrade_changes_nothing", |sandbox| adopted(sandbox, System::upgrade)),
    ("stopping::ports_are_taken_again_from_whoever_lets_them_go", ports_are_taken_again),
];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// It was done.
    Done,
    /// The service said that it is stopping.
    Stopping,
    /// The bus said that there is no service.
    NoService,
}

impl Answer {
    /// Anything else is no answer that somebody who asks could do something with.
    fn of<T>(outcome: rootful_net_dbus::Result<T>) -> Result<Self> {
        match outcome {
            Ok(_) => Ok(Self::Done),
            Err(WireError::Unavailable(reason)) if reason == "the service is stopping" => {
                Ok(Self::Stopping)
            }
            Err(WireError::ZBus(zbus::Error::FDO(error)))
                if matches!(*error, fdo::Error::ServiceUnknown(_)) =>
            {
                Ok(Self::NoService)
            }
            Err(error) => Err(error).context("a request is lost"),
        }
    }
}

/// How many containers of each user are attached before, and how many others are asked for.
const COUNT: usize = 6;
const USERS: [User; 2] = [ALICE, BOB];

/// The containers of one user, half of them attached.
struct Party {
    user: User,
    containers: Vec<Container>,
    port: u16,
}

impl Party {
    fn gather() -> Result<Vec<Self>> {
        USERS
            .into_iter()
            .zip([8000, 9000])
            .map(|(user, port)| {
                let containers: Result<Vec<_>> =
                    (0..2 * COUNT).map(|_| container_of(user)).collect();
                let party = Self { user, containers: containers?, port };
                user.on_bus(async |bus| {
                    for number in 0..COUNT {
                        party.attach(&bus, number).await?;
                    }
                    Ok(())
                })?;
                Ok(party)
            })
            .collect()
    }

    fn name(number: usize) -> String {
        format!("web{number}")
    }

    fn request(&self, number: usize) -> Result<(OwnedFd, AttachMessage)> {
        let port = usize::from(self.port) + number;
        let request = message(&Self::name(number), &["rootful0"], &[&format!("{port}:80")]);
        Ok((self.containers[number].namespace().fd()?, request))
    }

    async fn attach(&self, bus: &Connection, number: usize) -> Result<Answer> {
        let (namespace, message) = self.request(number)?;
        let manager = ManagerProxy::new(bus).await?;
        let AttachMessage { name, networks, publish, .. } = &message;
        let (namespace, options) = (Fd::from(namespace.as_fd()), message.options());
        let attach = manager.attach(namespace, name, networks, publish, &options);
        Answer::of(attach.await).with_context(|| format!("attach {name}"))
    }

    async fn detach(&self, bus: &Connection, number: usize) -> Result<Answer> {
        let manager = ManagerProxy::new(bus).await?;
        let name = Self::name(number);
        let detach = manager.detach(&name, &DetachOptions::default().to_dictionary()).await;
        Answer::of(detach).with_context(|| format!("detach {name}"))
    }

    async fn check(&self, bus: &Connection) -> Result<Answer> {
        let manager = ManagerProxy::new(bus).await?;
        let networks = ["rootful0".to_owned()];
        let check = manager.check_policy(&networks, &[], &[].into()).await;
        Answer::of(check).context("check the policy")
    }

    /// Asks at the same time to detach what is attached, to attach what is not, and what the policy says; `answered`
    /// counts the answers. Says which names are attached by what was answered.
    fn ask_all(&self, answered: &AtomicUsize) -> Result<(BTreeSet<String>, Vec<Answer>)> {
        self.user.on_bus(async |bus| {
            let change = async |number: usize| {
                let answer = match number < COUNT {
                    true => self.detach(&bus, number).await?,
                    false => self.attach(&bus, number).await?,
                };
                answered.fetch_add(1, Ordering::Relaxed);
                let is_attached = (number < COUNT) != (answer == Answer::Done);
                Ok((is_attached.then(|| Self::name(number)), answer))
            };
            let outcomes = join_all((0..2 * COUNT).map(change)).await;
            let outcomes: Result<Vec<_>> = outcomes.into_iter().collect();
            let (attached, answers): (Vec<_>, Vec<_>) = outcomes?.into_iter().unzip();
            Ok((attached.into_iter().flatten().collect(), answers))
        })
    }

    /// Asks what the policy says over and over, on a connection of its own, until there is no service any more.
    fn ask_until_the_end(&self, answered: &AtomicUsize) -> Result<Vec<Answer>> {
        self.user.on_bus(async |bus| {
            let mut answers = Vec::new();
            loop {
                let answer = self.check(&bus).await?;
                answers.push(answer);
                answered.fetch_add(1, Ordering::Relaxed);
                if answer == Answer::NoService {
                    return Ok(answers);
                }
            }
        })
    }
}

/// The names that are attached, by owner, as the records and the bus say.
fn attached() -> Result<BTreeMap<u32, BTreeSet<String>>> {
    let shown =
        ALICE.on_bus(async |bus| Ok(rootful_net_dbus::objects::attachments(&bus).await?))?;
    let mut attached = BTreeMap::<_, BTreeSet<_>>::new();
    for (_, attachment) in &shown {
        attached.entry(attachment.owner).or_default().insert(attachment.name.clone());
    }
    let footprint = Footprint::look()?;
    let links = footprint.links.keys().filter(|name| name.starts_with("rn")).count();
    ensure!(footprint.records.len() == shown.len() && links == shown.len(), "{footprint:#?}");
    Ok(attached)
}

/// When the service is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    /// While all requests wait.
    Waiting,
    /// While they are served, after so many answers.
    Serving(usize),
}

/// Has both users ask at the same time and the service stop meanwhile: every request must be answered, and what is
/// attached afterwards be what the answers say.
fn stop_while_asked(sandbox: &Sandbox, occasion: Occasion) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let parties = Party::gather()?;
    let answered = AtomicUsize::new(0);
    let monitor = Monitor::start()?;
    system.daemon()?.signal(Signal::STOP)?;
    let answers = std::thread::scope(|scope| -> Result<_> {
        let answered = &answered;
        let ask = |party| scope.spawn(move || Party::ask_all(party, answered));
        let asking: Vec<_> = parties.iter().map(|party| (party.user, ask(party))).collect();
        for _ in 0..2 * COUNT * parties.len() {
            monitor.wait_for("interface=io.rootful_net1.Manager")?;
        }
        if occasion == Occasion::Waiting {
            system.daemon()?.signal(Signal::TERM)?;
        }
        system.daemon()?.signal(Signal::CONT)?;
        match occasion {
            Occasion::Waiting => system.end(Daemon::wait)?,
            Occasion::Serving(number) => {
                wait_for_answers(answered, number)?;
                system.end(Daemon::stop)?;
            }
        }
        let mut answers = Vec::new();
        for (user, asking) in asking {
            answers.push((user.uid(), asking.join().expect("who asks does not panic")?));
        }
        Ok(answers)
    })?;
    system.start_again()?;
    let mut wanted = BTreeMap::new();
    for (uid, (names, answers)) in answers {
        ensure!(!answers.contains(&Answer::NoService), "{uid}: {answers:?}");
        println!("{uid}: {answers:?}");
        if !names.is_empty() {
            wanted.insert(uid, names);
        }
    }
    // Links of what was detached may still be on their way out.
    eventually(DEADLINE, || {
        let found = attached()?;
        ensure!(found == wanted, "{found:?} is attached, not {wanted:?}");
        Ok(())
    })
}

fn wait_for_answers(answered: &AtomicUsize, number: usize) -> Result<()> {
    eventually(DEADLINE, || {
        let answers = answered.load(Ordering::Relaxed);
        ensure!(answers >= number, "there are {answers} answers");
        Ok(())
    })
}

fn requests_that_wait(sandbox: &Sandbox) -> Result<()> {
    stop_while_asked(sandbox, Occasion::Waiting)
}

fn requests_under_way(sandbox: &Sandbox) -> Result<()> {
    stop_while_asked(sandbox, Occasion::Serving(3))
}

fn requests_that_go_on(sandbox: &Sandbox) -> Result<()> {
    const STOPS: usize = 5;
    let mut system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80")?;
    let before = attached()?;
    for _ in 0..STOPS {
        let answered = AtomicUsize::new(0);
        let ask = |user: User| {
            let party = Party { user, containers: Vec::new(), port: 0 };
            party.ask_until_the_end(&answered)
        };
        std::thread::scope(|scope| -> Result<()> {
            let asking = [ALICE, ALICE, BOB, BOB].map(|user| scope.spawn(move || ask(user)));
            wait_for_answers(&answered, 20)?;
            system.end(Daemon::stop)?;
            for asking in asking {
                let answers = asking.join().expect("who asks does not panic")?;
                ensure!(answers.is_sorted(), "{answers:?}");
            }
            Ok(())
        })?;
        system.start_again()?;
        ensure!(attached()? == before);
    }
    Ok(())
}

/// How the service comes to be another process.
impl System {
    fn restart(&mut self, meanwhile: &dyn Fn() -> Result<()>) -> Result<()> {
        self.end(Daemon::stop)?;
        meanwhile()?;
        self.start_again()
    }

    fn crash(&mut self, meanwhile: &dyn Fn() -> Result<()>) -> Result<()> {
        self.end(Daemon::kill)?;
        meanwhile()?;
        self.start_again()
    }

    /// The program is replaced while it runs, as an installation does it, and then started again.
    fn upgrade(&mut self, meanwhile: &dyn Fn() -> Result<()>) -> Result<()> {
        const PATH: &str = "/run/bin/rootful-netd";
        // What the test was built with stays as it is.
        run("mkdir /run/upgraded")?;
        run("cp /run/bin/rootful-netd /run/bin/rootful-net /run/upgraded")?;
        run("mount --bind /run/upgraded /run/bin")?;
        self.crash(&|| Ok(()))?;
        run(&format!("cp {PATH} {PATH}.new"))?;
        run(&format!("mv {PATH}.new {PATH}"))?;
        let program = format!("/proc/{}/exe", self.daemon()?.pid());
        let program = std::fs::read_link(program)?;
        ensure!(program.to_string_lossy().ends_with(" (deleted)"), "{}", program.display());
        self.restart(meanwhile)
    }
}

/// What can be seen of the host: everything in the tables with its handles, links, addresses, stations.
fn seen_of_the_host() -> Result<Vec<String>> {
    let commands = [
        "nft --handle list ruleset",
        "ip address",
        "bridge -details link",
        "bridge fdb",
        "ip route",
        "ip -6 route",
    ];
    let mut lines = Vec::new();
    for command in commands {
        lines.extend(run(command)?.lines().map(str::to_owned));
    }
    Ok(lines)
}

/// Fails unless `restart` changes nothing of the host, and nothing is lost of the traffic of a container.
fn adopted(
    sandbox: &Sandbox,
    restart: fn(&mut System, &dyn Fn() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp -p 7000:7000")?;
    let _other = Web::set_up(BOB, "other", "-p 8081:80")?;
    let mut conversation = Conversation::begin(&system, &web.container, "192.0.2.1:7000")?;
    let steady = Steady::begin(system.lan.client(), "192.0.2.1:8080".parse()?)?;
    let (before, footprint) = (seen_of_the_host()?, Footprint::look()?);
    let changes = Changes::watch()?;
    let mut kernel = Kernel::open()?;
    let generation = kernel.ruleset_generation()?;
    restart(&mut system, &|| steady.go_on(50))?;
    steady.go_on(50)?;
    conversation.go_on()?;
    // Behind it, everything that the service does at start is done.
    let attached = ALICE.succeed(&["ps"])?;
    ensure!(attached.contains("web"), "{attached}");
    ensure!(kernel.ruleset_generation()? == generation, "the ruleset was changed");
    changes.ensure_none()?;
    let questions = steady.end()?;
    println!("{questions} questions were answered");
    let after = seen_of_the_host()?;
    let different: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
    ensure!(different.is_empty() && before.len() == after.len(), "{different:#?}");
    ensure!(Footprint::look()? == footprint, "{:#?}", Footprint::look()?);
    // The sockets that reserve ports end with the process; nothing else was missing.
    let log = Daemon::log()?;
    let mut repairs = log.lines().filter(|line| line.contains("repaired"));
    ensure!(repairs.all(|line| line.contains("step=\"reserve ")), "{log}");
    Ok(())
}

/// Binds port 8080 as a program of mallory's does.
fn program() -> Result<TcpListener> {
    MALLORY.on_thread(|| Ok(TcpListener::bind("0.0.0.0:8080")?))
}

fn ports_are_taken_again(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let mut grabbed = 0;
    for end in [Daemon::stop, Daemon::kill, Daemon::stop, Daemon::kill] {
        ensure!(program().is_err(), "the port is not reserved");
        let said = Daemon::log()?.len();
        let is_over = AtomicBool::new(false);
        let grabbing = std::thread::scope(|scope| -> Result<_> {
            let grab = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    if let Ok(program) = program() {
                        return Some(program);
                    }
                }
                None
            });
            let restarted = system.end(end).and_then(|()| system.start_again());
            is_over.store(true, Ordering::Relaxed);
            let program = grab.join().expect("to bind does not panic");
            restarted.map(|()| program)
        })?;
        // Whoever has the port: what is published there is served by the container.
        system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
        if let Some(grabber) = grabbing {
            grabbed += 1;
            let uid = MALLORY.uid();
            let told = format!("port 8080/tcp is in use by a program of the host, of user {uid}");
            eventually(DEADLINE, || {
                let log = Daemon::log()?;
                ensure!(log[said..].contains(&told), "{log}");
                Ok(())
            })?;
            drop(grabber);
            // Nobody tells of a port that is free again.
            eventually(DEADLINE, || {
                ensure!(program().is_err(), "the port is not reserved again");
                Ok(())
            })?;
        }
    }
    println!("in {grabbed} of 4 restarts the program had the port");
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()
}
