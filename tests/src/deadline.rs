//! Waits for conditions, never for a time.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How often it is looked.
const CHECK: Duration = Duration::from_millis(5);

/// Waits until `check` succeeds, and returns what it gives.
///
/// # Errors
/// Its last error where it does not succeed within `deadline`.
pub fn eventually<T>(
    deadline: Duration,
    mut check: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("not within {deadline:?}"));
            }
            Err(_) => std::thread::sleep(CHECK),
        }
    }
}
