//! Generates what is made from the command line's definition: manual pages and shell completions. It is
//! run as `cargo xtask`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use clap_complete::Shell;

#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Writes the manual pages
    Man {
        /// Where to; made if it is not there
        dir: PathBuf,
    },
    /// Writes the completions for every shell
    Completions {
        /// Where to; made if it is not there
        dir: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Man { dir } => man(&dir),
        Task::Completions { dir } => completions(&dir),
    }
}

fn man(dir: &Path) -> anyhow::Result<()> {
    make(dir)?;
    clap_mangen::generate_to(rootful_net::cli::command(), dir)
        .with_context(|| format!("cannot write manual pages to {}", dir.display()))
}

fn completions(dir: &Path) -> anyhow::Result<()> {
    make(dir)?;
    for &shell in Shell::value_variants() {
        clap_complete::generate_to(shell, &mut rootful_net::cli::command(), "rootful-net", dir)
            .with_context(|| {
                format!("cannot write completions for {shell} to {}", dir.display())
            })?;
    }
    Ok(())
}

fn make(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_manual_page_and_every_shell_a_completion() {
        let target = tempfile::tempdir().expect("a temporary directory");
        let dir = target.path().join("made/on/demand");
        man(&dir).expect("manual pages");
        completions(&dir).expect("completions");
        for name in [
            "rootful-net.1",
            "rootful-net-setup.1",
            "rootful-net-network-ls.1",
            "rootful-net.bash",
            "_rootful-net",
        ] {
            assert!(dir.join(name).is_file(), "{name}");
        }
    }
}
