//! The program `rootful-net-hook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rootful_net_hook::run()
}
