//! `rootful-net lease export`: the leases as a file.

use clap::Args;
use rootful_net_dbus::LeaseProperties;

use super::file::LeaseFile;
use super::ls::all;
use crate::error::Error;
use crate::output;

/// Print leases as JSON, for a backup or another host
///
/// Exports the caller's leases, for root everybody's.
#[derive(Debug, Args)]
pub(crate) struct Export {}

impl Export {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let leases = all().await?.into_iter().map(LeaseProperties::into_entry).collect();
        Ok(output::json(&LeaseFile::new(leases)))
    }
}
