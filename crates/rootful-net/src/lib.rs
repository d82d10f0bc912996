//! The command line of rootful-net, an unprivileged client of the service. It finds containers, opens their
//! namespaces with the caller's own rights and prints; what is allowed and how it is done, the service says.

#![forbid(unsafe_code)]

mod attached;
mod cidfile;
pub mod cli;
mod command;
mod error;
mod named_file;
mod namespace;
mod output;
mod podman;
mod ports;
mod resolver;
mod service;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::error::{Error, Exit};

/// Runs the program: reads its arguments, does what they say and prints the result.
pub fn run() -> ExitCode {
    let exit = match run_command(Cli::parse()).and_then(|text| print(&text)) {
        Ok(()) => Exit::Done,
        Err(error) => {
            // What cannot be printed changes nothing about the error.
            let _ = print(error.output());
            output::error(&error);
            error.exit()
        }
    };
    ExitCode::from(exit.code())
}

fn run_command(cli: Cli) -> Result<String, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(cli.command.run())
}

fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::Output),
    }
}
