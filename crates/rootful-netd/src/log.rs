//! Where log records go: to the journal with their fields when systemd started the service, else to
//! standard error.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sets the log up for the rest of the process's life.
pub(crate) fn start() {
    // JOURNAL_STREAM is set by systemd where standard error leads to the journal.
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let to_stderr = journal.is_none();
    let stderr = to_stderr
        .then(|| tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time());
    tracing_subscriber::registry().with(LevelFilter::INFO).with(journal).with(stderr).init();
}
