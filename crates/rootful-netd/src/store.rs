//! What is kept on disk: the address key, the leases, one record an attachment, the definitions of networks in
//! use and the ruleset's mark. All but the key are sealed with a checksum; what they mean is core's business.

mod record;
mod sealed;

use std::borrow::Cow;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rootful_net_core::attachment::AttachmentId;
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::Leases;
use rootful_net_core::name::NetworkName;
use rootful_net_core::network::Network;
use rootful_net_kernel::fault::{self, Point};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::directories::{RUNTIME_DIR, STATE_DIR};
use crate::error::chain;
use sealed::Damage;

pub(crate) use record::{Phase, Record};
pub(crate) use sealed::write_atomically;

/// Says what cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(crate) struct StoreError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The leases as they are on disk.
#[derive(Debug, Serialize, Deserialize)]
struct LeaseFile<'a> {
    version: u32,
    leases: Cow<'a, Leases>,
}

const LEASE_FILE_VERSION: u32 = 1;

/// What it means that a file is damaged, for the log.
struct Loss {
    what: &'static str,
    consequence: &'static str,
}

const LOST_LEASES: Loss = Loss {
    what: "damaged leases set aside",
    consequence: "only what is attached keeps its address for certain; other names get the one that is derived for them, unless another name has it: import a backup with 'rootful-net lease import'",
};

const LOST_RECORD: Loss = Loss {
    what: "damaged record set aside",
    consequence: "one container is not attached any more: set it up again, or start it again",
};

const LOST_NETWORK: Loss = Loss {
    what: "damaged definition of a network set aside",
    consequence: "the network is what its file says now, also for containers that were attached before the file was changed: start those again",
};

const LOST_MARK: Loss =
    Loss { what: "damaged mark of the ruleset set aside", consequence: "the ruleset is made anew" };

/// The directories of the service.
#[derive(Debug)]
pub(crate) struct Store {
    attachment_dir: PathBuf,
    network_dir: PathBuf,
    mark_path: PathBuf,
    lease_path: PathBuf,
    key_path: PathBuf,
}

impl Store {
    /// Opens the store, with directories that only root can look into.
    ///
    /// # Errors
    /// A directory for what does not outlive a reboot cannot be made.
    pub(crate) fn open() -> Result<Self, StoreError> {
        Self::open_in(Path::new(RUNTIME_DIR), Path::new(STATE_DIR))
    }

    fn open_in(runtime_dir: &Path, state_dir: &Path) -> Result<Self, StoreError> {
        let attachment_dir = runtime_dir.join("attachments");
        let network_dir = runtime_dir.join("networks");
        make_directory(&attachment_dir)?;
        make_directory(&network_dir)?;
        // What is there can be used, whatever cannot be written: whether there is a key decides.
        if let Err(error) = make_directory(&state_dir.join("networks")) {
            tracing::error!(error = chain(&error), "leases and networks cannot be kept");
        }
        let state_network_dir = state_dir.join("networks");
        let written_dirs =
            [runtime_dir, &attachment_dir, &network_dir, state_dir, &state_network_dir];
        for directory in written_dirs {
            if let Err(error) = sealed::remove_unfinished(directory) {
                let path = directory.display();
                tracing::warn!(%path, %error, "what interrupted writes left stays there");
            }
        }
        Ok(Self {
            attachment_dir,
            network_dir,
            mark_path: runtime_dir.join("ruleset"),
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
                source: io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "{error}; put the key back from a backup, or remove the file: then another key is made, and names without a lease get other addresses than before"
                    ),
                ),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_key(),
            Err(source) => Err(StoreError { action: "read", path, source }),
        }
    }

    fn make_key(&self) -> Result<AddressKey, StoreError> {
        let _scope = fault::scope("write key");
        let failed = |source| StoreError { action: "make", path: self.key_path.clone(), source };
        let mut bytes = Zeroizing::new([0; AddressKey::BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| failed(error.into()))?;
        write_atomically(&self.key_path, bytes.as_slice(), 0o600).map_err(failed)?;
        let path = self.key_path.display();
        if self.lease_path.exists() {
            tracing::error!(
                %path,
                "the address key was missing and is made anew: names with a lease keep their address, others and all MAC addresses are not what they were; put the old key back from a backup before containers are started"
            );
        } else {
            tracing::info!(%path, "address key made");
        }
        Ok(AddressKey::from_bytes(*bytes))
    }

    /// The leases; none where there is no file. A damaged one is set aside, with a log record.
    pub(crate) fn leases(&self) -> Leases {
        let leases = read_or_set_aside(&self.lease_path, &LOST_LEASES, |content| {
            let LeaseFile { version, leases } = parse_json(content)?;
            check_version(version, LEASE_FILE_VERSION)?;
            Ok(leases.into_owned())
        });
        leases.unwrap_or_default()
    }

    /// Keeps the leases.
    ///
    /// # Errors
    /// The file cannot be written; it is as it was then.
    pub(crate) fn keep_leases(&self, leases: &Leases) -> Result<(), StoreError> {
        let _scope = fault::scope("write leases");
        let file = LeaseFile { version: LEASE_FILE_VERSION, leases: Cow::Borrowed(leases) };
        let text = serde_json::to_vec(&file).expect("leases have a JSON form");
        write(&self.lease_path, &text)
    }

    /// Records an attachment, in the place of what was recorded of it.
    ///
    /// # Errors
    /// The file cannot be written; what was recorded is as it was then.
    pub(crate) fn record(&self, record: &Record) -> Result<(), StoreError> {
        let _scope = fault::scope(match record.phase {
            Phase::Pending => "record pending",
            Phase::Settling => "record settling",
            Phase::Live => "record live",
            Phase::Ending => "record ending",
        });
        let text = serde_json::to_vec(record).expect("records have a JSON form");
        write(&self.record_path(record.attachment.id()), &text)
    }

    /// Forgets an attachment; it may be unrecorded already.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(crate) fn forget(&self, id: &AttachmentId) -> Result<(), StoreError> {
        let _scope = fault::scope("remove record");
        remove(&self.record_path(id))
    }

    /// All records. A damaged one is set aside under another name, with a log record.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn records(&self) -> Result<Vec<Record>, StoreError> {
        let read = |path: &PathBuf| {
            read_or_set_aside(path, &LOST_RECORD, |content| {
                let record: Record = parse_json(content)?;
                check_version(record.version(), Record::VERSION)?;
                check_name(path, record.attachment.id().as_str())?;
                Ok(record)
            })
        };
        Ok(json_files(&self.attachment_dir)?.iter().filter_map(read).collect())
    }

    /// Keeps the definition of a network in use.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep_network(&self, network: &Network) -> Result<(), StoreError> {
        let _scope = fault::scope("write network");
        write(&self.network_path(network.name()), network.to_json().as_bytes())
    }

    /// Forgets the definition of a network that is not in use any more; it may be unknown already.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(crate) fn forget_network(&self, name: &NetworkName) -> Result<(), StoreError> {
        let _scope = fault::scope("remove network");
        remove(&self.network_path(name))
    }

    /// The definitions of networks in use. A damaged one is set aside, with a log record.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn kept_networks(&self) -> Result<Vec<Network>, StoreError> {
        let read = |path: &PathBuf| {
            read_or_set_aside(path, &LOST_NETWORK, |content| {
                let network: Network = parse_json(content)?;
                check_name(path, network.name().as_str())?;
                Ok(network)
            })
        };
        Ok(json_files(&self.network_dir)?.iter().filter_map(read).collect())
    }

    /// Keeps the mark of the ruleset: a text that is the engine's business.
    ///
    /// # Errors
    /// The file cannot be written; it is as it was then.
    pub(crate) fn keep_mark(&self, mark: &str) -> Result<(), StoreError> {
        let _scope = fault::scope("write mark");
        write(&self.mark_path, mark.as_bytes())
    }

    /// The mark of the ruleset, if there is one. A damaged one is set aside, with a log record.
    pub(crate) fn mark(&self) -> Option<String> {
        read_or_set_aside(&self.mark_path, &LOST_MARK, |content| {
            String::from_utf8(content.to_vec()).map_err(|error| Damage::Content(error.to_string()))
        })
    }

    fn record_path(&self, id: &AttachmentId) -> PathBuf {
        self.attachment_dir.join(format!("{id}.json"))
    }

    fn network_path(&self, name: &NetworkName) -> PathBuf {
        self.network_dir.join(format!("{name}.json"))
    }
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StoreError { action: "make directory", path: path.to_owned(), source })
}

/// The files of a directory whose names end in `.json`.
fn json_files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError { action: "read", path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let written = sealed::write(path, content);
    written.map_err(|source| StoreError { action: "write", path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = fault::point(Point::File, "before").and_then(|()| fs::remove_file(path));
    let removed = match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError { action: "remove", path: path.to_owned(), source }),
        Ok(()) => Ok(()),
    };
    fault::passage("after");
    removed
}

fn read_or_set_aside<T>(
    path: &Path,
    loss: &Loss,
    parse: impl FnOnce(&[u8]) -> Result<T, Damage>,
) -> Option<T> {
    let damage = match sealed::read(path) {
        Ok(None) => return None,
        Ok(Some(content)) => match parse(&content) {
            Ok(value) => return Some(value),
            Err(damage) => damage,
        },
        Err(damage) => damage,
    };
    let kept_as = match sealed::set_aside(path) {
        Ok(Some(aside)) => aside.display().to_string(),
        Ok(None) => format!(
            "{}, until it is written anew: {} damaged ones are kept already, remove some",
            path.display(),
            sealed::MAX_SET_ASIDE
        ),
        Err(error) => format!("{}, until it is written anew: {error}", path.display()),
    };
    let (path, error, consequence) = (path.display(), chain(&damage), loss.consequence);
    tracing::error!(%path, kept_as, error, consequence, "{}", loss.what);
    None
}

fn parse_json<T: for<'a> Deserialize<'a>>(content: &[u8]) -> Result<T, Damage> {
    serde_json::from_slice(content).map_err(|error| Damage::Content(error.to_string()))
}

fn check_version(found: u32, accepted: u32) -> Result<(), Damage> {
    if found == accepted {
        return Ok(());
    }
    Err(Damage::Content(format!("version {found} is unknown (accepted: {accepted})")))
}

/// Whether the file is named for what it holds.
fn check_name(path: &Path, name: &str) -> Result<(), Damage> {
    if path.file_stem().is_some_and(|stem| stem == name) {
        return Ok(());
    }
    Err(Damage::Content(format!("it is about \"{name}\"")))
}

#[cfg(test)]
mod tests;
