//! Network namespaces other than the test's own, and work that is done inside them.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// A network namespace, kept alive by an open file.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: File,
}

impl NetworkNamespace {
    /// Makes a new one, owned by the user namespace of the test.
    ///
    /// # Errors
    /// Where the caller is not root.
    pub fn new() -> anyhow::Result<Self> {
        let make = || {
            #[expect(
                unsafe_code,
                reason = "rustix marks unshare unsafe for the sake of CLONE_FILES"
            )]
            // SAFETY: the flag changes nothing that other threads of this process share with this one.
            let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.context("unshare")?;
            Self::open("/proc/thread-self/ns/net")
        };
        std::thread::scope(|scope| join(scope.spawn(make)))
    }

    /// Opens the one at `path`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(path: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let path = path.into();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { file })
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn fd(&self) -> anyhow::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// A path to it that other processes can open while this value lives.
    pub fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        let process = rustix::process::getpid();
        PathBuf::from(format!("/proc/{process}/fd/{}", self.file.as_raw_fd()))
    }

    /// Does `work` inside, on a thread of its own. Threads and processes that it starts stay inside, and keep
    /// the namespace alive.
    ///
    /// # Errors
    /// Where it cannot be entered, and what `work` returns.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let inside = || {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(self.file.as_fd(), kind).context("setns")?;
            work()
        };
        std::thread::scope(|scope| join(scope.spawn(inside)))
    }
}

/// Runs `command`, split at white space, and returns what it printed.
///
/// # Errors
/// With what it said where it fails.
pub fn run(command: &str) -> anyhow::Result<String> {
    let mut words = command.split_whitespace();
    let program = words.next().context("an empty command")?;
    let output = Command::new(program).args(words).output().with_context(|| command.to_owned())?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command}: {}: {error}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command that prints JSON, such as `ip -json`, and returns that.
///
/// # Errors
/// Where it fails or prints something else.
pub fn run_json(command: &str) -> anyhow::Result<serde_json::Value> {
    let output = run(command)?;
    serde_json::from_str(&output).with_context(|| format!("{command}: {output}"))
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
