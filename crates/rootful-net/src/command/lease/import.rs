//! `rootful-net lease import`: leases of a file taken over.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rootful_net_dbus::{Dictionary, MAX_IMPORTED_LEASES, SkippedLeaseProperties};

use super::file::{FormatError, LeaseFile};
use crate::error::{Error, Exit};
use crate::output;
use crate::service::Service;

/// Take over leases that were exported
///
/// Nobody who has an address or a lease of it loses it: such a lease is skipped, and so is one that no network here
/// has room for. Prints what was skipped and why; exit code 5 where that is anything. For root, and whoever polkit
/// lets manage.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file; '-' for standard input
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

/// Why a file is not imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot import {}", path.display())]
    Format { path: PathBuf, source: FormatError },
}

impl ImportError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Exit::NotFound,
                io::ErrorKind::PermissionDenied => Exit::Denied,
                _ => Exit::Failed,
            },
            Self::Format { .. } => Exit::Usage,
        }
    }
}

/// Some leases were not taken over.
#[derive(Debug, thiserror::Error)]
#[error("{skipped} of {all} leases were skipped")]
pub(crate) struct Skipped {
    skipped: usize,
    all: usize,
    /// Which, and why.
    pub(crate) output: String,
}

impl Import {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let text = read(&self.path).map_err(|source| {
            let path = self.path.clone();
            ImportError::Read { path, source }
        })?;
        let leases = LeaseFile::read(&text)
            .map_err(|source| ImportError::Format { path: self.path, source })?;
        let service = Service::connect().await?;
        let manager = service.manager().await?;
        let options = Dictionary::new();
        let mut skipped = Vec::new();
        for part in leases.chunks(MAX_IMPORTED_LEASES) {
            let import = async || manager.import_leases(part, &options).await;
            skipped.extend(service.call(import).await?);
        }
        match skipped.len() {
            0 => Ok(String::new()),
            count => {
                let output = table(&skipped);
                Err(Skipped { skipped: count, all: leases.len(), output }.into())
            }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    if path == "-" {
        let mut text = String::new();
        return io::stdin().read_to_string(&mut text).map(|_| text);
    }
    std::fs::read_to_string(path)
}

fn table(skipped: &[SkippedLeaseProperties]) -> String {
    let rows: Vec<_> = skipped
        .iter()
        .map(|lease| {
            [
                lease.network.clone(),
                lease.address.clone(),
                lease.owner.to_string(),
                lease.name.clone(),
                lease.reason.clone(),
            ]
        })
        .collect();
    output::table(["NETWORK", "ADDRESS", "USER", "NAME", "SKIPPED BECAUSE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_refused_with_its_exit_code() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("leases");
        let error = |source: io::Error| ImportError::Read { path: path.clone(), source }.exit();
        assert_eq!(error(read(&path).unwrap_err()), Exit::NotFound);
        assert_eq!(error(read(root.path()).unwrap_err()), Exit::Failed);
        let source = LeaseFile::read("").unwrap_err();
        assert_eq!(ImportError::Format { path, source }.exit(), Exit::Usage);
    }

    #[test]
    fn a_line_says_why_a_lease_was_skipped() {
        let skipped = SkippedLeaseProperties {
            network: "lab".to_owned(),
            address: "10.9.0.7".to_owned(),
            owner: 1000,
            name: "web".to_owned(),
            reason: "there is no such network".to_owned(),
        };
        let expected = "\
NETWORK  ADDRESS   USER  NAME  SKIPPED BECAUSE
lab      10.9.0.7  1000  web   there is no such network
";
        assert_eq!(table(&[skipped]), expected);
    }
}
