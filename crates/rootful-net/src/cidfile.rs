//! Reads the file into which `podman --cidfile` writes a container's id.

use std::path::{Path, PathBuf};

use rootful_net_core::request::{ContainerId, RequestError};

use crate::error::Exit;
use crate::named_file::{self, UnreadableFile};

/// An id has 64 bytes; more than this is another kind of file.
const MAX_BYTES: u64 = 256;

/// Why there is no id from a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CidfileError {
    #[error(transparent)]
    Read(#[from] UnreadableFile),
    #[error("{} does not hold a container id as 'podman --cidfile' writes it", path.display())]
    Content { path: PathBuf, source: RequestError },
}

impl CidfileError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Read(error) => error.exit(),
            Self::Content { .. } => Exit::Usage,
        }
    }

    /// Whether the file is not there: podman removes it with the container.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_gone())
    }
}

/// The id in the file, with or without blanks or a line break around it.
pub(crate) fn read(path: &Path) -> Result<ContainerId, CidfileError> {
    let bytes = named_file::read_start(path, MAX_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().map_err(|source| CidfileError::Content { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_cidfile_holds_one_id() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("web.cid");
        let id = "0123456789abcdef".repeat(4);
        let cases: &[(Vec<u8>, bool)] = &[
            (id.clone().into_bytes(), true),
            (format!("{id}\n").into_bytes(), true),
            (format!(" {id}\r\n").into_bytes(), true),
            (Vec::new(), false),
            (b"web".to_vec(), false),
            (id.to_uppercase().into_bytes(), false),
            (format!("{id}\n{id}").into_bytes(), false),
            (format!("{id}0").into_bytes(), false),
            (vec![0xff; 64], false),
            (vec![b'a'; 1_000_000], false),
        ];
        for (content, valid) in cases {
            fs::write(&path, content).expect("the file can be written");
            match read(&path) {
                Ok(read) => assert!(*valid && read.as_str() == id),
                Err(error) => {
                    assert!(!valid, "{error}");
                    assert_eq!(error.exit().code(), 2);
                    assert!(!error.is_gone());
                }
            }
        }
    }

    #[test]
    fn a_missing_cidfile_is_not_found() {
        let error = read(Path::new("/nonexistent/web.cid")).expect_err("no such file");
        assert!(error.is_gone());
        assert_eq!(error.exit().code(), 4);
    }
}
