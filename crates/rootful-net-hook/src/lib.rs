//! The OCI hook, which podman and its runtime run at three points of a container's life. It reads what they say
//! about the container, and asks the service; it decides nothing itself.
//!
//! The parsers of what they say are public, to be fuzzed.

#![forbid(unsafe_code)]

mod attach;
pub mod config;
mod deadline;
mod detach;
mod error;
mod input;
mod pod;
mod precreate;
mod report;
mod resolver;
mod service;
pub mod state;
pub mod storage;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::deadline::Deadline;
use crate::error::HookError;
use crate::report::Report;

/// What the arguments say: the point in the container's life, and who can show a message to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The container's configuration is made: it gets what it needs to resolve names.
    Precreate,
    /// The container's namespaces are made, and its program does not run yet.
    Attach { podman: Option<u32> },
    /// The container has stopped.
    Detach,
}

/// Runs the program: reads its arguments and does what they say.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(stage) = stage(&arguments) else {
        report::usage();
        return ExitCode::from(2);
    };
    let deadline = Deadline::start();
    match stage {
        Stage::Precreate => {
            ended(Report::to_parent("precreate"), |report| precreate::run(deadline, report))
        }
        Stage::Attach { podman } => {
            ended(Report::to(podman, "attach"), |report| attach::run(deadline, report))
        }
        Stage::Detach => {
            // Whatever happens, the container has stopped, and the service finds that out by itself.
            ended(Report::to(None, "detach"), |report| detach::run(deadline, report));
            ExitCode::SUCCESS
        }
    }
}

fn stage(arguments: &[OsString]) -> Option<Stage> {
    let arguments: Vec<&str> = arguments.iter().map(|text| text.to_str()).collect::<Option<_>>()?;
    match arguments.as_slice() {
        ["precreate"] => Some(Stage::Precreate),
        ["attach"] => Some(Stage::Attach { podman: None }),
        ["attach", podman] => {
            let podman = podman.strip_prefix(config::PODMAN_OPTION)?.parse().ok()?;
            Some(Stage::Attach { podman: Some(podman) })
        }
        ["detach"] => Some(Stage::Detach),
        _ => None,
    }
}

fn ended(mut report: Report, run: impl FnOnce(&mut Report) -> Result<(), HookError>) -> ExitCode {
    match run(&mut report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report.failed(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_is_told_by_the_arguments() {
        let cases: &[(&[&str], Option<Stage>)] = &[
            (&["precreate"], Some(Stage::Precreate)),
            (&["attach"], Some(Stage::Attach { podman: None })),
            (&["attach", "--podman=7"], Some(Stage::Attach { podman: Some(7) })),
            (&["detach"], Some(Stage::Detach)),
            (&[], None),
            (&["attach", "--podman="], None),
            (&["attach", "7"], None),
            (&["attach", "--podman=7", "x"], None),
            (&["poststop"], None),
        ];
        for (arguments, expected) in cases {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(stage(&arguments), *expected, "{arguments:?}");
        }
    }
}
