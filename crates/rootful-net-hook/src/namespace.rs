//! Opens the network namespace of a container's first process, which waits for the hook.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The namespace could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the network namespace of process {pid}")]
pub(crate) struct NamespaceError {
    pid: u32,
    source: Errno,
}

pub(crate) fn of_process(pid: u32) -> Result<OwnedFd, NamespaceError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/ns/net"), flags, Mode::empty())
        .map_err(|source| NamespaceError { pid, source })
}
