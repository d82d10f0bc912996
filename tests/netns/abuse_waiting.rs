//! Calls that wait for a daemon that does not get to them: how many of one user it keeps, and what others can do to
//! them. The daemon is stopped while they are sent, so that all of them are there before the first is read.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use rootful_net_dbus::name::{BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH};
use rootful_net_dbus::{Dictionary, ManagerProxy};
use rootful_net_tests::Test;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::User;
use rustix::process::Signal;
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream};

use crate::daemon::{ALICE, DEADLINE, MALLORY, System, container_of};

pub(crate) const TESTS: &[Test] = &[
    ("abuse::pending_calls_are_bounded", |sandbox| pending_calls(sandbox, false)),
    ("abuse::pending_calls_of_a_known_connection_are_bounded", |sandbox| {
        pending_calls(sandbox, true)
    }),
    ("abuse::signals_of_strangers_are_not_heard", signals_of_strangers),
];

/// How many calls of one user wait at most, see gate/turns.rs.
const MAX_WAITING: usize = 64;

/// Calls that the bus has taken, and that were not answered yet.
struct Pending {
    messages: MessageStream,
    serials: BTreeSet<NonZeroU32>,
}

impl Pending {
    /// Sends calls that change nothing. When it returns, the bus has passed them on, whether they are read or not.
    async fn send(connection: &Connection, count: usize) -> Result<Self> {
        let messages = MessageStream::from(connection);
        let mut serials = BTreeSet::new();
        for _ in 0..count {
            let call = Message::method_call(MANAGER_PATH, "Detach")
                .destination(BUS_NAME)
                .interface(MANAGER_INTERFACE)
                .build(&("nothing", Dictionary::new()))?;
            serials.insert(call.primary_header().serial_num());
            connection.send(&call).await?;
        }
        ensure_passed_on(connection).await?;
        ensure!(serials.len() == count, "{} of {count} calls are distinct", serials.len());
        Ok(Self { messages, serials })
    }

    /// Waits until each is answered, and says how many of them with this error; the others must not be errors.
    async fn refused(mut self, expected: &str) -> Result<usize> {
        let expected = format!("io.rootful_net1.Error.{expected}");
        let end = Instant::now() + DEADLINE;
        let mut refused = 0;
        while !self.serials.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let message = tokio::time::timeout(left, self.messages.next()).await;
            let unanswered = self.serials.len();
            let message =
                message.with_context(|| format!("{unanswered} calls are not answered"))?;
            let message = message.context("the bus is gone")??;
            let header = message.header();
            let Some(serial) = header.reply_serial() else { continue };
            if self.serials.remove(&serial) && message.message_type() == Type::Error {
                let name = header.error_name().context("no name")?;
                ensure!(name.as_str() == expected, "{name}: {message}");
                refused += 1;
            }
        }
        Ok(refused)
    }
}

/// Fails unless the bus has handled what this connection sent until now: it does that in order.
async fn ensure_passed_on(connection: &Connection) -> Result<()> {
    DBusProxy::new(connection).await?.get_id().await?;
    Ok(())
}

/// What root does meanwhile, for a thread that has no right to.
type Order = Box<dyn FnOnce(&System) -> Result<()> + Send>;

/// Stops the daemon and has it go on, at the word of somebody who may not.
struct Freezer {
    orders: Sender<Order>,
    done: Receiver<Result<()>>,
}

impl Freezer {
    /// Does `work` on a thread of its own, with a freezer of the system's daemon.
    fn beside<T: Send>(system: &System, work: impl FnOnce(Self) -> Result<T> + Send) -> Result<T> {
        let (orders, ordered) = channel::<Order>();
        let (tell, done) = channel();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| work(Self { orders, done }));
            // Until the freezer is dropped.
            for order in ordered {
                let _ = tell.send(order(system));
            }
            match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Stops the daemon's process; when it returns, none of its threads runs.
    fn freeze(&self) -> Result<()> {
        self.order(|system| {
            let daemon = system.daemon()?;
            daemon.signal(Signal::STOP)?;
            eventually(DEADLINE, || {
                for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
                    let status = fs::read_to_string(thread?.path().join("status"))?;
                    ensure!(status.contains("\nState:\tT"), "it runs: {status}");
                }
                Ok(())
            })
        })
    }

    fn thaw(&self) -> Result<()> {
        self.order(|system| system.daemon()?.signal(Signal::CONT))
    }

    fn order(&self, order: impl FnOnce(&System) -> Result<()> + Send + 'static) -> Result<()> {
        self.orders.send(Box::new(order)).ok().context("nobody takes orders")?;
        self.done.recv()?
    }
}

/// Fails unless a user is served.
fn ensure_served(user: User) -> Result<()> {
    let container = container_of(user)?;
    user.set_up(&container, "well", "-p 9999:80")?;
    user.tear_down("well")
}

fn pending_calls(sandbox: &Sandbox, is_known: bool) -> Result<()> {
    // The bus itself has 128 of a connection wait.
    const CONNECTIONS: usize = 4;
    const CALLS: usize = 100;
    const MOST: usize = CONNECTIONS * CALLS - MAX_WAITING;
    // Some are served while others are read; few where the bus has yet to say whose they are.
    let least = if is_known { 100 } else { MOST - 100 };
    let system = System::start(sandbox)?;
    let refused = Freezer::beside(&system, |freezer| {
        MALLORY.on_bus(async move |_| {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                let uid = Some(MALLORY.uid());
                connections.push(rootful_net_dbus::connect(uid, DEADLINE).await?);
            }
            if is_known {
                for connection in &connections {
                    ManagerProxy::new(connection).await?.detach("no", &Dictionary::new()).await?;
                }
            }
            freezer.freeze()?;
            let mut pending = Vec::new();
            for connection in &connections {
                pending.push(Pending::send(connection, CALLS).await?);
            }
            freezer.thaw()?;
            let refused = pending.into_iter().map(|pending| pending.refused("Unavailable"));
            let refused = join_all(refused).await.into_iter().collect::<Result<Vec<_>>>()?;
            Ok(refused.into_iter().sum::<usize>())
        })
    })?;
    println!("of {} calls at once {refused} are told to wait", CONNECTIONS * CALLS);
    ensure!((least..=MOST).contains(&refused), "{refused} calls are refused");
    ensure_served(ALICE)
}

/// As if the bus said that alice is gone, while calls of hers wait until the bus says who she is.
fn signals_of_strangers(sandbox: &Sandbox) -> Result<()> {
    const CALLS: usize = 32;
    let system = System::start(sandbox)?;
    Freezer::beside(&system, |freezer| {
        ALICE.on_bus(async move |connection| {
            let name = connection.unique_name().context("no name")?.to_string();
            for occasion in ["before anybody knows whose they are", "of a known connection"] {
                freezer.freeze()?;
                let pending = Pending::send(&connection, CALLS).await?;
                let lost = name.clone();
                freezer.order(move |_| forge_loss(&lost))?;
                freezer.thaw()?;
                let refused = pending.refused("Unavailable").await.context(occasion)?;
                ensure!(refused == 0, "{refused} of alice's calls are refused, {occasion}");
            }
            Ok(())
        })
    })?;
    ensure_served(ALICE)
}

/// Has mallory say over and over that somebody has left the bus; returns when that is passed on.
fn forge_loss(name: &str) -> Result<()> {
    MALLORY.on_bus(async |connection| {
        for _ in 0..100 {
            let bus = "org.freedesktop.DBus";
            let signal = Message::signal("/org/freedesktop/DBus", bus, "NameOwnerChanged");
            let signal = signal.destination(BUS_NAME).build(&(name, name, ""))?;
            connection.send(&signal).await?;
        }
        ensure_passed_on(&connection).await
    })
}
