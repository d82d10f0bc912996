//! Reads what is on stdin and in files, never more than it should be and never longer than the deadline.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::deadline::{Deadline, LIMIT};

/// Why there is nothing to read from.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("cannot read {what} from stdin")]
    Stdin { what: &'static str, source: io::Error },
    #[error("{what} was not on stdin within {} s", LIMIT.as_secs())]
    Late { what: &'static str },
    #[error("{what} on stdin has more than {limit} bytes")]
    StdinTooLong { what: &'static str, limit: usize },
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} has more than {limit} bytes", path.display())]
    FileTooLong { path: PathBuf, limit: usize },
}

/// Reads stdin to its end.
///
/// # Errors
/// It is longer than `limit`, does not end before the deadline or cannot be read.
pub(crate) fn stdin(
    what: &'static str,
    limit: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, InputError> {
    let stdin = io::stdin();
    read_to_end(stdin.as_fd(), what, limit, deadline)
}

fn read_to_end(
    source: impl AsFd,
    what: &'static str,
    limit: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, InputError> {
    let failed = |errno: Errno| InputError::Stdin { what, source: errno.into() };
    let mut bytes = Vec::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let timeout = Timespec::try_from(deadline.remaining()).expect("seconds");
        let mut ready = [PollFd::new(&source, PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(0) => return Err(InputError::Late { what }),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(failed(errno)),
        }
        match rustix::io::read(&source, &mut block) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count > limit => {
                return Err(InputError::StdinTooLong { what, limit });
            }
            Ok(count) => bytes.extend_from_slice(&block[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// Reads a whole file.
///
/// # Errors
/// It is longer than `limit` or cannot be read.
pub(crate) fn file(path: &Path, limit: usize) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|source| InputError::File { path: path.to_owned(), source })?;
    match bytes.len() > limit {
        true => Err(InputError::FileTooLong { path: path.to_owned(), limit }),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn input_is_read_to_its_end_and_no_longer_than_the_limit() {
        for (length, accepted) in [(0, true), (1000, true), (200_000, true), (200_001, false)] {
            let (reader, mut writer) = io::pipe().expect("a pipe");
            let writing = std::thread::spawn(move || writer.write_all(&vec![b'x'; length]));
            let result = read_to_end(&reader, "it", 200_000, Deadline::start());
            assert_eq!(result.is_ok(), accepted, "{length}");
            drop(reader);
            let _ = writing.join().expect("it does not panic");
        }
    }

    #[test]
    fn a_file_is_read_to_its_end_and_no_longer_than_the_limit() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").expect("it can be written");
        assert_eq!(file(&path, 5).expect("short enough"), b"12345");
        assert!(matches!(file(&path, 4), Err(InputError::FileTooLong { .. })));
        assert!(matches!(file(&dir.path().join("none"), 4), Err(InputError::File { .. })));
    }
}
