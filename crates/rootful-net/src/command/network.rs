//! `rootful-net network`: what the networks are, and which there are.

mod create;
mod inspect;
mod ls;
mod rm;

use clap::{Args, Subcommand};

use crate::error::Error;

pub(crate) use create::WithoutSubnet;
pub(crate) use rm::Stayed;

/// Show, make and remove networks
#[derive(Debug, Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Ls),
    Inspect(inspect::Inspect),
    Create(Box<create::Create>),
    Rm(rm::Rm),
}

impl Network {
    pub(crate) async fn run(self) -> Result<String, Error> {
        match self.command {
            Command::Ls(ls) => ls.run().await,
            Command::Inspect(inspect) => inspect.run().await,
            Command::Create(create) => create.run().await,
            Command::Rm(rm) => rm.run().await,
        }
    }
}
