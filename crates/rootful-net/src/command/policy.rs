//! `rootful-net policy`: what the policy in force says. The service is asked, so that what is shown is what
//! decides.

mod check;
mod show;

use clap::{Args, Subcommand};

use crate::error::Error;

pub(crate) use check::Denied;

/// Explain the policy that is in force
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    Show(show::Show),
}

impl Policy {
    pub(crate) async fn run(self) -> Result<String, Error> {
        match self.command {
            Command::Check(check) => check.run().await,
            Command::Show(show) => show.run().await,
        }
    }
}
