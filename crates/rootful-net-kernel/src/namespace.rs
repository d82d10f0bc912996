//! Owns verified network namespaces: what the kernel says of one, and work that is done inside. Whether a
//! caller may attach one is decided in `rootful_net_core::ownership`.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rootful_net_core::attachment::NamespaceId;
use rootful_net_core::ownership::Ownership;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::KernelError;
use crate::ffi::nsfs::NamespaceFile;

/// More than the kernel nests user namespaces: 33 levels, user_namespaces(7).
const MAXIMUM_NESTING: usize = 64;

/// The thread's, not the process's: its first thread need not be in the same one.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A file descriptor that is known to be a network namespace, and whose.
#[derive(Debug)]
pub struct Namespace {
    file: NamespaceFile,
    id: NamespaceId,
    ownership: Ownership,
}

/// Says why a file descriptor is not taken for a container's network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// It is another kind of file.
    #[error(
        "the file descriptor is not a network namespace (accepted: an open /proc/PID/ns/net, or a file \
         that such a namespace is mounted on)"
    )]
    NotNamespace,
    /// It is another kind of namespace.
    #[error("the file descriptor is a {kind} namespace (accepted: a network namespace)")]
    OtherKind {
        /// The kind, in the words of namespaces(7).
        kind: &'static str,
    },
    /// It was opened in a way that shows nothing of it.
    #[error(
        "the file descriptor was opened with O_PATH (accepted: a network namespace opened for reading)"
    )]
    PathOnly,
    /// Its user namespace is not below the one that rootful-netd runs in.
    #[error(
        "the network namespace belongs to a user namespace outside this system's (accepted: those of \
         containers on this host)"
    )]
    OutOfScope,
    /// The kernel does not tell.
    #[error("cannot find out whose the network namespace is")]
    Inspect {
        /// What the kernel said.
        #[source]
        source: Errno,
    },
}

impl From<Errno> for NamespaceError {
    fn from(source: Errno) -> Self {
        Self::Inspect { source }
    }
}

impl Namespace {
    /// Finds out what `fd` is and whose. That very descriptor is used from then on.
    ///
    /// # Errors
    /// Says what it is instead, where it is not a network namespace.
    pub fn verify(fd: OwnedFd) -> Result<Self, NamespaceError> {
        let file = NamespaceFile::new(fd)?.ok_or(NamespaceError::NotNamespace)?;
        let kind = file.kind().map_err(|errno| match errno {
            Errno::BADF => NamespaceError::PathOnly,
            source => NamespaceError::Inspect { source },
        })?;
        if kind != UnshareFlags::NEWNET.bits() {
            return Err(NamespaceError::OtherKind { kind: kind_name(kind) });
        }
        let id = identify(&file)?;
        let ownership =
            if id == identify_path(OWN_NAMESPACE)? { Ownership::Host } else { ownership(&file)? };
        Ok(Self { file, id, ownership })
    }

    /// Tells it from every other namespace while it exists.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Whose it is.
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Does `work` inside the namespace, on the current thread, which is back where it was when this returns:
    /// nothing else can run on the thread meanwhile. Sockets that are opened inside stay there.
    ///
    /// A thread of its own for the work would wait for its turn, on a busy machine for some milliseconds.
    ///
    /// # Errors
    /// Where the kernel does not let the daemon in; what `work` gives is handed through.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, KernelError> {
        let _visit = Visit::enter(self.fd())
            .map_err(|errno| KernelError::EnterNamespace { source: errno.into() })?;
        Ok(work())
    }
}

/// The current thread's stay in another namespace. It ends when this is dropped, also by a panic.
struct Visit {
    home: OwnedFd,
    // It is about the thread that it was made on.
    _thread: PhantomData<*const ()>,
}

impl Visit {
    fn enter(namespace: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let home = rustix::fs::open(OWN_NAMESPACE, flags, Mode::empty())?;
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
        Ok(Self { home, _thread: PhantomData })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let network = Some(LinkNameSpaceType::Network);
        if let Err(error) = move_into_link_name_space(self.home.as_fd(), network) {
            // Whatever came next would happen to a container instead of the host.
            tracing::error!(%error, "cannot leave a container's network namespace");
            std::process::abort();
        }
    }
}

/// The owner of the outermost user namespace below the daemon's own: whoever made it, made all within.
fn ownership(namespace: &NamespaceFile) -> Result<Ownership, NamespaceError> {
    let initial = identify_path("/proc/thread-self/ns/user")?;
    let out_of_scope = |errno| match errno {
        Errno::PERM => NamespaceError::OutOfScope,
        source => NamespaceError::Inspect { source },
    };
    let mut user_namespace = namespace.user_namespace().map_err(out_of_scope)?;
    if identify(&user_namespace)? == initial {
        return Ok(Ownership::InitialUserNamespace);
    }
    for _ in 0..MAXIMUM_NESTING {
        let parent = user_namespace.parent().map_err(out_of_scope)?;
        if identify(&parent)? == initial {
            return Ok(Ownership::User(user_namespace.owner_uid()?));
        }
        user_namespace = parent;
    }
    Err(NamespaceError::OutOfScope)
}

fn identify(file: &NamespaceFile) -> Result<NamespaceId, Errno> {
    let status = rustix::fs::fstat(file.as_fd())?;
    Ok(NamespaceId { device: status.st_dev, inode: status.st_ino })
}

fn identify_path(path: impl AsRef<Path>) -> Result<NamespaceId, Errno> {
    let status = rustix::fs::stat(path.as_ref())?;
    Ok(NamespaceId { device: status.st_dev, inode: status.st_ino })
}

fn kind_name(kind: u32) -> &'static str {
    match UnshareFlags::from_bits_retain(kind) {
        UnshareFlags::NEWCGROUP => "cgroup",
        UnshareFlags::NEWIPC => "IPC",
        UnshareFlags::NEWNS => "mount",
        UnshareFlags::NEWPID => "PID",
        UnshareFlags::NEWTIME => "time",
        UnshareFlags::NEWUSER => "user",
        UnshareFlags::NEWUTS => "UTS",
        _ => "different",
    }
}
