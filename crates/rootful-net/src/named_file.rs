//! Files that the command line names: reads them, and says with which exit code a command fails where one cannot be
//! read. What a file must hold is the commands' matter.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::error::Exit;

/// Why there is nothing from a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub(crate) struct UnreadableFile {
    path: PathBuf,
    source: io::Error,
}

impl UnreadableFile {
    pub(crate) fn exit(&self) -> Exit {
        match self.source.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failed,
        }
    }

    /// Whether the file is not there.
    pub(crate) fn is_gone(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// The first bytes of a file, up to `max_bytes`.
pub(crate) fn read_start(path: &Path, max_bytes: u64) -> Result<Vec<u8>, UnreadableFile> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max_bytes).read_to_end(&mut bytes))
        .map_err(|source| UnreadableFile { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// A whole file of UTF-8, or standard input where the path is `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, UnreadableFile> {
    let text = if path == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    text.map_err(|source| UnreadableFile { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_has_its_exit_code() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let cases = [(root.path().join("missing"), 4, true), (root.path().to_owned(), 1, false)];
        for (path, code, is_gone) in cases {
            let errors = [
                read_start(&path, 1).expect_err("no file"),
                read_text(&path).expect_err("no file"),
            ];
            for error in errors {
                assert_eq!((error.exit().code(), error.is_gone()), (code, is_gone), "{error}");
            }
        }
        let source = io::ErrorKind::PermissionDenied.into();
        let error = UnreadableFile { path: root.path().to_owned(), source };
        assert_eq!(error.exit().code(), 3);
    }

    #[test]
    fn no_more_is_read_than_asked_for() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("file");
        fs::write(&path, "0123456789").expect("the file can be written");
        assert_eq!(read_start(&path, 4).expect("a file"), b"0123");
        assert_eq!(read_start(&path, 11).expect("a file"), b"0123456789");
        assert_eq!(read_text(&path).expect("a file"), "0123456789");
    }
}
