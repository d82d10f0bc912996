//! Random sequences of what users, containers, administrators and accidents do, against a simple model of what should
//! be, with the real daemon and kernel.
//!
//! A sequence that fails is made smaller, and printed as a script: `ROOTFUL_NET_SEQUENCE=FILE` has
//! `random::sequence_from_a_file` replay it.

mod host;
mod model;
mod operation;

use std::cell::Cell;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use rootful_net_tests::Test;
use rootful_net_tests::sandbox::Sandbox;

use host::Host;
use model::Model;
use operation::{Operation, operations};

pub(crate) const TESTS: &[Test] = &[
    ("random::sequences_1", |_| sequences(1)),
    ("random::sequences_2", |_| sequences(2)),
    ("random::sequences_3", |_| sequences(3)),
    ("random::sequences_4", |_| sequences(4)),
    ("random::sequences_of_a_new_seed", |_| {
        let seed = RandomState::new().hash_one(std::process::id());
        println!("seed of random::sequences_of_a_new_seed: {seed}");
        sequences(seed)
    }),
    ("random::sequence_from_a_file", sequence_from_a_file),
    ("random::scripts_are_read_as_they_are_printed", scripts_are_read),
];

/// How many operations there are in one run of all tests at least; docs/reliability.md says so.
const OPERATIONS: usize = 10_000;
/// How many of the tests have a seed.
const SEEDS: usize = 5;
const _: () = assert!(TESTS.len() == SEEDS + 2, "every test but the last two has a seed");
/// For how long smaller sequences are tried.
const SHRINK: Duration = Duration::from_secs(60);

/// Performs sequences until there were as many operations as this seed has to have.
fn sequences(seed: u64) -> Result<()> {
    let started = Instant::now();
    let mut count = 0;
    for number in 0.. {
        count += sequence(seed, number)?;
        if count >= OPERATIONS.div_ceil(SEEDS) {
            break;
        }
    }
    println!("{count} operations in {:?}, seed {seed}", started.elapsed());
    Ok(())
}

/// Performs the sequence of a seed with this number, and answers with how many operations it has.
fn sequence(seed: u64, number: u64) -> Result<usize> {
    let config = Config {
        cases: 1,
        max_shrink_time: u32::try_from(SHRINK.as_millis())?,
        max_shrink_iters: u32::MAX,
        rng_seed: RngSeed::Fixed(seed.wrapping_add(number << 32)),
        failure_persistence: None,
        ..Config::default()
    };
    let count = Cell::new(0);
    let outcome = TestRunner::new(config).run(&operations(), |operations| {
        count.set(operations.len());
        in_new_sandbox(&operations).map_err(|error| TestCaseError::fail(format!("{error:?}")))
    });
    outcome.map_err(|error| match error {
        TestError::Fail(reason, operations) => {
            anyhow!(
                "{reason}\n\nsequence {number} of seed {seed}; this is the smallest script:\n{}",
                script(&operations)
            )
        }
        TestError::Abort(reason) => anyhow!("{reason}"),
    })?;
    Ok(count.get())
}

fn script(operations: &[Operation]) -> String {
    operations.iter().fold(String::new(), |mut text, operation| {
        writeln!(text, "{operation}").expect("a string takes everything");
        text
    })
}

/// Each sequence has a host of its own.
fn in_new_sandbox(operations: &[Operation]) -> Result<()> {
    let body = || perform(&Sandbox::enter()?, operations);
    std::thread::scope(|scope| match scope.spawn(body).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn perform(sandbox: &Sandbox, operations: &[Operation]) -> Result<()> {
    let mut host = Host::start(sandbox)?;
    let mut model = Model::new();
    let outcome = operations
        .iter()
        .enumerate()
        .try_for_each(|(number, operation)| {
            let performed = host.perform(operation, &mut model);
            performed.with_context(|| format!("operation {}: {operation}", number + 1))
        })
        .and_then(|()| host.ensure_like_new(&model).context("at the end"));
    outcome.map_err(|error| error.context(format!("the log:\n{}", Host::log())))
}

fn sequence_from_a_file(sandbox: &Sandbox) -> Result<()> {
    let Some(path) = std::env::var_os("ROOTFUL_NET_SEQUENCE") else {
        println!("random::sequence_from_a_file: no ROOTFUL_NET_SEQUENCE is set");
        return Ok(());
    };
    let text = std::fs::read_to_string(path)?;
    let operations: Vec<_> = text.lines().map(str::parse).collect::<Result<_>>()?;
    perform(sandbox, &operations)
}

fn scripts_are_read(_: &Sandbox) -> Result<()> {
    let config = Config { cases: 50, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&operations(), |operations| {
        let text = script(&operations);
        let read: Result<Vec<Operation>> = text.lines().map(str::parse).collect();
        proptest::prop_assert_eq!(read.expect("the script can be read"), operations);
        Ok(())
    });
    Ok(outcome?)
}
