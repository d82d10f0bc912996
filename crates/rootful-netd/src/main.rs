//! `rootful-netd`: the privileged service. It takes requests from the system bus, asks core what is to be
//! done and has the kernel crate do it, one change at a time.

mod authority;
mod decision_log;
mod directories;
mod dns;
mod engine;
mod error;
mod fair_queue;
mod fd_store;
mod gate;
mod log;
mod networks;
mod policy_files;
mod polkit;
mod rate;
mod service;
mod store;
mod user_database;
mod watchdog;

use std::process::ExitCode;

use anyhow::Context as _;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("rootful-netd {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    log::start();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "rootful-netd ends");
            eprintln!("rootful-netd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(service::serve())
}
