//! What should be: a few lines that know who is attached, what belongs to whom and what must be refused, and nothing
//! of addresses, links and rules.

use std::collections::BTreeMap;

use super::operation::{NETWORKS, Policy, Slot, Wish};

/// Who may have what: a user and one of the user's names.
pub(super) type Holder = (usize, usize);

/// What is attached under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) slot: Slot,
    pub(super) networks: Vec<&'static str>,
    pub(super) ports: Vec<u16>,
}

/// What must become of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unchanged,
    Attached,
    /// The D-Bus error.
    Refused(&'static str),
}

/// All that should be.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) attached: BTreeMap<Holder, Attached>,
    pub(super) policy: Policy,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { attached: BTreeMap::new(), policy: Policy::Usual }
    }

    /// What must become of a wish, and has.
    pub(super) fn attach(&mut self, wish: &Wish) -> Outcome {
        let outcome = self.outcome(wish);
        if outcome == Outcome::Attached {
            let Wish { slot, networks, ports, .. } = wish.clone();
            let holder = (wish.slot.owner, wish.name);
            self.attached.insert(holder, Attached { slot, networks, ports });
        }
        outcome
    }

    pub(super) fn outcome(&self, wish: &Wish) -> Outcome {
        if !self.is_granted(wish) {
            return Outcome::Refused("NotAuthorized");
        }
        let holder = (wish.slot.owner, wish.name);
        let mut others = self.attached.iter().filter(|(other, _)| **other != holder);
        let is_in_the_way = |other: &Attached| {
            other.slot == wish.slot || other.ports.iter().any(|port| wish.ports.contains(port))
        };
        let existing = self.attached.get(&holder);
        let wanted = Attached {
            slot: wish.slot,
            networks: wish.networks.clone(),
            ports: wish.ports.clone(),
        };
        if others.any(|(_, other)| is_in_the_way(other)) {
            return Outcome::Refused("Conflict");
        }
        match existing {
            Some(existing) if *existing == wanted => Outcome::Unchanged,
            Some(_) if !wish.replace => Outcome::Refused("Conflict"),
            Some(_) | None => Outcome::Attached,
        }
    }

    fn is_granted(&self, wish: &Wish) -> bool {
        const MALLORY: usize = 2;
        let is_member = wish.slot.owner != MALLORY;
        let are_high = wish.ports.iter().all(|port| *port >= 1024);
        match self.policy {
            Policy::Usual => is_member && are_high,
            Policy::Open => are_high,
            Policy::Narrow => {
                let are_few = wish.ports.iter().all(|port| (8000..=8004).contains(port));
                is_member && wish.networks == [NETWORKS[0].0] && are_few
            }
        }
    }

    /// Detaches what fits; answers with the names.
    pub(super) fn detach(&mut self, fits: impl Fn(&Holder, &Attached) -> bool) -> Vec<Holder> {
        let mut gone = Vec::new();
        self.attached.retain(|holder, attached| {
            let is_gone = fits(holder, attached);
            gone.extend(is_gone.then_some(*holder));
            !is_gone
        });
        gone
    }
}
