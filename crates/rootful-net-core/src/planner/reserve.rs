//! Which ports are kept from the host's programs, and which are given back, when an attachment comes, is replaced
//! or goes. What is missing or spare otherwise is reconciliation's business.

use std::collections::BTreeMap;

use crate::attachment::Attachment;
use crate::observed::Observed;
use crate::plan::Step;
use crate::publish::Reservation;

/// The ports that change hands when an attachment comes, in the place of another or not.
pub(super) struct PortChange {
    claimed: Vec<Reservation>,
    /// Given back first, since they are in the way of what is claimed.
    cleared: Vec<Reservation>,
    /// Given back once their forwards are out of service.
    released: Vec<Reservation>,
}

impl PortChange {
    /// What both have stays kept all the time.
    pub(super) fn new(
        observed: &Observed,
        existing: Option<&Attachment>,
        attachment: &Attachment,
    ) -> Self {
        let wanted = attachment.reservations();
        let present = existing.map(Attachment::reservations).unwrap_or_default();
        let claimed: Vec<_> = wanted.difference(&observed.reserved).copied().collect();
        let mut by_port: BTreeMap<_, Vec<&Reservation>> = BTreeMap::new();
        for claimed in &claimed {
            by_port.entry((claimed.protocol, claimed.port)).or_default().push(claimed);
        }
        let (cleared, released) = present.difference(&wanted).partition(|freed: &&Reservation| {
            let claimed = by_port.get(&(freed.protocol, freed.port)).into_iter().flatten();
            claimed.into_iter().any(|claimed| claimed.overlaps(freed))
        });
        Self { claimed, cleared, released }
    }

    /// The steps before any other.
    pub(super) fn before(&self) -> impl Iterator<Item = Step> {
        let cleared = step(Step::ReleasePorts, self.cleared.clone());
        cleared.into_iter().chain(step(Step::ClaimPorts, self.claimed.clone()))
    }

    /// The step behind all others.
    pub(super) fn after(&self) -> Option<Step> {
        step(Step::ReleasePorts, self.released.clone())
    }
}

/// The step that gives back the ports of an attachment whose forwards are out of service.
pub(super) fn release(attachment: &Attachment) -> Option<Step> {
    step(Step::ReleasePorts, attachment.reservations().into_iter().collect())
}

fn step(make: fn(Vec<Reservation>) -> Step, ports: Vec<Reservation>) -> Option<Step> {
    (!ports.is_empty()).then(|| make(ports))
}
