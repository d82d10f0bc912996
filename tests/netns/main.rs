//! Tests against the real kernel, each in network and mount namespaces of its own.

mod attaching;
mod bridges;
mod failures;
mod lan;
mod links;
mod namespace;
mod observe;

use std::process::ExitCode;

fn main() -> ExitCode {
    rootful_net_tests::run([bridges::TESTS, failures::TESTS, lan::TESTS, links::TESTS, namespace::TESTS, observe::TESTS].concat())
}
