//! Makes the files with which a container resolves names, beside those that podman makes for it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rootful_net_core::dns;
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::process::{Gid, Uid};

use crate::config::Config;

/// What the files are called after.
pub(crate) const RESOLV_CONF_FILE: &str = "resolv.conf";
pub(crate) const HOSTS_FILE: &str = "hosts";
/// More is no file that podman made, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// Why a file was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolverError {
    #[error("podman keeps no files for the container, beside which {file} could be")]
    NoDirectory { file: &'static str },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The text of a hosts file, as podman makes it for a container without a network.
pub(crate) fn hosts(hostname: Option<&str>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_owned();
    if let Some(hostname) = hostname.filter(|name| !name.is_empty() && is_host_name(name)) {
        text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    }
    text
}

fn is_host_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Writes a file for the container, which its root can change, and says where it is.
pub(crate) fn write(
    config: &Config,
    file: &'static str,
    text: &str,
) -> Result<PathBuf, ResolverError> {
    let dir = config.files_dir().ok_or(ResolverError::NoDirectory { file })?;
    let path = dir.join(file_name(file));
    write_as_root_of(config, &path, text)
        .map_err(|source| ResolverError::Write { path: path.clone(), source })?;
    Ok(path)
}

/// Gives the container's names its addresses in the hosts file that this hook made for it, if it did. Podman fills
/// its own only later, with the names at 127.0.0.1.
pub(crate) fn name_in_hosts(
    config: &Config,
    name: &str,
    addresses: &[IpAddr],
) -> Result<(), ResolverError> {
    let Some(dir) = config.files_dir() else {
        return Ok(());
    };
    let path = dir.join(file_name(HOSTS_FILE));
    if !config.has_mount_of(&path) {
        return Ok(());
    }
    let names: Vec<&str> = [Some(name), config.hostname()].into_iter().flatten().collect();
    replace(&path, |old| dns::hosts(old, &names, addresses))
        .map_err(|source| ResolverError::Write { path: path.clone(), source })
}

fn file_name(file: &str) -> String {
    format!("rootful-net-{file}")
}

/// Changes a file in its place, since it is mounted in the container.
fn replace(path: &Path, change: impl Fn(&str) -> String) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut old = String::new();
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    (&mut file).take(most).read_to_string(&mut old)?;
    let new = change(&old);
    if new != old {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(new.as_bytes())?;
    }
    Ok(())
}

fn write_as_root_of(config: &Config, path: &Path, text: &str) -> io::Result<()> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let mut file = File::from(rustix::fs::open(path, flags, mode)?);
    file.write_all(text.as_bytes())?;
    rustix::fs::fchmod(&file, mode)?;
    let (uid, gid) = config.root_user();
    if (uid, gid) != (0, 0) {
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    if let Some(label) = config.mount_label() {
        // Without SELinux there are no labels to be set.
        let _ =
            rustix::fs::fsetxattr(&file, "security.selinux", label.as_bytes(), XattrFlags::empty());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_has_what_podmans_has() {
        let local = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
        assert_eq!(hosts(None), local);
        assert_eq!(hosts(Some("")), local);
        assert_eq!(hosts(Some("a\nb")), local);
        assert_eq!(hosts(Some("web.example")), format!("{local}127.0.0.1\tweb.example\n"));
    }
    #[test]
    fn a_file_is_changed_in_its_place() {
        use std::os::unix::fs::MetadataExt as _;

        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("hosts");
        std::fs::write(&path, "127.0.0.1\tweb\n").expect("it can be written");
        let inode = |path| std::fs::metadata(path).expect("it is there").ino();
        let before = inode(&path);
        replace(&path, |old| old.replace("127.0.0.1", "::1")).expect("it can be changed");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "::1\tweb\n");
        assert_eq!(inode(&path), before);
        assert!(replace(&dir.path().join("none"), str::to_owned).is_err());
    }
}
