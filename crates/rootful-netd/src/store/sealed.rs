//! Files that tell when they are damaged: the last line is the checksum of everything before it. They are
//! written whole or not at all, and a damaged one is set aside under a name of its own, never overwritten.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rootful_net_kernel::fault::{self, Point};
use sha2::{Digest as _, Sha256};

/// How many damaged files of one name are kept.
pub(super) const MAX_SET_ASIDE: usize = 16;

const CHECKSUM_PREFIX: &str = "sha256:";

/// Says what is wrong with a sealed file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    /// The disk does not give it.
    #[error("the file cannot be read")]
    Unreadable(#[source] io::Error),
    /// Something is missing or was changed.
    #[error("the last line is not the checksum of what is before it")]
    Checksum,
    /// The checksum is right and the content is not.
    #[error("the content cannot be used: {0}")]
    Content(String),
}

/// Reads a sealed file; `None` where there is none.
///
/// # Errors
/// The file is damaged.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Damage> {
    match fs::read(path) {
        Ok(sealed) => unseal(&sealed).map(|content| Some(content.to_vec())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Damage::Unreadable(error)),
    }
}

/// Writes a sealed file that only root can read.
///
/// # Errors
/// The directory cannot be written to; the old file is as it was then.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    write_atomically(path, &seal(content), 0o600)
}

fn seal(content: &[u8]) -> Vec<u8> {
    let mut sealed = content.to_vec();
    sealed.push(b'\n');
    let line = checksum_line(&sealed);
    sealed.extend(line.as_bytes());
    sealed
}

fn unseal(sealed: &[u8]) -> Result<&[u8], Damage> {
    let end = sealed.len().checked_sub(checksum_line(&[]).len()).ok_or(Damage::Checksum)?;
    let (before, line) = sealed.split_at(end);
    match before.split_last() {
        Some((b'\n', content)) if line == checksum_line(before).as_bytes() => Ok(content),
        Some(_) | None => Err(Damage::Checksum),
    }
}

fn checksum_line(content: &[u8]) -> String {
    let digits =
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{CHECKSUM_PREFIX}{digits}\n")
}

/// Gives a damaged file the first free name of `NAME.damaged`, `NAME.damaged.2` and so on up to
/// [`MAX_SET_ASIDE`]; `None` where all are taken, and the file stays where it is.
///
/// # Errors
/// The directory cannot be written to.
pub(super) fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let names = (1..=MAX_SET_ASIDE).map(|number| match number {
        1 => format!("{name}.damaged"),
        number => format!("{name}.damaged.{number}"),
    });
    for name in names {
        let aside = path.with_file_name(name);
        match fs::symlink_metadata(&aside) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::rename(path, &aside)?;
                return Ok(Some(aside));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Removes what writes that were interrupted have left in a directory.
///
/// # Errors
/// The directory cannot be read or written to; one that is not there has nothing.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_temporary =
            name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".new"));
        if is_temporary && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file so that after a crash it has its old content or its new, never a part.
///
/// # Errors
/// The directory cannot be written to.
pub(crate) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = directory.join(format!(".{name}.new"));
    let written = (|| {
        fault::point(Point::File, "before")?;
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(mode);
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fault::point(Point::File, "before rename")?;
        fs::rename(&temporary, path)?;
        fault::point(Point::File, "after rename")?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // The error that matters is the first; what is left of the attempt is harmless.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_as_it_was() {
        for content in ["", "a", "a\n", "\n\n", "sha256:\n", "{\"a\":\n1}"] {
            let sealed = seal(content.as_bytes());
            assert_eq!(unseal(&sealed).unwrap(), content.as_bytes(), "{content:?}");
        }
    }

    #[test]
    fn a_file_cut_off_anywhere_is_damaged() {
        let sealed = seal(b"{\"version\":1,\n\"leases\":[]}");
        for length in 0..sealed.len() {
            assert!(matches!(unseal(&sealed[..length]), Err(Damage::Checksum)), "{length} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_added_byte_is_noticed() {
        let sealed = seal(b"{\"version\":1}");
        for index in 0..sealed.len() {
            for bit in 0..8 {
                let mut rotten = sealed.clone();
                rotten[index] ^= 1 << bit;
                assert!(unseal(&rotten).is_err(), "bit {bit} of byte {index}");
            }
        }
        assert!(unseal(&[&sealed[..], b"\n"].concat()).is_err());
        assert!(unseal(&[b" ", &sealed[..]].concat()).is_err());
        assert!(unseal(&[&sealed[..], &sealed[..]].concat()).is_err());
    }

    #[test]
    fn the_checksum_is_what_sha256sum_prints() {
        // printf 'abc\n' | sha256sum
        let digits = "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb";
        assert_eq!(seal(b"abc"), format!("abc\nsha256:{digits}\n").as_bytes());
    }

    #[test]
    fn files_set_aside_are_numbered_and_bounded() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("leases.json");
        let mut names = vec!["leases.json.damaged".to_owned()];
        names.extend((2..=MAX_SET_ASIDE).map(|number| format!("leases.json.damaged.{number}")));
        for (index, name) in names.iter().enumerate() {
            fs::write(&path, index.to_string()).unwrap();
            assert_eq!(set_aside(&path).unwrap(), Some(root.path().join(name)));
        }
        fs::write(&path, "one more").unwrap();
        assert_eq!(set_aside(&path).unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one more");
        for (index, name) in names.iter().enumerate() {
            let kept = fs::read_to_string(root.path().join(name)).unwrap();
            assert_eq!(kept, index.to_string(), "{name}");
        }
    }

    #[test]
    fn what_an_interrupted_write_left_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for name in [".file.new", "file", "file.new", ".file"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        fs::create_dir(root.path().join(".directory.new")).unwrap();
        remove_unfinished(root.path()).unwrap();
        let names = fs::read_dir(root.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".directory.new", ".file", "file", "file.new"]);
        remove_unfinished(&root.path().join("missing")).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        write_atomically(&path, b"old", 0o600).unwrap();
        // The place of the temporary file is taken by a directory.
        fs::create_dir(root.path().join(".file.new")).unwrap();
        assert!(write_atomically(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
