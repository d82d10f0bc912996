//! The record of every decision: one a request, granted or not. What callers chose appears in it escaped and
//! cut off, and whoever causes too many of them gets the rest counted instead of written.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rootful_net_core::name::escaped;
use rootful_net_dbus::{AttachMessage, Error};
use zbus::DBusError as _;

use crate::fair_queue::Line;
use crate::rate::{Bucket, Rate};

/// The most characters of a list, or of a reason.
const MAX_CHARS: usize = 512;
/// How often it is said how many records were left out.
pub(crate) const SUMMARY: Duration = Duration::from_secs(10);

/// In records.
const GRANTED: Rate = Rate { at_once: 500.0, per_second: 20.0 };
const REFUSED: Rate = Rate { at_once: 20.0, per_second: 1.0 };

static QUOTAS: LazyLock<Mutex<HashMap<(Line, bool), Quota>>> = LazyLock::new(Mutex::default);

/// How many records somebody may cause, and how many were left out since that was told last.
#[derive(Debug)]
struct Quota {
    bucket: Bucket,
    left_out: u64,
}

impl Quota {
    fn of(is_granted: bool, now: Instant) -> Self {
        let rate = if is_granted { GRANTED } else { REFUSED };
        Self { bucket: Bucket::full(rate, now), left_out: 0 }
    }

    /// Whether one more may be written, and how many were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.bucket.take(1.0, now) {
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out += 1;
        None
    }
}

/// What was asked for, and which grants decided, made safe for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    container: String,
    container_id: String,
    networks: String,
    ports: String,
    grant: String,
}

impl Asked {
    /// What a message asks for, whether it is well formed or not.
    pub(crate) fn of(message: &AttachMessage) -> Self {
        Self {
            container: bounded(&message.name),
            container_id: bounded(&message.container_id),
            networks: bounded_list(&message.networks),
            ports: bounded_list(&message.publish),
            grant: String::new(),
        }
    }

    /// The same, with the sources of the grants that decided; root has none, and what no grant speaks of has none.
    pub(crate) fn decided_by(self, grants: &[String]) -> Self {
        Self { grant: bounded(&grants.join("; ")), ..self }
    }

    /// What is to be done with a container of this name, and with nothing else.
    pub(crate) fn container(name: &str) -> Self {
        Self { container: bounded(name), ..Self::default() }
    }
}

/// Writes the record of a decision, and gives its outcome back.
pub(crate) fn recorded<T>(
    line: Line,
    uid: u32,
    action: &'static str,
    asked: &Asked,
    outcome: Result<T, Error>,
) -> Result<T, Error> {
    record(line, uid, action, asked, outcome.as_ref().err());
    outcome
}

fn record(line: Line, uid: u32, action: &'static str, asked: &Asked, refusal: Option<&Error>) {
    let is_granted = refusal.is_none();
    let now = Instant::now();
    let left_out = {
        let mut quotas = quotas();
        let quota = quotas.entry((line, is_granted)).or_insert_with(|| Quota::of(is_granted, now));
        quota.take(now)
    };
    let Some(left_out) = left_out else { return };
    let Asked { container, container_id, networks, ports, grant } = asked;
    match refusal {
        None => {
            tracing::info!(
                action,
                uid,
                container,
                container_id,
                networks,
                ports,
                grant,
                outcome = "granted",
                left_out,
                "decision"
            );
        }
        Some(error) => {
            let reason = bounded(error.description().unwrap_or_default());
            let outcome = name_of(error);
            tracing::warn!(
                action,
                uid,
                container,
                container_id,
                networks,
                ports,
                grant,
                outcome,
                reason,
                left_out,
                "decision"
            );
        }
    }
}

/// Says how many records were left out since it was last said, and forgets whoever is quiet.
pub(crate) fn summarize() {
    let now = Instant::now();
    let mut left_out = Vec::new();
    quotas().retain(|&(line, is_granted), quota| {
        let count = std::mem::take(&mut quota.left_out);
        if count > 0 {
            left_out.push((line, is_granted, count));
        }
        !quota.bucket.is_full(now)
    });
    for (line, is_granted, left_out) in left_out {
        let uid = match line {
            Line::User(uid) => uid.to_string(),
            Line::Nameless => "without a user".to_owned(),
        };
        let outcome = if is_granted { "granted" } else { "refused" };
        tracing::warn!(uid, outcome, left_out, "decisions left out of the log");
    }
}

fn quotas() -> MutexGuard<'static, HashMap<(Line, bool), Quota>> {
    QUOTAS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(error: &Error) -> &'static str {
    match error {
        Error::ZBus(_) => "failed",
        Error::InvalidArgument(_) => "invalid",
        Error::NotAuthorized(_) | Error::NamespaceRefused(_) => "denied",
        Error::QuotaExceeded(_) => "over quota",
        Error::NotFound(_)
        | Error::Conflict(_)
        | Error::AddressExhausted(_)
        | Error::NotInitialized(_) => "not possible",
        Error::Unavailable(_) => "unavailable",
        Error::Internal(_) => "failed",
    }
}

fn bounded_list(items: &[String]) -> String {
    let mut text = String::new();
    for (position, item) in items.iter().enumerate() {
        if text.len() >= MAX_CHARS / 2 {
            text.push_str(&format!(" and {} more", items.len() - position));
            break;
        }
        if position > 0 {
            text.push(' ');
        }
        text.push_str(&escaped(item, 128));
    }
    text
}

fn bounded(text: &str) -> String {
    escaped(text, MAX_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_written_about_once() {
        let start = Instant::now();
        let mut quota = Quota::of(false, start);
        let written = (0..1000).filter(|_| quota.take(start).is_some()).count();
        assert_eq!((written, quota.left_out), (20, 980));
        let later = start + Duration::from_secs(1);
        assert_eq!(quota.take(later), Some(980));
        assert_eq!(quota.take(later), None);
        let much_later = start + Duration::from_secs(1000);
        let written = (0..1000).filter(|_| quota.take(much_later).is_some()).count();
        assert_eq!(written, 20);
    }

    #[test]
    fn what_callers_choose_cannot_end_a_record_or_fill_the_log() {
        let cases = [
            ("web", "web"),
            ("a\nMESSAGE=forged", "a\\nMESSAGE=forged"),
            ("\u{1b}[2J\u{202e}", "\\u{1b}[2J\\u{202e}"),
        ];
        for (text, expected) in cases {
            assert_eq!(bounded(text), expected);
        }
        assert_eq!(bounded(&"\n".repeat(100_000)).chars().count(), MAX_CHARS + 1);
        let many = vec!["x".repeat(1000); 1000];
        let listed = bounded_list(&many);
        assert!(listed.chars().count() < 2 * MAX_CHARS, "{listed}");
        assert!(listed.ends_with(" and 998 more"), "{listed}");
    }
}
