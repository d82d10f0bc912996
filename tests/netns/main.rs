//! Tests against the real kernel, each in network and mount namespaces of its own.

mod abuse_limits;
mod abuse_policy;
mod abuse_waiting;
mod attaching;
mod bridged;
mod bridges;
mod concurrency;
mod conntrack;
mod contents;
mod crash_points;
mod daemon;
mod daemon_clients;
mod daemon_conflicts;
mod daemon_contract;
mod daemon_create_network;
mod daemon_disks;
mod daemon_leases;
mod daemon_namespaces;
mod daemon_networks;
mod daemon_persistence;
mod daemon_requests;
mod daemon_traffic;
mod documented;
mod events;
mod failing_steps;
mod failures;
mod flow;
mod forwarding;
mod guard_frames;
mod guard_tricks;
mod guarded;
mod lan;
mod links;
mod listeners;
mod namespace;
mod observe;
mod picture;
mod random;
mod repair_times;
mod reservations;
mod ruleset;
mod stage;
mod stopping;

use std::process::ExitCode;

use rootful_net_tests::Suite;

fn main() -> ExitCode {
    let tests = [
        // The longest first, so that none of them is left alone in the end.
        failing_steps::TESTS,
        random::TESTS,
        crash_points::TESTS,
        abuse_limits::TESTS,
        abuse_policy::TESTS,
        abuse_waiting::TESTS,
        bridges::TESTS,
        concurrency::TESTS,
        conntrack::TESTS,
        contents::TESTS,
        daemon_clients::TESTS,
        daemon_conflicts::TESTS,
        daemon_contract::TESTS,
        &daemon_create_network::tests(),
        daemon_disks::TESTS,
        daemon_leases::TESTS,
        daemon_namespaces::TESTS,
        daemon_networks::TESTS,
        daemon_persistence::TESTS,
        daemon_requests::TESTS,
        daemon_traffic::TESTS,
        events::TESTS,
        failures::TESTS,
        forwarding::TESTS,
        &guard_frames::tests(),
        &guard_tricks::tests(),
        lan::TESTS,
        links::TESTS,
        listeners::TESTS,
        namespace::TESTS,
        observe::TESTS,
        &reservations::tests(),
        ruleset::TESTS,
        stopping::TESTS,
    ];
    let unavailable = [daemon_traffic::unavailable(), guard_tricks::unavailable()];
    rootful_net_tests::run(Suite {
        tests: tests.concat(),
        alone: [abuse_limits::FLOODS, repair_times::TESTS].concat(),
        unavailable: &unavailable.concat(),
        ..Suite::default()
    })
}
