//! The real `rootful-netd`, run in the test's namespaces as systemd would run it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::deadline::eventually;
use crate::fault;
use crate::fd_store::{self, FdStore};
use crate::installation::{Installation, binary_path};
use crate::process::Process;

/// Where the daemon's standard error is, of all its runs in one test.
pub const LOG_PATH: &str = "/run/rootful-netd.log";

const NOTIFY_PATH: &str = "/run/notify";
/// How long the daemon may take to be ready, on a busy machine.
const START: Duration = Duration::from_secs(20);
/// How often it is looked whether the daemon has ended instead.
const CHECK: Duration = Duration::from_millis(50);

/// A running daemon; it is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
}

impl Daemon {
    /// Starts it. When it returns, the daemon has said that it is ready.
    ///
    /// # Errors
    /// Where it is not ready in time; with what it said where it ends instead.
    pub fn start(_: &Installation) -> anyhow::Result<Self> {
        match fs::remove_file(NOTIFY_PATH) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            Err(_) | Ok(()) => {}
        }
        let notifications = UnixDatagram::bind(NOTIFY_PATH)?;
        notifications.set_read_timeout(Some(CHECK))?;
        let log = File::options().append(true).create(true).open(LOG_PATH)?;
        let process = Process::start(binary_path("rootful-netd"), |command| {
            command.env_clear().env("NOTIFY_SOCKET", NOTIFY_PATH).stderr(log);
            command.envs(fault::environment());
        })?;
        let mut daemon = Self { process };
        daemon.wait_until_ready(&notifications)?;
        Ok(daemon)
    }

    /// As [`Self::start`], with what an earlier one left in the store.
    ///
    /// # Errors
    /// As there.
    pub fn start_from(store: &FdStore) -> anyhow::Result<Self> {
        let log = File::options().append(true).create(true).open(LOG_PATH)?;
        let (hand_over, names) = store.hand_over()?;
        store.take_ready();
        let process = Process::start("/bin/sh", |command| {
            command.args(["-c", &hand_over]).arg(binary_path("rootful-netd"));
            command.env_clear().env("NOTIFY_SOCKET", fd_store::NOTIFY_PATH).stderr(log);
            command.env("LISTEN_FDS", names.len().to_string());
            command.env("LISTEN_FDNAMES", names.join(":")).envs(fault::environment());
        })?;
        let mut daemon = Self { process };
        let end = Instant::now() + START;
        while !store.take_ready() {
            ensure!(Instant::now() < end, "rootful-netd is not ready within {START:?}");
            if let Some(status) = daemon.process.outcome()? {
                bail!("rootful-netd ends: {status}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(daemon)
    }

    /// Waits until it has ended of itself.
    ///
    /// # Errors
    /// Where it has not within the deadline.
    pub fn wait_within(mut self, deadline: Duration) -> anyhow::Result<()> {
        eventually(deadline, || {
            ensure!(self.process.outcome()?.is_some(), "rootful-netd runs on");
            Ok(())
        })
    }

    fn wait_until_ready(&mut self, notifications: &UnixDatagram) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        let mut message = [0; 256];
        while Instant::now() < end {
            match notifications.recv(&mut message) {
                Ok(length) if message[..length].starts_with(b"READY=1") => return Ok(()),
                Ok(_) => {}
                // A wait with a time limit is not taken up again where it is interrupted, signal(7).
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.process.outcome()? {
                bail!("rootful-netd ends: {status}");
            }
        }
        bail!("rootful-netd is not ready within {START:?}");
    }

    /// Stops it as systemd does, and waits until it has ended.
    ///
    /// # Errors
    /// Where it ends otherwise than it should.
    pub fn stop(self) -> anyhow::Result<()> {
        let status = self.process.end(Signal::TERM)?;
        ensure!(status.success(), "rootful-netd ends: {status}");
        Ok(())
    }

    /// Waits until it has ended, having been told to stop.
    ///
    /// # Errors
    /// Where it ends otherwise than it should.
    pub fn wait(self) -> anyhow::Result<()> {
        let status = self.process.wait()?;
        ensure!(status.success(), "rootful-netd ends: {status}");
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How much memory it has, in KiB.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("no VmRSS")?.parse()?)
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// Where it has ended already.
    pub fn kill(self) -> anyhow::Result<()> {
        self.process.end(Signal::KILL)?;
        Ok(())
    }

    /// What all daemons of this test have said until now.
    ///
    /// # Errors
    /// Where none was started.
    pub fn log() -> anyhow::Result<String> {
        fs::read_to_string(LOG_PATH).context("no daemon was started")
    }
}
