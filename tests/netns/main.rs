//! Tests against the real kernel, each in network and mount namespaces of its own.

mod attaching;
mod bridged;
mod bridges;
mod conntrack;
mod daemon;
mod daemon_traffic;
mod failures;
mod forwarding;
mod lan;
mod links;
mod listeners;
mod namespace;
mod observe;
mod ruleset;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        bridges::TESTS,
        conntrack::TESTS,
        daemon_traffic::TESTS,
        failures::TESTS,
        forwarding::TESTS,
        lan::TESTS,
        links::TESTS,
        listeners::TESTS,
        namespace::TESTS,
        observe::TESTS,
        ruleset::TESTS,
    ];
    rootful_net_tests::run_available(tests.concat(), &daemon_traffic::unavailable())
}
