//! The subcommands: each is a file with its arguments and what it does, and returns the text that it prints.

pub(crate) mod completion;
pub(crate) mod doctor;
pub(crate) mod inspect;
pub(crate) mod lease;
pub(crate) mod network;
pub(crate) mod policy;
pub(crate) mod port;
pub(crate) mod ps;
pub(crate) mod setup;
pub(crate) mod teardown;
pub(crate) mod write_files;

use clap::Subcommand;

use crate::error::Error;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Setup(setup::Setup),
    Teardown(teardown::Teardown),
    Ps(ps::Ps),
    Inspect(inspect::Inspect),
    Port(port::Port),
    Network(network::Network),
    Lease(lease::Lease),
    Policy(policy::Policy),
    Doctor(doctor::Doctor),
    Completion(completion::Completion),
    WriteFiles(write_files::WriteFiles),
}

impl Command {
    pub(crate) async fn run(self) -> Result<String, Error> {
        match self {
            Self::Setup(setup) => setup.run().await,
            Self::Teardown(teardown) => teardown.run().await,
            Self::Ps(ps) => ps.run().await,
            Self::Inspect(inspect) => inspect.run().await,
            Self::Port(port) => port.run().await,
            Self::Network(network) => network.run().await,
            Self::Lease(lease) => lease.run().await,
            Self::Policy(policy) => policy.run().await,
            Self::Doctor(doctor) => doctor.run().await,
            Self::Completion(completion) => Ok(completion.run()),
            Self::WriteFiles(write_files) => write_files.run(),
        }
    }
}
