//! `rootful-net lease`: which name has which address, and how that is carried to another host.

mod export;
mod file;
mod import;
mod ls;

use clap::{Args, Subcommand};

use crate::error::Error;

pub(crate) use import::{ImportError, Skipped};

/// Show, export and import leases: which name has which address
#[derive(Debug, Args)]
pub(crate) struct Lease {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Ls),
    Export(export::Export),
    Import(import::Import),
}

impl Lease {
    pub(crate) async fn run(self) -> Result<String, Error> {
        match self.command {
            Command::Ls(ls) => ls.run().await,
            Command::Export(export) => export.run().await,
            Command::Import(import) => import.run().await,
        }
    }
}
