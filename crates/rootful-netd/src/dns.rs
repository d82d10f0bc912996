//! The name server: aardvark-dns in a unit of its own. This keeps its records as core says and has systemd
//! run it while there are any; the engine does not wait for it.

mod directory;
mod unit;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use zbus::Connection;

use crate::directories::RUNTIME_DIR;
use crate::error::chain;
use directory::Directory;
use unit::Unit;

/// What the name server reads: texts by file name.
pub(crate) type Records = BTreeMap<String, String>;

/// Whether the name server is installed.
pub(crate) fn is_installed() -> bool {
    rootful_net_core::dns::PROGRAM_DIRS
        .iter()
        .any(|dir| Path::new(dir).join("aardvark-dns").exists())
}

/// Where the engine leaves what is to be served.
#[derive(Debug)]
pub(crate) struct NameServer {
    records: watch::Sender<Records>,
}

impl NameServer {
    /// Starts the task that looks after the name server.
    pub(crate) fn start(connection: Connection) -> Self {
        let (records, receiver) = watch::channel(Records::new());
        let keeper = Keeper {
            directory: Directory::new(Path::new(RUNTIME_DIR)),
            unit: Unit::new(connection),
            state: State::Unknown,
        };
        tokio::spawn(keeper.run(receiver));
        Self { records }
    }

    /// Has these records served, in place of those before, as soon as can be.
    pub(crate) fn serve(&self, records: Records) {
        self.records.send_replace(records);
    }
}

/// How the last change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// There was none yet.
    Unknown,
    /// The name server has the records.
    Serving,
    /// There is nothing to serve.
    Idle,
    /// It has not, for this reason.
    Failing(String),
}

/// How often it is looked whether the host has other name servers, to which the name server forwards. It
/// reads them with its records and does not notice when the file is replaced, as is usual.
const FORWARDERS_INTERVAL: Duration = Duration::from_secs(5);

/// Tells one `/etc/resolv.conf` of the host from the next.
#[derive(Debug, PartialEq, Eq)]
struct Forwarders(Option<(u64, u64, i64, i64)>);

impl Forwarders {
    fn now() -> Self {
        let file = std::fs::metadata("/etc/resolv.conf").ok();
        Self(file.map(|file| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec())))
    }
}

struct Keeper {
    directory: Directory,
    unit: Unit,
    state: State,
}

impl Keeper {
    /// Changes that come while one is being made are made together afterwards.
    async fn run(mut self, mut records: watch::Receiver<Records>) {
        let mut forwarders = Forwarders::now();
        loop {
            let serving = self.state == State::Serving;
            tokio::select! {
                changed = records.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(FORWARDERS_INTERVAL), if serving => {
                    if forwarders == Forwarders::now() {
                        continue;
                    }
                    // Not what is served, but what is read with it.
                    self.state = State::Unknown;
                }
            }
            forwarders = Forwarders::now();
            let wanted = records.borrow_and_update().clone();
            let state =
                if wanted.is_empty() { self.stop().await } else { self.serve(&wanted).await };
            self.enter(state);
        }
    }

    async fn serve(&mut self, records: &Records) -> State {
        let changed = match self.directory.write(records) {
            Ok(changed) => changed,
            Err(error) => return State::Failing(chain(&error)),
        };
        if !is_installed() {
            return State::Failing("aardvark-dns is not installed".to_owned());
        }
        if self.state == State::Serving && !changed {
            return State::Serving;
        }
        match self.unit.reload_or_start().await {
            Ok(()) => State::Serving,
            Err(error) => State::Failing(chain(&error)),
        }
    }

    async fn stop(&mut self) -> State {
        if !self.directory.exists() {
            return State::Idle;
        }
        // Before the records go: without any the name server fails instead of stopping.
        let stopped = match self.unit.stop().await {
            // Where nothing could be started nothing is to be stopped.
            Err(_) if matches!(self.state, State::Failing(_)) => Ok(()),
            stopped => stopped,
        };
        let removed = self.directory.remove();
        match (stopped, removed) {
            (Ok(()), Ok(())) => State::Idle,
            (Err(error), _) => State::Failing(chain(&error)),
            (Ok(()), Err(error)) => State::Failing(chain(&error)),
        }
    }

    /// The log has each reason once, until names are served again.
    fn enter(&mut self, state: State) {
        match &state {
            State::Failing(reason) if self.state != state => {
                tracing::warn!(reason, "names of containers are not served");
            }
            State::Serving if matches!(self.state, State::Failing(_)) => {
                tracing::info!("names of containers are served again");
            }
            State::Unknown | State::Serving | State::Idle | State::Failing(_) => {}
        }
        // A network that has become idle does not make the reason a new one.
        if !(state == State::Idle && matches!(self.state, State::Failing(_))) {
            self.state = state;
        }
    }
}
