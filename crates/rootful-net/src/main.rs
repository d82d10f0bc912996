//! The program `rootful-net`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rootful_net::run()
}
