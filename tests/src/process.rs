//! Processes that a test starts, which never outlive it.

use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// A running process. It ends when this is dropped, and when the test ends however it does.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program, with what `configure` makes of the command.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(
        program: impl AsRef<Path>,
        configure: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let name = program.as_ref().display().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--"]).arg(program.as_ref()).stdin(Stdio::null());
        configure(&mut command);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { name, child })
    }

    /// Its standard output, where that was made a pipe.
    ///
    /// # Errors
    /// Where it was not, or was taken already.
    pub fn take_stdout(&mut self) -> anyhow::Result<ChildStdout> {
        let name = &self.name;
        self.child.stdout.take().with_context(|| format!("{name} has no pipe"))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn outcome(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Sends it a signal and waits until it has ended.
    ///
    /// # Errors
    /// Where it has ended already.
    pub fn end(mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        let name = self.name.clone();
        anyhow::ensure!(self.outcome()?.is_none(), "{name} has ended by itself");
        kill_process(Pid::from_child(&self.child), signal)?;
        self.wait()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn wait(mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
