//! The time that the hook may take in all. A container's start waits for it.

use std::time::{Duration, Instant};

/// How long the hook takes at most. An attach takes milliseconds, starting the service a second.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// When the hook gives up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    end: Instant,
}

impl Deadline {
    pub(crate) fn start() -> Self {
        Self { end: Instant::now() + LIMIT }
    }

    /// What is left of the time; none once it is over.
    pub(crate) fn remaining(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}
