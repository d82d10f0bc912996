//! Sees every change that anybody makes to the host's nftables, links, addresses and routes.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::namespace::run;
use crate::process::Process;

/// How long a change is waited for that is known to have been made.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the beginning is waited for before it is made again: nobody says when the kernel's notices are taken.
const BEGINNING: Duration = Duration::from_millis(100);

/// The changes since it was made.
#[derive(Debug)]
pub struct Changes {
    _processes: [Process; 2],
    lines: Receiver<String>,
}

/// What makes a change that is told apart from others: a line with `mark` in what both programs print.
struct Mark(String);

impl Mark {
    fn make(&self) -> anyhow::Result<()> {
        let Self(mark) = self;
        run(&format!("nft add table ip {mark}"))?;
        run(&format!("ip link add {mark} type bridge"))?;
        run(&format!("ip link delete {mark}"))?;
        run(&format!("nft delete table ip {mark}"))?;
        Ok(())
    }

    /// Whether it is the last line that one of the programs prints of it: of the link, or of the table.
    fn is_end(&self, line: &str) -> bool {
        let Self(mark) = self;
        line.contains(mark.as_str())
            && (line.starts_with("delete table")
                || line.starts_with("Deleted") && line.contains('<'))
    }
}

impl Changes {
    /// Begins to look.
    ///
    /// # Errors
    /// Where the programs that look cannot be started, or see nothing.
    pub fn watch() -> anyhow::Result<Self> {
        let (sender, lines) = channel();
        let start = |program: &str, arguments: &str| -> anyhow::Result<Process> {
            let mut process = Process::start(program, |command| {
                command.args(arguments.split_whitespace()).stdout(Stdio::piped());
            })?;
            let output = BufReader::new(process.take_stdout()?);
            let sender = sender.clone();
            std::thread::spawn(move || {
                output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
            Ok(process)
        };
        let processes = [
            start("nft", "monitor")?,
            start("ip", "-oneline monitor link address route rule netconf")?,
        ];
        let changes = Self { _processes: processes, lines };
        let end = Instant::now() + DEADLINE;
        for attempt in 0.. {
            let mark = Mark(format!("beginning{attempt}"));
            mark.make()?;
            if changes.until(&mark, BEGINNING).is_ok() {
                return Ok(changes);
            }
            ensure!(Instant::now() < end, "nothing is seen of changes");
        }
        unreachable!("attempts do not run out")
    }

    /// Fails unless nothing was changed until now but what the program `nft` has done.
    ///
    /// # Errors
    /// Says what was changed.
    pub fn ensure_none(&self) -> anyhow::Result<()> {
        let mark = Mark("theend".to_owned());
        mark.make()?;
        let changes = self.until(&mark, DEADLINE)?;
        // Whoever else changes the ruleset, if only to what it was, is named.
        let own = ["beginning", "theend", "(nft)"];
        let changes: Vec<_> = changes
            .into_iter()
            .filter(|line| !line.trim().is_empty() && !own.iter().any(|own| line.contains(own)))
            .collect();
        ensure!(changes.is_empty(), "{changes:#?}");
        Ok(())
    }

    /// What was changed up to the mark, which both programs have to see.
    fn until(&self, mark: &Mark, deadline: Duration) -> anyhow::Result<Vec<String>> {
        let end = Instant::now() + deadline;
        let mut changes = Vec::new();
        let mut seen = 0;
        while seen < self._processes.len() {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.with_context(|| format!("{} is not seen: {changes:#?}", mark.0))?;
            seen += usize::from(mark.is_end(&line));
            changes.push(line);
        }
        Ok(changes)
    }
}
