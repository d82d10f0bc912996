//! Runs privileged tests, each on a thread of its own inside a [`Sandbox`].

use std::num::NonZero;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::daemon::{Daemon, LOG_PATH};
use crate::sandbox::Sandbox;

/// How long a test may take, on a busy machine, where its program does not say otherwise.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often it is looked whether a test has ended.
const INTERVAL: Duration = Duration::from_millis(5);

/// One privileged test: its name and what it does inside its sandbox.
pub type Test = (&'static str, fn(&Sandbox) -> anyhow::Result<()>);

/// What a program of tests has.
#[derive(Debug, Default)]
pub struct Suite<'a> {
    /// Those that can run at the same time as others.
    pub tests: Vec<Test>,
    /// Those that measure times, and so run one after the other when the rest is over.
    pub alone: Vec<Test>,
    /// Names of tests that are ignored, each with the reason.
    pub unavailable: &'a [(&'a str, &'a str)],
    /// How long a test may take, where that is longer than usual.
    pub deadline: Option<Duration>,
}

/// Runs tests as `cargo test` would. Without root every one of them is ignored, by name.
pub fn run(suite: Suite<'_>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests wait for packets and for the kernel more than they work.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(2 * processors);
    let privileged = rustix::process::geteuid().is_root();
    if !privileged {
        eprintln!("skipped: these tests make namespaces and need root");
    }
    let Suite { tests, alone, unavailable, deadline } = suite;
    let deadline = deadline.unwrap_or(DEADLINE);
    for (name, reason) in unavailable {
        eprintln!("skipped: {name}: {reason}");
    }
    let trial = |(name, test): Test| {
        let is_unavailable = unavailable.iter().any(|(other, _)| *other == name);
        Trial::test(name, move || in_sandbox(name, test, deadline))
            .with_ignored_flag(!privileged || is_unavailable)
    };
    let trials = |tests: Vec<Test>| tests.into_iter().map(trial).collect();
    let together = libtest_mimic::run(&arguments, trials(tests));
    if alone.is_empty() {
        return together.exit_code();
    }
    arguments.test_threads = Some(1);
    let one_by_one = libtest_mimic::run(&arguments, trials(alone));
    if together.has_failed() { together.exit_code() } else { one_by_one.exit_code() }
}

fn in_sandbox(
    name: &str,
    test: fn(&Sandbox) -> anyhow::Result<()>,
    deadline: Duration,
) -> Result<(), Failed> {
    // A thread of its own: what it unshares ends with it, and the runner's threads stay as they are.
    let thread = std::thread::Builder::new().name(name.to_owned());
    let body = move || {
        let sandbox = Sandbox::enter()?;
        // The log is in the sandbox, too: it must be read before that ends.
        test(&sandbox).map_err(|error| match Daemon::log() {
            Ok(log) => error.context(format!("{LOG_PATH}:\n{log}")),
            Err(_) => error,
        })
    };
    let thread = thread.spawn(body)?;
    let end = Instant::now() + deadline;
    while !thread.is_finished() {
        if Instant::now() > end {
            // Its processes end with this one.
            eprintln!("{name} does not end; nor does anything else from here on");
            std::process::exit(1);
        }
        std::thread::sleep(INTERVAL);
    }
    match thread.join() {
        Ok(result) => result.map_err(|error| Failed::from(format!("{error:?}"))),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
