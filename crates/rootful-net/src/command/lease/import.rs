//! `rootful-net lease import`: leases of a file taken over.

use std::path::{Path, PathBuf};

use clap::Args;
use rootful_net_dbus::{Dictionary, LeaseEntry, MAX_IMPORTED_LEASES, SkippedLeaseProperties};

use super::file::{FormatError, LeaseFile};
use crate::error::Error;
use crate::named_file;
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

/// A file does not hold leases.
#[derive(Debug, thiserror::Error)]
#[error("cannot import {}", path.display())]
pub(crate) struct ImportError {
    path: PathBuf,
    source: FormatError,
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
        let leases = leases(&self.path)?;
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

/// The leases in a file, in the order of use.
fn leases(path: &Path) -> Result<Vec<LeaseEntry>, Error> {
    let text = named_file::read_text(path)?;
    let leases = LeaseFile::read(&text);
    Ok(leases.map_err(|source| ImportError { path: path.to_owned(), source })?)
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
    use std::fs;

    use super::*;
    use crate::error::Exit;

    #[test]
    fn a_file_is_refused_with_its_exit_code() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("leases");
        let exit = |path: &Path| leases(path).unwrap_err().exit();
        assert_eq!(exit(&path), Exit::NotFound);
        assert_eq!(exit(root.path()), Exit::Failed);
        fs::write(&path, "").unwrap();
        assert_eq!(exit(&path), Exit::Usage);
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(exit(&path), Exit::Failed);
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
