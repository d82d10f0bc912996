//! The gate between the bus and the service: every message passes it before anything else looks at it. It
//! bounds what one user and all users can have in the service at a time, has users take turns, and knows
//! which uid each connection belongs to. What a call may do is not its business.

mod socket;
mod turns;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rootful_net_dbus::Error;
use tokio::sync::{Notify, watch};
use zbus::message::{Flags, Type};
use zbus::{Connection, DBusError, Message};

use crate::fair_queue::Line;
use crate::{authority, user_database};

pub(crate) use socket::connect;
use turns::{MAX_WAITING, Turn, Turns};

/// The longest message that is read: an attach with a thousand ports and all aliases has a third of it.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// The most file descriptors of a message: no method takes more.
const MAX_MESSAGE_FDS: usize = 1;
/// The most calls that wait, of all lines and of connections that are not identified yet.
const MAX_WAITING_IN_ALL: usize = 1024;

/// How long whoever has too many calls waiting is not told so: who asks again at once would keep the service busy with
/// refusing.
const REFUSED_AFTER: Duration = Duration::from_millis(100);
/// The most refusals that are held back so.
const MAX_HELD_BACK: usize = 1024;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    uid: u32,
    line: Line,
}

#[derive(Debug)]
enum Peer {
    /// The bus is being asked; these calls wait for its answer.
    Asked(Vec<Message>),
    Known(Identity),
}

#[derive(Debug, Default)]
struct State {
    /// By unique name, which the bus gives to no second connection.
    peers: HashMap<String, Peer>,
    unidentified: usize,
    /// How many refusals are held back.
    held_back: usize,
    turns: Turns,
    /// Replies to the service's own calls, and the bus's signals: nobody waits before them.
    passing: VecDeque<zbus::Result<Message>>,
}

impl State {
    fn waiting(&self) -> usize {
        self.turns.waiting() + self.unidentified
    }

    fn is_idle(&self) -> bool {
        self.turns.served() == 0 && self.waiting() == 0 && self.held_back == 0
    }

    fn enqueue(&mut self, line: Line, message: Message) -> Result<(), Refused> {
        self.turns.push(line, message).map_err(Refused::Waiting)
    }
}

/// A call that is turned away, and why.
#[derive(Debug)]
enum Refused {
    Waiting(Message),
    WaitingInAll(Message),
    Descriptors(Message),
    TooLong(Message),
    ReadOnly(Message),
}

/// The gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    state: Arc<Mutex<State>>,
    /// Told when there may be a message to hand on; the reader of the connection waits for it.
    changed: Arc<Notify>,
    /// Told when every call may be answered.
    idle: Arc<Notify>,
    connection: Arc<OnceLock<Connection>>,
    is_stopping: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// The uid behind a connection whose calls were let through.
    pub(crate) fn uid(&self, unique_name: &str) -> Option<u32> {
        match self.state().peers.get(unique_name) {
            Some(Peer::Known(identity)) => Some(identity.uid),
            Some(Peer::Asked(_)) | None => None,
        }
    }

    /// The line that the calls of a connection wait in.
    pub(crate) fn line(&self, unique_name: &str) -> Line {
        match self.state().peers.get(unique_name) {
            Some(Peer::Known(identity)) => identity.line,
            Some(Peer::Asked(_)) | None => Line::Nameless,
        }
    }

    /// Says that the service stops, see [`Self::stopping`].
    pub(crate) fn stop(&self) {
        self.is_stopping.send_replace(true);
        self.state().turns.hurry();
        self.tell();
    }

    /// Waits until the service stops: what a call waits for that somebody else has to do is not waited for any more.
    pub(crate) async fn stopping(&self) {
        // The sender lives as long as the gate.
        let _ = self.is_stopping.subscribe().wait_for(|is_stopping| *is_stopping).await;
    }

    /// Waits until every call that came is answered. One at a time can wait.
    pub(crate) async fn all_answered(&self) {
        while !self.state().is_idle() {
            self.idle.notified().await;
        }
    }

    /// Forgets a connection that the bus says is gone.
    pub(crate) fn forget(&self, unique_name: &str) {
        let mut state = self.state();
        if let Some(Peer::Asked(waiting)) = state.peers.remove(unique_name) {
            state.unidentified = state.unidentified.saturating_sub(waiting.len());
        }
        drop(state);
        self.tell();
        // An answer to somebody who is gone is sent as well, and gives the place back then.
    }

    /// Takes what came over the bus.
    async fn admit(&self, message: zbus::Result<Message>) {
        let message = match message {
            Ok(message) => message,
            error @ Err(_) => {
                self.state().passing.push_back(error);
                self.changed.notify_one();
                return;
            }
        };
        let refused = match message.message_type() {
            Type::MethodCall => self.admit_call(message),
            Type::Signal if !is_from_bus(&message) => return,
            Type::Signal | Type::MethodReturn | Type::Error => {
                self.state().passing.push_back(Ok(message));
                Ok(())
            }
        };
        match refused {
            Ok(()) => self.changed.notify_one(),
            Err(refused) => self.refuse(refused).await,
        }
    }

    fn admit_call(&self, message: Message) -> Result<(), Refused> {
        let expects_reply = !message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED);
        let header = message.header();
        let Some(sender) = header.sender().map(ToString::to_string) else {
            return Ok(());
        };
        let sets = header.interface().is_some_and(|name| name == "org.freedesktop.DBus.Properties")
            && header.member().is_some_and(|name| name == "Set");
        drop(header);
        // Its end could not be noticed: the answer is what gives the place back.
        if !expects_reply {
            return Ok(());
        }
        if message.data().fds().len() > MAX_MESSAGE_FDS {
            return Err(Refused::Descriptors(message));
        }
        if sets {
            return Err(Refused::ReadOnly(message));
        }
        let mut state = self.state();
        if state.waiting() >= MAX_WAITING_IN_ALL {
            return Err(Refused::WaitingInAll(message));
        }
        state.turns.forget_stale(Instant::now());
        match state.peers.get_mut(&sender) {
            Some(Peer::Known(identity)) => {
                let line = identity.line;
                state.enqueue(line, message)
            }
            Some(Peer::Asked(waiting)) if waiting.len() >= MAX_WAITING => {
                Err(Refused::Waiting(message))
            }
            Some(Peer::Asked(waiting)) => {
                waiting.push(message);
                state.unidentified += 1;
                Ok(())
            }
            None => {
                state.peers.insert(sender.clone(), Peer::Asked(vec![message]));
                state.unidentified += 1;
                tokio::spawn(self.clone().identify(sender));
                Ok(())
            }
        }
    }

    /// Finds out who a connection belongs to, and lets its calls wait in that user's line.
    async fn identify(self, sender: String) {
        let identity = match self.connection.get() {
            Some(connection) => authority::peer_uid(connection, &sender).await,
            None => Err(Error::starting()),
        };
        let identity = match identity {
            Ok(uid) if user_database::is_named(uid).await => {
                Ok(Identity { uid, line: Line::User(uid) })
            }
            Ok(uid) => Ok(Identity { uid, line: Line::Nameless }),
            Err(error) => Err(error),
        };
        let mut turned_away = Vec::new();
        let mut refused = Vec::new();
        {
            let mut state = self.state();
            let Some(Peer::Asked(waiting)) = state.peers.remove(&sender) else {
                return;
            };
            state.unidentified = state.unidentified.saturating_sub(waiting.len());
            match identity {
                Ok(identity) => {
                    state.peers.insert(sender, Peer::Known(identity));
                    for message in waiting {
                        refused.extend(state.enqueue(identity.line, message).err());
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    turned_away
                        .extend(waiting.into_iter().map(|message| (message, reason.clone())));
                }
            }
        }
        self.tell();
        for refused in refused {
            self.refuse(refused).await;
        }
        for (message, reason) in turned_away {
            self.answer(&message, Error::NotAuthorized(reason)).await;
        }
    }

    /// Waits for the next message that the service may have.
    async fn next(&self) -> zbus::Result<Message> {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state();
                if let Some(message) = state.passing.pop_front() {
                    return message;
                }
                match state.turns.next(Instant::now()) {
                    Turn::Now(message) => return Ok(message),
                    Turn::In(wait) => wait,
                    Turn::Nobody => Duration::MAX,
                }
            };
            // A time that nobody lives to see is no time to wait for.
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    /// Notices an answer, which gives the place of its call back.
    fn answered(&self, reply: &Message) {
        if !matches!(reply.message_type(), Type::MethodReturn | Type::Error) {
            return;
        }
        let header = reply.header();
        let (Some(destination), Some(serial)) = (header.destination(), header.reply_serial())
        else {
            return;
        };
        {
            let mut state = self.state();
            let is_refusal = reply.message_type() == Type::Error;
            let caller = destination.to_string();
            state.turns.answered(&caller, serial.get(), is_refusal, Instant::now());
        }
        self.tell();
    }

    async fn refuse(&self, refused: Refused) {
        match refused {
            Refused::Waiting(message) => {
                let reason = format!(
                    "{MAX_WAITING} calls of this user are waiting already; wait for their answers"
                );
                self.hold_back(&message, &Error::Unavailable(reason)).await;
            }
            Refused::WaitingInAll(message) => {
                let reason =
                    format!("{MAX_WAITING_IN_ALL} calls are waiting already; try again later");
                self.answer(&message, Error::Unavailable(reason)).await;
            }
            Refused::Descriptors(message) => {
                let count = message.data().fds().len();
                let reason = format!(
                    "the message has {count} file descriptors; accepted are up to {MAX_MESSAGE_FDS}"
                );
                self.answer(&message, Error::InvalidArgument(reason)).await;
            }
            Refused::TooLong(message) => {
                let reason = format!(
                    "the message is too long; accepted are up to {MAX_MESSAGE_BYTES} bytes"
                );
                self.answer(&message, Error::InvalidArgument(reason)).await;
            }
            Refused::ReadOnly(message) => {
                let reason = "the properties of this service are read-only".to_owned();
                self.answer(&message, zbus::fdo::Error::PropertyReadOnly(reason)).await;
            }
        }
    }

    /// Answers after a time, where that is not too much to remember.
    async fn hold_back(&self, message: &Message, error: &Error) {
        let reply = match error.create_reply(&message.header()) {
            Ok(reply) => reply,
            Err(error) => return tracing::debug!(%error, "cannot answer"),
        };
        let is_held_back = {
            let mut state = self.state();
            let has_room = state.held_back < MAX_HELD_BACK;
            state.held_back += usize::from(has_room);
            has_room
        };
        if !is_held_back {
            return self.send(&reply).await;
        }
        let gate = self.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(REFUSED_AFTER, gate.stopping()).await;
            gate.send(&reply).await;
            gate.state().held_back -= 1;
            gate.tell();
        });
    }

    async fn send(&self, reply: &Message) {
        if let Some(connection) = self.connection.get()
            && let Err(error) = connection.send(reply).await
        {
            tracing::debug!(%error, "cannot answer");
        }
    }

    async fn answer(&self, message: &Message, error: impl DBusError) {
        match error.create_reply(&message.header()) {
            Ok(reply) => self.send(&reply).await,
            Err(error) => tracing::debug!(%error, "cannot answer"),
        }
    }

    /// Has those look again who wait for something to be different.
    fn tell(&self) {
        self.changed.notify_one();
        self.idle.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_from_bus(message: &Message) -> bool {
    message.header().sender().is_some_and(|sender| sender.as_str() == "org.freedesktop.DBus")
}

#[cfg(test)]
mod tests {
    use rootful_net_dbus::name::{MANAGER_INTERFACE, MANAGER_PATH};
    use zbus::names::UniqueName;

    use super::*;

    const LINES: u32 = 8;

    fn name_of(number: u32) -> String {
        format!(":1.{number}")
    }

    fn call(sender: &str) -> Message {
        let sender = UniqueName::try_from(sender).expect("a name");
        let call = Message::method_call(MANAGER_PATH, "Detach");
        call.interface(MANAGER_INTERFACE).sender(sender).build(&()).expect("a call")
    }

    fn gone(sender: &str, name: &str) -> Message {
        let sender = UniqueName::try_from(sender).expect("a name");
        let bus = "org.freedesktop.DBus";
        let signal = Message::signal("/org/freedesktop/DBus", bus, "NameOwnerChanged");
        signal.sender(sender).build(&(name, name, "")).expect("a signal")
    }

    /// A gate that knows some connections, each of another user.
    fn gate() -> Gate {
        let gate = Gate::default();
        for uid in 1..=LINES {
            let identity = Identity { uid, line: Line::User(uid) };
            gate.state().peers.insert(name_of(uid), Peer::Known(identity));
        }
        gate
    }

    // On this thread alone: whom a connection belongs to is found out when a test waits, and no earlier.
    #[tokio::test]
    async fn a_connection_that_is_not_identified_holds_no_more_than_a_line() {
        let gate = Gate::default();
        for _ in 0..MAX_WAITING {
            gate.admit_call(call(":1.7")).expect("there is room");
        }
        let refused = gate.admit_call(call(":1.7"));
        assert!(matches!(refused, Err(Refused::Waiting(_))), "{refused:?}");
        gate.admit_call(call(":1.8")).expect("another has room");
        assert_eq!(gate.state().waiting(), MAX_WAITING + 1);
        // Their calls end with the connection; those of others wait on.
        gate.forget(":1.7");
        assert_eq!(gate.state().waiting(), 1);
        gate.admit_call(call(":1.7")).expect("its room is free again");
    }

    #[tokio::test]
    async fn calls_of_all_lines_and_of_unknown_connections_are_bounded_together() {
        let gate = gate();
        let strangers = u32::try_from(MAX_WAITING_IN_ALL / MAX_WAITING).expect("few") - LINES;
        // As many connections as fill the service without any of them being at its own limit after all.
        for number in (1..=LINES).chain(100..100 + strangers) {
            for _ in 0..MAX_WAITING {
                gate.admit_call(call(&name_of(number))).expect("there is room");
            }
        }
        let kinds = |gate: &Gate| {
            let state = gate.state();
            (state.turns.waiting(), state.unidentified)
        };
        assert_eq!(kinds(&gate), (MAX_WAITING_IN_ALL / 2, MAX_WAITING_IN_ALL / 2));
        for newcomer in [name_of(1), name_of(100), name_of(1000)] {
            let refused = gate.admit_call(call(&newcomer));
            assert!(matches!(refused, Err(Refused::WaitingInAll(_))), "{newcomer}: {refused:?}");
        }
        assert_eq!(gate.state().waiting(), MAX_WAITING_IN_ALL);
        let served = gate.next().await.expect("a call");
        assert_eq!(sender(&served), Some(name_of(1)));
        gate.admit_call(call(&name_of(1000))).expect("there is room again");
        gate.admit_call(call(&name_of(1000))).expect_err("of one");
    }

    #[tokio::test]
    async fn signals_of_others_than_the_bus_are_not_passed_on() {
        let gate = gate();
        for stranger in [":1.2", ":1.99"] {
            gate.admit(Ok(gone(stranger, ":1.1"))).await;
        }
        assert!(gate.state().passing.is_empty());
        gate.admit(Ok(gone("org.freedesktop.DBus", ":1.1"))).await;
        let passed = gate.next().await.expect("a signal");
        assert_eq!(sender(&passed).as_deref(), Some("org.freedesktop.DBus"));
        assert!(gate.state().passing.is_empty());
    }

    fn sender(message: &Message) -> Option<String> {
        message.header().sender().map(ToString::to_string)
    }
}
