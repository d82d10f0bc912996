//! What stands in for a rootless container: a process in a user and a network namespace of a user's own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::namespace::NetworkNamespace;

/// A process that holds a network namespace as rootless podman's containers do, until it is dropped.
#[derive(Debug)]
pub struct Container {
    child: Child,
    namespace: Option<NetworkNamespace>,
}

impl Container {
    /// Starts one as the user with this uid.
    ///
    /// # Errors
    /// Where the namespaces cannot be made.
    pub fn of(uid: u32) -> anyhow::Result<Self> {
        Self::start(uid, &["unshare", "--user", "--map-root-user", "--net"])
    }

    /// Starts one whose network namespace belongs to a user namespace inside another one of the user's.
    ///
    /// # Errors
    /// Where the namespaces cannot be made.
    pub fn nested_of(uid: u32) -> anyhow::Result<Self> {
        let outer = ["unshare", "--user", "--map-root-user"];
        let inner = ["unshare", "--user", "--map-user=1000", "--net"];
        Self::start(uid, &[outer.as_slice(), inner.as_slice()].concat())
    }

    fn start(uid: u32, unshare: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}")).arg("--clear-groups");
        // A new user namespace forgets the signal, prctl(2); so it is asked for behind it.
        command.args(unshare).args(["setpriv", "--pdeathsig=KILL"]);
        command.args(["sh", "-c", "echo ready && exec sleep infinity"]);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("the pipe that was asked for")?;
        let mut container = Self { child, namespace: None };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(line == "ready\n", "the container of uid {uid} does not start");
        container.namespace = Some(NetworkNamespace::open(container.netns_path())?);
        Ok(container)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The path of its network namespace.
    pub fn netns_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &NetworkNamespace {
        self.namespace.as_ref().expect("every started container has one")
    }

    /// Does `work` inside its network namespace, see [`NetworkNamespace::run`].
    ///
    /// # Errors
    /// Where it cannot be entered, and what `work` returns.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.namespace().run(work)
    }

    /// Ends it as a crash does; its namespace goes as well unless something else holds it.
    ///
    /// # Errors
    /// Where the process cannot be ended.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
