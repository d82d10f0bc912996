//! `rootful-net write-files`: what `setup` runs as root of podman's user namespace, where the container's
//! files are not the caller's own. Not for people.

use std::io;

use clap::Args;

use crate::error::Error;
use crate::resolver::{Files, ResolverError};

/// Write a container's resolver files, described on standard input
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct WriteFiles {
    /// A process in the container
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,
}

impl WriteFiles {
    pub(crate) fn run(self) -> Result<String, Error> {
        let files: Files =
            serde_json::from_reader(io::stdin()).map_err(ResolverError::Description)?;
        files.write_directly(self.pid)?;
        Ok(String::new())
    }
}
