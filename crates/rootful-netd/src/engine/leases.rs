//! The leases as the engine has them: kept on disk after every change of them. When they were used last is written
//! with the next regular look, and all of them later where the disk does not take them now.

use std::time::{Duration, Instant};

use rootful_net_core::ledger::Lease;
use rootful_net_dbus::{Error, LeaseProperties, MAX_LISTED_LEASES, Result, SkippedLeaseProperties};

use super::{Command, Engine, EngineHandle};
use crate::error::chain;
use crate::fair_queue::Line;

/// How often it is told that the leases cannot be written.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Whether the leases on disk are those of the ledger.
#[derive(Debug)]
pub(super) struct LeaseFile {
    /// The revision of those that were written last.
    written: u64,
    /// Whether it is only when they were used last that is not on disk.
    lacks_uses: bool,
    /// Since when the disk does not take them, and when that was told last.
    unwritten: Option<Unwritten>,
}

#[derive(Clone, Copy, Debug)]
struct Unwritten {
    since: Instant,
    told: Instant,
}

impl LeaseFile {
    /// On disk are the leases of this revision.
    pub(super) fn of(revision: u64) -> Self {
        Self { written: revision, lacks_uses: false, unwritten: None }
    }

    /// Whether those of this revision are not on disk.
    pub(super) fn lacks(&self, revision: u64) -> bool {
        self.written != revision
    }

    /// Whether the leases wait for a disk that takes them.
    fn is_unwritten(&self) -> bool {
        self.unwritten.is_some()
    }

    /// Notes that they could not be written; answers whether that is to be told.
    fn failed(&mut self, now: Instant) -> bool {
        match &mut self.unwritten {
            None => {
                self.unwritten = Some(Unwritten { since: now, told: now });
                true
            }
            Some(unwritten) if now.duration_since(unwritten.told) >= TOLD_EVERY => {
                unwritten.told = now;
                true
            }
            Some(_) => false,
        }
    }

    /// Notes that they are written; answers how long they were not.
    fn written(&mut self, revision: u64, now: Instant) -> Option<Duration> {
        self.written = revision;
        self.lacks_uses = false;
        self.unwritten.take().map(|unwritten| now.duration_since(unwritten.since))
    }
}

impl EngineHandle {
    /// Lists the leases of this owner, or all.
    pub(crate) async fn list_leases(
        &self,
        line: Line,
        owner: Option<u32>,
    ) -> Result<Vec<LeaseProperties>> {
        self.ask(line, |reply| Command::ListLeases(owner, reply)).await
    }

    /// Takes leases over; answers with those that are not.
    pub(crate) async fn import_leases(
        &self,
        line: Line,
        leases: Vec<Lease>,
    ) -> Result<Vec<SkippedLeaseProperties>> {
        self.ask(line, |reply| Command::ImportLeases(leases, reply)).await
    }
}

impl Engine {
    /// The leases of this owner, or all, by network and address.
    pub(super) fn list_leases(&self, owner: Option<u32>) -> Result<Vec<LeaseProperties>> {
        let leases = self.ledger.leases().iter();
        let selected: Vec<&Lease> = leases
            .filter(|lease| owner.is_none_or(|owner| lease.holder.owner == owner))
            .take(MAX_LISTED_LEASES + 1)
            .collect();
        if selected.len() > MAX_LISTED_LEASES {
            return Err(Error::InvalidArgument(format!(
                "there are more than {MAX_LISTED_LEASES} leases; list those of one user at a time with option \"owner\""
            )));
        }
        let shown = selected.into_iter().map(|lease| {
            let is_in_use = self.ledger.address_user(&lease.network, lease.address).is_some();
            LeaseProperties::new(lease, is_in_use)
        });
        Ok(shown.collect())
    }

    /// Takes leases over and keeps them; answers with those that are not taken over.
    pub(super) fn import_leases(
        &mut self,
        leases: Vec<Lease>,
    ) -> Result<Vec<SkippedLeaseProperties>> {
        let count = leases.len();
        let skipped = self.ledger.import(&self.catalogue, leases);
        tracing::info!(
            imported = count - skipped.len(),
            skipped = skipped.len(),
            "leases imported"
        );
        self.keep_leases();
        if self.lease_file.is_unwritten() {
            return Err(Error::Unavailable(
                "the leases are taken over but cannot be written to disk, so they do not outlast the service yet; make room in /var/lib/rootful-net".to_owned(),
            ));
        }
        Ok(skipped.iter().map(SkippedLeaseProperties::from).collect())
    }

    /// Keeps on disk what an attach changed of the leases. When they were used last matters only to which of too many
    /// goes first, so that alone waits for the next regular look.
    pub(super) fn keep_leases(&mut self) {
        if self.lease_file.lacks(self.ledger.leases().revision()) {
            self.write_leases();
        } else {
            self.lease_file.lacks_uses = true;
        }
    }

    /// Keeps on disk what is not there yet of the leases.
    pub(super) fn keep_remaining_leases(&mut self) {
        if self.lease_file.lacks_uses || self.lease_file.is_unwritten() {
            self.write_leases();
        }
    }

    /// Writes the leases. Where that fails, what is attached stays so, and they are to be kept again later: the log says
    /// so, once a minute.
    fn write_leases(&mut self) {
        let now = Instant::now();
        match self.store.keep_leases(self.ledger.leases()) {
            Ok(()) => {
                let revision = self.ledger.leases().revision();
                if let Some(elapsed) = self.lease_file.written(revision, now) {
                    tracing::info!(seconds = elapsed.as_secs(), "leases are kept again");
                }
            }
            Err(error) => {
                if self.lease_file.failed(now) {
                    tracing::error!(
                        error = chain(&error),
                        "cannot keep the leases: a name whose container ends now may get another address after the next start of the service; make room for them"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_stays_full_is_told_once_a_minute() {
        let mut file = LeaseFile::of(0);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(file.written(1, start), None);
        let told: Vec<_> = (0..=120).filter(|seconds| file.failed(after(*seconds))).collect();
        assert_eq!(told, [0, 60, 120]);
        assert_eq!(file.written(2, after(150)), Some(Duration::from_secs(150)));
        assert_eq!(file.written(2, after(151)), None);
        assert!(file.failed(after(152)));
    }
}
