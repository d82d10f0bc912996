//! Opens network namespaces, with the caller's own rights. Whether one may be attached, the service
//! decides on the open file.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Why a namespace could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is no such process, or not any more.
    #[error("process {pid} does not exist; the container must be running or initialized")]
    NoProcess {
        /// Its id.
        pid: u32,
    },
    /// The caller may not look into the process.
    #[error("process {pid} belongs to another user; only that user and root can set it up")]
    OtherUser {
        /// Its id.
        pid: u32,
    },
    /// There is no such file.
    #[error("network namespace {} does not exist", path.display())]
    NoFile {
        /// Its path.
        path: PathBuf,
    },
    /// The caller may not open the file.
    #[error("no permission to open network namespace {}", path.display())]
    Permission {
        /// Its path.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot open network namespace {}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// What the kernel says.
        source: Errno,
    },
}

impl NamespaceError {
    /// Whether there is no such namespace, as opposed to one that cannot be opened.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NoProcess { .. } | Self::NoFile { .. } => true,
            Self::OtherUser { .. } | Self::Permission { .. } | Self::Open { .. } => false,
        }
    }
}

/// Opens the network namespace of a process.
///
/// # Errors
/// The process is gone or another user's.
pub fn of_process(pid: u32) -> Result<OwnedFd, NamespaceError> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    open(&path).map_err(|errno| match errno {
        // ESRCH and EINVAL: a process that is not yet reaped.
        Errno::NOENT | Errno::SRCH | Errno::INVAL => NamespaceError::NoProcess { pid },
        Errno::ACCESS | Errno::PERM => NamespaceError::OtherUser { pid },
        source => NamespaceError::Open { path, source },
    })
}

/// Opens a network namespace that a file in the file system stands for.
///
/// # Errors
/// The file is not there or cannot be opened.
pub fn at_path(path: &Path) -> Result<OwnedFd, NamespaceError> {
    open(path).map_err(|errno| match errno {
        Errno::NOENT | Errno::SRCH => NamespaceError::NoFile { path: path.to_owned() },
        Errno::ACCESS | Errno::PERM => NamespaceError::Permission { path: path.to_owned() },
        source => NamespaceError::Open { path: path.to_owned(), source },
    })
}

/// `NONBLOCK` and `NOCTTY`: the path may be anything, a FIFO or a terminal too.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_opens_by_process_and_by_path() {
        let by_process = of_process(std::process::id()).expect("the own namespace");
        let by_path = at_path(Path::new("/proc/self/ns/net")).expect("the own namespace");
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("an open file").st_ino;
        assert_eq!(inode(&by_process), inode(&by_path));
    }

    #[test]
    fn what_does_not_exist_is_gone() {
        // Above the kernel's limit for process ids, PID_MAX_LIMIT in proc_pid_max(5).
        let error = of_process(u32::MAX).expect_err("no such process");
        assert!(matches!(error, NamespaceError::NoProcess { .. }) && error.is_gone());
        let error = at_path(Path::new("/nonexistent/namespace")).expect_err("no such file");
        assert!(matches!(error, NamespaceError::NoFile { .. }) && error.is_gone());
    }

    #[test]
    fn a_path_that_is_no_directory_is_not_gone() {
        let error = at_path(Path::new("/proc/self/ns/net/x")).expect_err("not a directory");
        assert!(matches!(error, NamespaceError::Open { .. }) && !error.is_gone());
    }
}
