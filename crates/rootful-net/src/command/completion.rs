//! `rootful-net completion`: prints a shell's completion script.

use clap::Args;
use clap_complete::Shell;

use crate::cli;

/// Print the completion script for a shell
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self) -> String {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli::command(), "rootful-net", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}
