//! Tells people why the hook failed. Podman and the runtimes keep what a hook says to themselves, so it goes
//! to the journal as well, and to podman's own stderr where that can be opened.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rootful_net_client::message::{chain, printable};
use rootful_net_core::request::ContainerId;
use rustix::fs::{Mode, OFlags};

use crate::error::HookError;

const PROGRAM: &str = "rootful-net-hook";
/// Where journald listens, systemd.journal-fields(7).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where messages go, and which container they are about.
#[derive(Debug)]
pub(crate) struct Report {
    podman: Option<u32>,
    stage: &'static str,
    container: Option<ContainerId>,
}

impl Report {
    /// To the process of this id as well, if it is podman.
    pub(crate) fn to(podman: Option<u32>, stage: &'static str) -> Self {
        Self { podman, stage, container: None }
    }

    /// To the process that started this one as well, if it is podman.
    pub(crate) fn to_parent(stage: &'static str) -> Self {
        Self::to(parent(), stage)
    }

    /// Says which container it is.
    pub(crate) fn about(&mut self, container: &ContainerId) {
        self.container = Some(container.clone());
    }

    /// Says that the hook failed and why.
    pub(crate) fn failed(&self, error: &HookError) {
        self.say(&chain(error), 3);
    }

    /// Says something of interest, without a failure.
    pub(crate) fn note(&self, text: &str) {
        self.say(text, 6);
    }

    /// `priority` is syslog's: 3 for an error, 6 for information.
    fn say(&self, text: &str, priority: u8) {
        let text = printable(text);
        let line = match &self.container {
            Some(container) => {
                format!("{PROGRAM} {}: container {}: {text}\n", self.stage, short(container))
            }
            None => format!("{PROGRAM} {}: {text}\n", self.stage),
        };
        // Where even stderr is gone, the exit code is all there is to say.
        let _ = io::stderr().write_all(line.as_bytes());
        if priority <= 3 {
            let shown = self.podman.and_then(stderr_of);
            let _ = shown.map(|stderr| File::from(stderr).write_all(line.as_bytes()));
        }
        let _ = self.journal(&text, priority);
    }

    fn journal(&self, text: &str, priority: u8) -> io::Result<()> {
        let mut fields = format!(
            "MESSAGE={}: {text}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER={PROGRAM}\n",
            self.stage
        );
        if let Some(container) = &self.container {
            // As podman's own messages have it.
            let short = short(container);
            fields.push_str(&format!("CONTAINER_ID_FULL={container}\nCONTAINER_ID={short}\n"));
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(fields.as_bytes(), JOURNAL)?;
        Ok(())
    }
}

/// Says how the program is called.
pub(crate) fn usage() {
    let _ = writeln!(
        io::stderr(),
        "{PROGRAM}: podman runs this as a hook; usage: {PROGRAM} precreate|attach|detach"
    );
}

/// The process that started this one.
pub(crate) fn parent() -> Option<u32> {
    rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
}

/// The stderr of podman, unless it is this process's own: the user's terminal, pipe or file. A socket, as systemd
/// gives one to its services, cannot be opened; there the journal has what is to be said.
fn stderr_of(podman: u32) -> Option<OwnedFd> {
    let command = std::fs::read(format!("/proc/{podman}/cmdline")).ok()?;
    let program = command.split(|&byte| byte == 0).next()?;
    if Path::new(OsStr::from_bytes(program)).file_name()? != "podman" {
        return None;
    }
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let stderr = rustix::fs::open(format!("/proc/{podman}/fd/2"), flags, Mode::empty()).ok()?;
    (!is_same(&stderr, io::stderr())).then_some(stderr)
}

fn is_same(one: impl AsFd, other: impl AsFd) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        (Ok(_) | Err(_), _) => false,
    }
}

/// The id as podman prints it.
fn short(container: &ContainerId) -> &str {
    &container.as_str()[..12]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_podman_is_written_to() {
        assert!(stderr_of(std::process::id()).is_none());
        assert!(stderr_of(u32::MAX).is_none());
    }
}
