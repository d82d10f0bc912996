//! The policy's files: read in order, refused where others than root could have written them, or could have
//! put others in their place.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rootful_net_core::policy::{Policy, PolicyError};
use rustix::fs::OFlags;

use crate::directories::{CONFIGURATION_DIR, VENDOR_DIR, layered_files};

/// The longest file that is read at all, in bytes; core refuses shorter ones.
const MAX_BYTES: u64 = 4 << 20;
/// As many symbolic links as the kernel follows, path_resolution(7).
const MAX_LINKS: usize = 40;

/// Says why the policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyFileError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Others than root could have written the file, or have put another in its place.
    #[error(
        "{} is refused: the owner of {} is uid {uid} and its mode {mode:o} (accepted: owned by root, writable by root alone)",
        path.display(), culprit.display()
    )]
    Writable { path: PathBuf, culprit: PathBuf, uid: u32, mode: u32 },
    /// It is something else than a file, or far too long.
    #[error("{} is refused: it is no file of at most {MAX_BYTES} bytes", path.display())]
    NoFile { path: PathBuf },
    /// It leads from one symbolic link to the next.
    #[error("{} is refused: it has too many symbolic links", path.display())]
    TooManyLinks { path: PathBuf },
    /// The file is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Reads all policy files.
///
/// # Errors
/// Any file is wrong: a policy is in force as a whole or not at all.
pub(crate) fn read() -> Result<Policy, PolicyFileError> {
    let directories = [VENDOR_DIR, CONFIGURATION_DIR].map(|dir| Path::new(dir).join("policy.d"));
    read_from(&directories.each_ref().map(PathBuf::as_path))
}

fn read_from(directories: &[&Path]) -> Result<Policy, PolicyFileError> {
    for directory in directories {
        ensure_trusted(directory)?;
    }
    let files = layered_files(directories, "toml").map_err(|source| PolicyFileError::Read {
        path: directories.last().map(PathBuf::from).unwrap_or_default(),
        source,
    })?;
    let mut policy = Policy::default();
    for path in files {
        let text = read_trusted(&path)?;
        policy.add_file(&path.display().to_string(), &text)?;
    }
    Ok(policy)
}

fn read_trusted(path: &Path) -> Result<String, PolicyFileError> {
    let unreadable = |source| PolicyFileError::Read { path: path.to_owned(), source };
    ensure_trusted(path)?;
    // A FIFO without a writer must not be waited for.
    let mut options = File::options();
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let file = options.read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    // What is checked last is what is read: the open file, whatever the path names later.
    let metadata = file.metadata().map_err(unreadable)?;
    ensure_written_by_root(path, path, &metadata)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(PolicyFileError::NoFile { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Walks the path as the kernel would: every directory and every link on the way must be root's alone.
/// What does not exist is not refused.
fn ensure_trusted(path: &Path) -> Result<(), PolicyFileError> {
    let unreadable = |source| PolicyFileError::Read { path: path.to_owned(), source };
    let mut rest: VecDeque<OsString> = parts(path);
    let mut walked = PathBuf::from("/");
    let mut links = 0;
    check(path, &walked)?;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            walked.pop();
            continue;
        }
        let next = walked.join(&part);
        let metadata = match fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        };
        if !metadata.is_symlink() {
            ensure_written_by_root(path, &next, &metadata)?;
            walked = next;
            continue;
        }
        // The mode of a link says nothing; who could replace it, its directory says, which was checked.
        links += 1;
        if links > MAX_LINKS {
            return Err(PolicyFileError::TooManyLinks { path: path.to_owned() });
        }
        let target = fs::read_link(&next).map_err(unreadable)?;
        if target.is_absolute() {
            walked = PathBuf::from("/");
        }
        for part in parts(&target).into_iter().rev() {
            rest.push_front(part);
        }
    }
    Ok(())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(named).collect()
}

fn check(path: &Path, culprit: &Path) -> Result<(), PolicyFileError> {
    let metadata = fs::symlink_metadata(culprit)
        .map_err(|source| PolicyFileError::Read { path: culprit.to_owned(), source })?;
    ensure_written_by_root(path, culprit, &metadata)
}

fn ensure_written_by_root(
    path: &Path,
    culprit: &Path,
    metadata: &Metadata,
) -> Result<(), PolicyFileError> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid == 0 && mode & 0o022 == 0 {
        return Ok(());
    }
    let (path, culprit) = (path.to_owned(), culprit.to_owned());
    Err(PolicyFileError::Writable { path, culprit, uid, mode })
}
