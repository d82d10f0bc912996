//! The service manager's file descriptor store (systemd.service(5), `FileDescriptorStoreMax=`), played by the test: it
//! keeps what the daemon hands it and gives it to the next one.

use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::deadline::eventually;
use crate::installation::Installation;

/// The socket that the daemon notifies.
pub const NOTIFY_PATH: &str = "/run/notify-store";

/// How often it is looked whether the store is to end.
const CHECK: Duration = Duration::from_millis(10);

/// How long it may take until the store has taken what was sent.
const DEADLINE: Duration = Duration::from_secs(10);
/// What the store sends to itself, with a number behind it.
const CAUGHT_UP: &str = "X_CAUGHT_UP=";

/// A running store. It ends when it is dropped.
#[derive(Debug)]
pub struct FdStore {
    shared: Arc<Shared>,
    /// How often it was waited for.
    sent: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Vec<(String, OwnedFd)>>,
    is_ready: AtomicBool,
    is_over: AtomicBool,
    /// Up to which waiting everything is taken.
    taken: AtomicU64,
}

/// What the service manager does with descriptors that it is handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It keeps them.
    Descriptors,
    /// It closes them, as one that knows of no store.
    Nothing,
}

impl FdStore {
    /// Begins to take notifications.
    ///
    /// # Errors
    /// Where there is no socket to be had.
    pub fn start(_: &Installation, keeps: Keeps) -> anyhow::Result<Self> {
        let socket = UnixDatagram::bind(NOTIFY_PATH)?;
        socket.set_read_timeout(Some(CHECK))?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("fd store".to_owned()).spawn(move || {
            while !own.is_over.load(Ordering::Relaxed) {
                receive(&socket, &own, keeps);
            }
        })?;
        Ok(Self { shared, sent: AtomicU64::new(0), thread: Some(thread) })
    }

    /// The names of what is kept now.
    ///
    /// # Errors
    /// Where the store does not take notifications any more.
    pub fn names(&self) -> anyhow::Result<Vec<String>> {
        self.catch_up()?;
        Ok(self.shared.kept().iter().map(|(name, _)| name.clone()).collect())
    }

    /// Waits until everything is taken that daemons have sent.
    fn catch_up(&self) -> anyhow::Result<()> {
        let sent = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
        UnixDatagram::unbound()?.send_to(format!("{CAUGHT_UP}{sent}").as_bytes(), NOTIFY_PATH)?;
        eventually(DEADLINE, || {
            let taken = self.shared.taken.load(Ordering::SeqCst);
            anyhow::ensure!(taken >= sent, "the store is {} behind", sent - taken);
            Ok(())
        })
    }

    /// Whether a daemon has said that it is ready since this was asked last.
    pub(crate) fn take_ready(&self) -> bool {
        self.shared.is_ready.swap(false, Ordering::SeqCst)
    }

    /// A shell command that opens what is kept from descriptor 3 on and then becomes the program behind it, and the
    /// names for `LISTEN_FDNAMES`.
    pub(crate) fn hand_over(&self) -> anyhow::Result<(String, Vec<String>)> {
        self.catch_up()?;
        let process = rustix::process::getpid();
        let mut command = String::new();
        let mut names = Vec::new();
        for (number, (name, descriptor)) in self.shared.kept().iter().enumerate() {
            let own = descriptor.as_raw_fd();
            command.push_str(&format!("exec {}</proc/{process}/fd/{own}; ", number + 3));
            names.push(name.clone());
        }
        command.push_str("export LISTEN_PID=$$; exec \"$0\"");
        Ok((command, names))
    }
}

impl Drop for FdStore {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by then.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Vec<(String, OwnedFd)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(socket: &UnixDatagram, shared: &Shared, keeps: Keeps) {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
    let length = match received.map_err(std::io::Error::from) {
        Ok(message) => message.bytes,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            return;
        }
        Err(error) => panic!("the notification socket: {error}"),
    };
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
    let name = name.unwrap_or("stored").to_owned();
    for line in text.lines() {
        match line {
            "READY=1" => shared.is_ready.store(true, Ordering::SeqCst),
            "FDSTOREREMOVE=1" => shared.kept().retain(|(kept, _)| *kept != name),
            _ => {}
        }
    }
    if let Some(number) = text.strip_prefix(CAUGHT_UP) {
        shared.taken.store(number.parse().unwrap_or_default(), Ordering::SeqCst);
    }
    if keeps == Keeps::Descriptors && text.lines().any(|line| line == "FDSTORE=1") {
        shared.kept().extend(descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
    }
}
