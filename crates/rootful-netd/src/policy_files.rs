//! The policy's files: read in order, refused where others than root could have written them.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rootful_net_core::policy::{Policy, PolicyError};

use crate::directories::{CONFIGURATION_DIR, VENDOR_DIR, layered_files};

/// Says why the policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyFileError {
    /// A file or directory cannot be read.
    #[error("cannot read policy {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Others than root could have written the file.
    #[error(
        "policy {} is refused: its owner is uid {uid} and its mode {mode:o} (accepted: owned by root, writable by root alone)",
        path.display()
    )]
    Writable { path: PathBuf, uid: u32, mode: u32 },
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
    // What is checked is what is read: the open file, whatever the path names later.
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != 0 || mode & 0o022 != 0 {
        return Err(PolicyFileError::Writable { path: path.to_owned(), uid, mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}
