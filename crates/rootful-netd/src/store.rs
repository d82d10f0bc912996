//! What is kept on disk: the address key, the leases and one record an attachment. Files are written whole
//! or not at all; what they mean is core's business.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rootful_net_core::attachment::{Attachment, AttachmentId};
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::Leases;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::directories::{RUNTIME_DIR, STATE_DIR};

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Its plan is being carried out.
    Pending,
    /// Its plan is done.
    Live,
}

/// What is recorded of an attachment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The version of the record's form.
    version: u32,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// The attachment.
    pub(crate) attachment: Attachment,
}

const RECORD_VERSION: u32 = 1;

/// Says what cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(crate) struct StoreError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The directories of the service.
#[derive(Debug)]
pub(crate) struct Store {
    attachment_dir: PathBuf,
    lease_path: PathBuf,
    key_path: PathBuf,
}

impl Store {
    /// Opens the store, with directories that only root can look into.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub(crate) fn open() -> Result<Self, StoreError> {
        Self::open_in(Path::new(RUNTIME_DIR), Path::new(STATE_DIR))
    }

    fn open_in(runtime_dir: &Path, state_dir: &Path) -> Result<Self, StoreError> {
        let attachment_dir = runtime_dir.join("attachments");
        for path in [&attachment_dir, &state_dir.join("networks")] {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| {
                StoreError { action: "make directory", path: path.clone(), source }
            })?;
        }
        Ok(Self {
            attachment_dir,
            lease_path: state_dir.join("leases.json"),
            key_path: state_dir.join("address.key"),
        })
    }

    /// The key: the systemd credential `address-key`, else the one made at the first start.
    ///
    /// # Errors
    /// It cannot be read or made, or has not 32 bytes.
    pub(crate) fn address_key(&self) -> Result<AddressKey, StoreError> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let credential =
            credentials.map(|dir| dir.join("address-key")).filter(|path| path.exists());
        let path = credential.unwrap_or_else(|| self.key_path.clone());
        match fs::read(&path).map(Zeroizing::new) {
            Ok(bytes) => AddressKey::try_from(bytes.as_slice()).map_err(|error| StoreError {
                action: "use",
                path,
                source: io::Error::new(io::ErrorKind::InvalidData, error),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_key(),
            Err(source) => Err(StoreError { action: "read", path, source }),
        }
    }

    fn make_key(&self) -> Result<AddressKey, StoreError> {
        let failed = |source| StoreError { action: "make", path: self.key_path.clone(), source };
        let mut bytes = Zeroizing::new([0; AddressKey::BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| failed(error.into()))?;
        write_atomically(&self.key_path, bytes.as_slice(), 0o600).map_err(failed)?;
        tracing::info!(path = %self.key_path.display(), "address key made");
        Ok(AddressKey::from_bytes(*bytes))
    }

    /// The leases; none where there is no file.
    ///
    /// # Errors
    /// The file cannot be read or is not one of leases.
    pub(crate) fn leases(&self) -> Result<Leases, StoreError> {
        let path = || self.lease_path.clone();
        match fs::read(&self.lease_path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| StoreError {
                action: "use",
                path: path(),
                source: error.into(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Leases::default()),
            Err(source) => Err(StoreError { action: "read", path: path(), source }),
        }
    }

    /// Keeps the leases.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep_leases(&self, leases: &Leases) -> Result<(), StoreError> {
        let text = serde_json::to_vec(leases).expect("leases have a JSON form");
        write_atomically(&self.lease_path, &text, 0o600).map_err(|source| StoreError {
            action: "write",
            path: self.lease_path.clone(),
            source,
        })
    }

    /// Records an attachment.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn record(&self, attachment: &Attachment, phase: Phase) -> Result<(), StoreError> {
        let record = Record { version: RECORD_VERSION, phase, attachment: attachment.clone() };
        let text = serde_json::to_vec(&record).expect("records have a JSON form");
        let path = self.record_path(attachment.id());
        write_atomically(&path, &text, 0o600).map_err(|source| StoreError {
            action: "write",
            path,
            source,
        })
    }

    /// Forgets an attachment; it may be unrecorded already.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(crate) fn forget(&self, id: &AttachmentId) -> Result<(), StoreError> {
        let path = self.record_path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(StoreError { action: "remove", path, source }),
            Ok(()) => Ok(()),
        }
    }

    /// All records. A damaged one is set aside under another name, with a log record.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn records(&self) -> Result<Vec<Record>, StoreError> {
        let failed =
            |source| StoreError { action: "read", path: self.attachment_dir.clone(), source };
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.attachment_dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read_record(&path) {
                Ok(record) => records.push(record),
                Err(error) => {
                    let aside = path.with_extension("damaged");
                    let path = path.display();
                    tracing::error!(%path, %error, "damaged record set aside");
                    fs::rename(path.to_string(), aside).map_err(failed)?;
                }
            }
        }
        Ok(records)
    }

    fn record_path(&self, id: &AttachmentId) -> PathBuf {
        self.attachment_dir.join(format!("{id}.json"))
    }
}

fn read_record(path: &Path) -> anyhow::Result<Record> {
    let record: Record = serde_json::from_slice(&fs::read(path)?)?;
    let version = record.version;
    anyhow::ensure!(version == RECORD_VERSION, "version {version} is unknown");
    Ok(record)
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
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(mode);
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // The error that matters is the first; what is left of the attempt is harmless.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests;
