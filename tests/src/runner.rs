//! Runs privileged tests, each on a thread of its own inside a [`Sandbox`].

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::sandbox::Sandbox;

/// One privileged test: its name and what it does inside its sandbox.
pub type Test = (&'static str, fn(&Sandbox) -> anyhow::Result<()>);

/// Runs `tests` as `cargo test` would, in parallel. Without root every one of them is ignored, by name.
pub fn run(tests: Vec<Test>) -> ExitCode {
    let arguments = Arguments::from_args();
    let privileged = rustix::process::geteuid().is_root();
    if !privileged {
        eprintln!("skipped: these tests make namespaces and need root");
    }
    let trial = |(name, test): Test| {
        Trial::test(name, move || in_sandbox(name, test)).with_ignored_flag(!privileged)
    };
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code()
}

fn in_sandbox(name: &str, test: fn(&Sandbox) -> anyhow::Result<()>) -> Result<(), Failed> {
    // A thread of its own: what it unshares ends with it, and the runner's threads stay as they are.
    let thread = std::thread::Builder::new().name(name.to_owned());
    let body = move || test(&Sandbox::enter()?);
    let outcome = thread.spawn(body)?.join();
    match outcome {
        Ok(result) => result.map_err(|error| Failed::from(format!("{error:?}"))),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
