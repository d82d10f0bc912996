//! Tests against the real kernel, each in network and mount namespaces of its own.

mod lan;
mod links;
mod namespace;
mod observe;

use std::process::ExitCode;

fn main() -> ExitCode {
    rootful_net_tests::run([lan::TESTS, links::TESTS, namespace::TESTS, observe::TESTS].concat())
}
