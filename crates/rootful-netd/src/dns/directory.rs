//! The directory of the name server's records.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rootful_net_core::dns::PID_FILE;

use super::Records;

/// Where the name server's process id really is: the unit's `RuntimeDirectory=`. The name server writes it
/// into the directory of its records, but that is not its to write to.
const PID_PATH: &str = "/run/rootful-net-dns/aardvark.pid";

/// Says what cannot be done to the records.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(super) struct DirectoryError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The records, as files that everybody may read and only root may write.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Where a file is written before it gets its name: what is in the directory is read as a record.
    temporary_path: PathBuf,
}

impl Directory {
    pub(super) fn new(runtime_dir: &Path) -> Self {
        Self { path: runtime_dir.join("dns"), temporary_path: runtime_dir.join(".dns.new") }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Makes the files what `records` says; answers whether that changed anything.
    ///
    /// # Errors
    /// A file cannot be written or removed.
    pub(super) fn write(&self, records: &Records) -> Result<bool, DirectoryError> {
        self.make()?;
        let mut changed = false;
        for (name, text) in records {
            let path = self.path.join(name);
            if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
                continue;
            }
            self.replace(&path, text).map_err(failed("write", &path))?;
            changed = true;
        }
        for path in self.entries()? {
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| name == PID_FILE || records.contains_key(name)) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Removes the directory with all files.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub(super) fn remove(&self) -> Result<(), DirectoryError> {
        fs::remove_dir_all(&self.path).map_err(failed("remove", &self.path))
    }

    fn make(&self) -> Result<(), DirectoryError> {
        if self.exists() {
            return Ok(());
        }
        let path = &self.path;
        fs::create_dir(path).map_err(failed("make directory", path))?;
        // Whatever the umask: another user reads here.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .map_err(failed("open to its readers", path))?;
        let pid_path = path.join(PID_FILE);
        symlink(PID_PATH, &pid_path).map_err(failed("make", &pid_path))
    }

    /// A reader finds the old text or the new; after a crash of the machine there are no readers.
    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        fs::write(&self.temporary_path, text)?;
        fs::set_permissions(&self.temporary_path, fs::Permissions::from_mode(0o644))?;
        fs::rename(&self.temporary_path, path)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, DirectoryError> {
        let entries = fs::read_dir(&self.path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        entries.map_err(failed("read", &self.path))
    }
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> DirectoryError + use<'a> {
    move |source| DirectoryError { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(list: &[(&str, &str)]) -> Records {
        list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn files_become_what_the_records_say_and_only_a_change_is_one() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(root.path());
        assert!(!directory.exists());
        assert!(directory.write(&records(&[("a", "1\n"), ("b%int", "2\n")])).unwrap());
        assert!(!directory.write(&records(&[("a", "1\n"), ("b%int", "2\n")])).unwrap());
        assert!(directory.write(&records(&[("a", "3\n")])).unwrap());
        let mut names: Vec<_> = fs::read_dir(root.path().join("dns"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a", PID_FILE]);
        assert_eq!(fs::read_to_string(root.path().join("dns/a")).unwrap(), "3\n");
        let mode = fs::metadata(root.path().join("dns/a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        directory.remove().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
