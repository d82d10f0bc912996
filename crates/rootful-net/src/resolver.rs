//! Writes `/etc/resolv.conf` and `/etc/hosts` of a container, with the caller's own rights. What is in the
//! container is not trusted: no path leads out of its root, and nothing but a regular file is written.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use rootful_net_client::resolver;
use rootful_net_core::dns::hosts;
use rootful_net_dbus::AttachmentProperties;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::podman::{self, HostsFile};
use crate::service::{Service, ServiceError};

const RESOLV_CONF: &str = "resolv.conf";
const HOSTS: &str = "hosts";

/// More is no hosts file that podman made, in bytes.
const MAX_HOSTS: u64 = 1 << 20;

/// Why a container's files were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolverError {
    #[error("cannot open the root directory of process {pid}")]
    Root { pid: u32, source: Errno },
    #[error("cannot write /etc/{file} in the container, names are not resolved there")]
    Write { file: &'static str, source: io::Error },
    #[error("/etc/{file} in the container is not a regular file; it stays as it is")]
    NotRegular { file: &'static str },
    #[error("cannot write the container's files as root of podman's user namespace: {message}")]
    Unshared { message: String },
    #[error("the description of the files is not understood")]
    Description(#[source] serde_json::Error),
}

impl ResolverError {
    /// Whether somebody with more rights might do it.
    fn is_denied(&self) -> bool {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::Root { source, .. } => denied(&(*source).into()),
            Self::Write { source, .. } => denied(source),
            Self::NotRegular { .. } | Self::Unshared { .. } | Self::Description(_) => false,
        }
    }
}

/// What is to be in the files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Files {
    /// The text of `/etc/resolv.conf`; it stays as it is where there is none.
    resolv_conf: Option<String>,
    /// The container's name and addresses for `/etc/hosts`, where podman made one.
    own: Option<(String, Vec<IpAddr>)>,
}

impl Files {
    /// Works out the files of a container from what it is attached to.
    pub(crate) async fn new(
        service: &Service,
        attachment: &AttachmentProperties,
        hosts: HostsFile,
    ) -> Result<Self, ServiceError> {
        let addresses = attachment.interfaces.iter().flat_map(|interface| &interface.addresses);
        let addresses = addresses.filter_map(|text| text.split('/').next()?.parse().ok());
        Ok(Self {
            resolv_conf: resolv_conf(service, attachment).await?,
            own: match hosts {
                HostsFile::Podmans => Some((attachment.name.clone(), addresses.collect())),
                HostsFile::Images => None,
            },
        })
    }

    /// Writes the files: directly, or where they are not the caller's as root of podman's user namespace.
    /// Both are the caller's own rights; most containers need only the faster one.
    pub(crate) fn write(&self, pid: u32) -> Result<(), ResolverError> {
        match self.write_directly(pid) {
            Err(error) if error.is_denied() => self.write_unshared(pid),
            written => written,
        }
    }

    /// Writes the files, with the rights of this process.
    pub(crate) fn write_directly(&self, pid: u32) -> Result<(), ResolverError> {
        if shares_file_system(pid) {
            return Ok(());
        }
        let path = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|source| ResolverError::Root { pid, source })?;
        if let Some(text) = &self.resolv_conf {
            write_resolv_conf(&root, text)?;
        }
        if let Some((name, addresses)) = &self.own {
            write_hosts(&root, name, addresses)?;
        }
        Ok(())
    }

    fn write_unshared(&self, pid: u32) -> Result<(), ResolverError> {
        let failed =
            |error: &dyn std::fmt::Display| ResolverError::Unshared { message: error.to_string() };
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut child = podman::unshare(&program)
            .args(["write-files", "--pid", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let description = serde_json::to_vec(self).map_err(ResolverError::Description)?;
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let sent = stdin.write_all(&description);
        drop(stdin);
        let output = child.wait_with_output().and_then(|output| sent.map(|()| output));
        let output = output.map_err(|error| failed(&error))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed(&podman::last_message(&String::from_utf8_lossy(&output.stderr)))),
        }
    }
}

/// The text of `/etc/resolv.conf`; none where it stays as it is.
async fn resolv_conf(
    service: &Service,
    attachment: &AttachmentProperties,
) -> Result<Option<String>, ServiceError> {
    let asked: Vec<IpAddr> = attachment.dns.iter().filter_map(|text| text.parse().ok()).collect();
    let networks = service.networks().await?;
    let attached =
        |name: &str| attachment.interfaces.iter().position(|interface| interface.network == name);
    let mut networks: Vec<_> = networks
        .into_iter()
        .filter_map(|network| Some((attached(&network.name)?, network)))
        .collect();
    networks.sort_by_key(|(position, _)| *position);
    let networks: Vec<_> = networks.into_iter().map(|(_, network)| network).collect();
    Ok(resolver::resolv_conf(&asked, &networks))
}

/// Whether the process sees the caller's own files, which are not a container's.
fn shares_file_system(pid: u32) -> bool {
    let inode = |process: &str| fs::metadata(format!("/proc/{process}/ns/mnt")).map(|it| it.ino());
    match (inode("self"), inode(&pid.to_string())) {
        (Ok(own), Ok(theirs)) => own == theirs,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// A symbolic link is replaced: images of whole systems have one that leads to nothing.
fn write_resolv_conf(root: &OwnedFd, text: &str) -> Result<(), ResolverError> {
    let failed = |errno: Errno| write_error(RESOLV_CONF, errno);
    let etc = open_etc(root).map_err(failed)?;
    let file = match open_at(&etc, RESOLV_CONF, OFlags::WRONLY) {
        Err(Errno::NOENT) => create_at(&etc, RESOLV_CONF),
        Err(Errno::LOOP) => rustix::fs::unlinkat(&etc, RESOLV_CONF, AtFlags::empty())
            .and_then(|()| create_at(&etc, RESOLV_CONF)),
        opened => opened,
    };
    replace(file.map_err(failed)?, RESOLV_CONF, text)
}

fn write_hosts(root: &OwnedFd, name: &str, addresses: &[IpAddr]) -> Result<(), ResolverError> {
    let failed = |errno: Errno| write_error(HOSTS, errno);
    let etc = open_etc(root).map_err(failed)?;
    let mut file = match open_at(&etc, HOSTS, OFlags::RDWR) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    let mut old = String::new();
    let read = check_regular(&file, HOSTS)
        .map(|()| (&mut file).take(MAX_HOSTS).read_to_string(&mut old))?;
    read.map_err(|source| ResolverError::Write { file: HOSTS, source })?;
    let new = hosts(&old, &[name], addresses);
    match new == old {
        true => Ok(()),
        false => replace(file, HOSTS, &new),
    }
}

fn write_error(file: &'static str, errno: Errno) -> ResolverError {
    match errno {
        Errno::LOOP => ResolverError::NotRegular { file },
        source => ResolverError::Write { file, source: source.into() },
    }
}

/// Links in the container, to a directory too, lead nowhere but to what the container would find.
fn open_etc(root: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, "etc", flags, Mode::empty(), resolve)
}

/// `NONBLOCK` and `NOCTTY`: it may be a FIFO or a terminal.
fn open_at(etc: &OwnedFd, name: &str, access: OFlags) -> Result<File, Errno> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(etc, name, flags, Mode::empty()).map(File::from)
}

fn create_at(etc: &OwnedFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(etc, name, flags, Mode::from_raw_mode(0o644))?;
    // Whatever the caller's umask: every user of the container reads it.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    Ok(File::from(file))
}

fn check_regular(file: &File, name: &'static str) -> Result<(), ResolverError> {
    let status = rustix::fs::fstat(file).map_err(|errno| write_error(name, errno))?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(ResolverError::NotRegular { file: name }),
    }
}

/// In place: a file that is mounted into the container cannot be replaced by another.
fn replace(mut file: File, name: &'static str, text: &str) -> Result<(), ResolverError> {
    check_regular(&file, name)?;
    let written = file
        .set_len(0)
        .and_then(|()| io::Seek::rewind(&mut file))
        .and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(|source| ResolverError::Write { file: name, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;

    /// A directory that stands for a container's root, with an empty `/etc`.
    fn container() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("etc")).expect("an empty directory");
        let root = File::open(dir.path()).expect("the directory").into();
        (dir, root)
    }

    fn text(dir: &Path, file: &str) -> String {
        fs::read_to_string(dir.join("etc").join(file)).expect("the file")
    }

    #[test]
    fn a_missing_file_is_made_for_everybody_and_an_old_one_written_in_place() {
        let (dir, root) = container();
        write_resolv_conf(&root, "nameserver 10.87.0.1\n").expect("written");
        let path = dir.path().join("etc/resolv.conf");
        let status = || fs::metadata(&path).expect("the file");
        assert_eq!(status().permissions().mode() & 0o777, 0o644);
        let inode = status().ino();
        write_resolv_conf(&root, "nameserver ::1\n").expect("written");
        assert_eq!(text(dir.path(), "resolv.conf"), "nameserver ::1\n");
        assert_eq!(status().ino(), inode);
    }

    #[test]
    fn no_link_leads_out_of_the_container() {
        let outside = tempfile::tempdir().expect("a temporary directory");
        let target = outside.path().join("target");
        fs::write(&target, "mine").expect("written");
        let (dir, root) = container();
        symlink(&target, dir.path().join("etc/resolv.conf")).expect("a link");
        symlink(&target, dir.path().join("etc/hosts")).expect("a link");
        write_resolv_conf(&root, "nameserver ::1\n").expect("the link is replaced");
        assert_eq!(text(dir.path(), "resolv.conf"), "nameserver ::1\n");
        let error = write_hosts(&root, "web", &[]).expect_err("a link");
        assert!(matches!(error, ResolverError::NotRegular { file: HOSTS }), "{error}");
        fs::remove_dir_all(dir.path().join("etc")).expect("removed");
        symlink(outside.path(), dir.path().join("etc")).expect("a link");
        write_resolv_conf(&root, "nameserver ::1\n").expect_err("it is not there in the container");
        assert!(!outside.path().join("resolv.conf").exists());
        assert_eq!(fs::read_to_string(&target).expect("the file"), "mine");
    }

    #[test]
    fn what_is_no_file_stays_as_it_is() {
        let (dir, root) = container();
        rustix::fs::mknodat(
            &root,
            "etc/resolv.conf",
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a FIFO");
        write_resolv_conf(&root, "nameserver ::1\n").expect_err("nobody reads from the FIFO");
        let reader = OFlags::RDONLY | OFlags::NONBLOCK;
        let reader = rustix::fs::openat(&root, "etc/resolv.conf", reader, Mode::empty());
        let error = write_resolv_conf(&root, "nameserver ::1\n").expect_err("a FIFO");
        assert!(matches!(error, ResolverError::NotRegular { file: RESOLV_CONF }), "{error}");
        drop(reader);
        assert!(dir.path().join("etc/resolv.conf").exists());
    }

    #[test]
    fn hosts_is_changed_where_there_is_one() {
        let (dir, root) = container();
        let address = ["10.87.0.9".parse().expect("an address")];
        write_hosts(&root, "web", &address).expect("nothing to do");
        assert!(!dir.path().join("etc/hosts").exists());
        let podmans = "127.0.0.1\tlocalhost\n127.0.0.1\t0743b99b0377 web\n";
        fs::write(dir.path().join("etc/hosts"), podmans).expect("written");
        write_hosts(&root, "web", &address).expect("written");
        let expected = "127.0.0.1\tlocalhost\n10.87.0.9\t0743b99b0377 web\n";
        assert_eq!(text(dir.path(), "hosts"), expected);
    }
}
