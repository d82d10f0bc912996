//! `rootful-net network`: what the networks are.

mod inspect;
mod ls;

use clap::{Args, Subcommand};

use crate::error::Error;

/// Show networks
#[derive(Debug, Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Ls),
    Inspect(inspect::Inspect),
}

impl Network {
    pub(crate) async fn run(self) -> Result<String, Error> {
        match self.command {
            Command::Ls(ls) => ls.run().await,
            Command::Inspect(inspect) => inspect.run().await,
        }
    }
}
