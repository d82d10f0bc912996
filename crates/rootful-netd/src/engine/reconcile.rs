//! Looking after what is attached: the engine is told of changes that others made, looks for those that it is not
//! told of, and brings the kernel and the ledger together again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rootful_net_core::attachment::AttachmentId;
use rootful_net_core::name::NetworkName;
use rootful_net_core::observed::Query;
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, Scope};
use rootful_net_dbus::Result;
use rootful_net_kernel::{Kernel, KernelEvent, fault};

use super::Engine;
use crate::error::chain;
use crate::fd_store::Held;

/// How often it is looked for what the kernel does not tell of, while something is attached.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

/// So many repairs at once within [`QUARREL_PERIOD`] mean that somebody undoes them: from then on, each waits for the
/// next regular look.
const QUARREL: usize = 50;
const QUARREL_PERIOD: Duration = Duration::from_secs(10);
/// The most rounds of releasing what is dead before the rest is repaired.
const MAX_ROUNDS: usize = 8;

/// From so many attachments on, memory is given back when half of them are gone.
const MANY_ATTACHMENTS: u32 = 64;

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// The generation of the ruleset at which it was found to be right.
    verified: Option<u32>,
    /// Whether something of ours may be left that no attachment stands for, or could not be repaired.
    pub(super) unfinished: bool,
    /// Attachments whose records may not say what the ledger says, that they are live, or nothing; with the namespace
    /// where the next start would need it.
    pub(super) unrecorded: BTreeMap<AttachmentId, Option<Held>>,
    /// What the kernel is still to be told to forget, by its text.
    unforgotten_memory: BTreeMap<String, Step>,
    /// Attachments whose records change once that is done.
    pub(super) unsettled: BTreeSet<AttachmentId>,
    /// Networks whose kept definitions may be there although nothing is attached to them.
    pub(super) unforgotten: BTreeSet<NetworkName>,
    /// Steps that failed the last time; they are logged once.
    failing: BTreeSet<String>,
    /// When repairs were made.
    repairs: VecDeque<Instant>,
    /// The most attachments since memory was given back.
    most_attachments: u32,
}

impl Upkeep {
    /// Notes that something may be left, also in the tables.
    pub(super) fn leave_unfinished(&mut self) {
        self.unfinished = true;
        self.verified = None;
    }

    /// Has the kernel be told to forget this with the next regular look.
    pub(super) fn forget_later(&mut self, steps: Vec<Step>) {
        let steps = steps.into_iter().map(|step| (step.to_string(), step));
        self.unforgotten_memory.extend(steps);
    }

    /// Whether repairs are undone as fast as they are made.
    fn is_quarrel(&mut self, now: Instant) -> bool {
        while self.repairs.front().is_some_and(|&then| now - then > QUARREL_PERIOD) {
            self.repairs.pop_front();
        }
        self.repairs.len() >= QUARREL
    }

    /// Whether there is much memory to give back: that of half of the attachments that there were.
    fn has_shrunk(&mut self, attachments: u32) -> bool {
        self.most_attachments = self.most_attachments.max(attachments);
        let has_shrunk =
            self.most_attachments >= MANY_ATTACHMENTS && attachments <= self.most_attachments / 2;
        if has_shrunk {
            self.most_attachments = attachments;
        }
        has_shrunk
    }

    fn count_repair(&mut self, now: Instant) {
        self.repairs.push_back(now);
        if self.repairs.len() == QUARREL {
            tracing::warn!(
                "what is repaired is damaged again at once: somebody changes what belongs to rootful-net over and over; repairing with each regular look from now on"
            );
        }
    }
}

impl Engine {
    /// Learns what an event means; says whether something has to be repaired.
    pub(super) fn notice(&mut self, event: KernelEvent) -> bool {
        match event {
            KernelEvent::LinkRemoved { name } => {
                let dead = self.ledger.of_host_link(&name).map(|dead| dead.id().clone());
                match dead {
                    Some(id) => {
                        self.release_dead(&[id]);
                        false
                    }
                    None => self.is_damaged(&name),
                }
            }
            KernelEvent::LinkChanged { name } => self.is_damaged(&name),
            KernelEvent::AddressRemoved { link } => self.is_used_bridge(&link),
            KernelEvent::ForwardingChanged => self.needs_forwarding(),
            KernelEvent::RulesChanged | KernelEvent::Lost => {
                self.upkeep.verified = None;
                !self.ledger.is_empty()
            }
        }
    }

    /// Repairs what an event spoke of, unless that is a quarrel.
    pub(super) fn repair_at_once(&mut self) {
        if !self.upkeep.is_quarrel(Instant::now()) {
            self.look_after(Scope::Everything);
        }
    }

    /// Looks for what the kernel does not tell of.
    pub(super) fn look_around(&mut self) {
        self.write_what_waits();
        self.forget_what_waits();
        if self.upkeep.has_shrunk(self.ledger.in_use().attachments) {
            rootful_net_kernel::give_back_memory();
        }
        if self.ledger.is_empty() && !self.upkeep.unfinished {
            return;
        }
        let generation = self.ruleset_generation();
        let is_known = generation.is_some()
            && generation == self.upkeep.verified
            && self.kernel.mark().is_some();
        self.look_after(if is_known { Scope::AllButRules } else { Scope::Everything });
    }

    /// Writes what the disk did not take when it was due.
    fn write_what_waits(&mut self) {
        self.keep_remaining_leases();
        for (id, held) in std::mem::take(&mut self.upkeep.unrecorded) {
            if self.record_as_in_ledger(&id).is_err() {
                self.upkeep.unrecorded.insert(id, held);
            }
        }
        for name in std::mem::take(&mut self.upkeep.unforgotten) {
            if self.ledger.members(&name) == 0 && self.store.forget_network(&name).is_err() {
                self.upkeep.unforgotten.insert(name);
            }
        }
    }

    /// Has the kernel forget what it could not be told to forget when it was due.
    fn forget_what_waits(&mut self) {
        for (text, step) in std::mem::take(&mut self.upkeep.unforgotten_memory) {
            if self.act(|kernel| kernel.apply(&step, None)).is_err() {
                self.upkeep.unforgotten_memory.insert(text, step);
            }
        }
        if self.upkeep.unforgotten_memory.is_empty() {
            for id in std::mem::take(&mut self.upkeep.unsettled) {
                self.put_record_right(&id);
            }
        }
    }

    /// What is to be repaired.
    pub(super) fn damage(&mut self) -> Result<Vec<String>> {
        let query = planner::reconcile_query(self.world(), Scope::Everything);
        let observed = self.observe(&query, None)?;
        let change = planner::reconcile(self.world(), &observed, Scope::Everything);
        let released = change.released.iter().map(released);
        let steps = change.plan.steps.iter().chain(&change.plan.afterwards).map(headline);
        Ok(released.chain(steps).collect())
    }

    /// Repairs everything and says what was done, and behind it why it failed where it did.
    pub(super) fn repair(&mut self) -> Vec<String> {
        self.upkeep.failing.clear();
        self.look_after(Scope::Everything)
    }

    /// Brings the kernel and the ledger together again; says what was done.
    pub(super) fn look_after(&mut self, scope: Scope) -> Vec<String> {
        let _scope = fault::scope("reconcile");
        let started = Instant::now();
        let mut done = Vec::new();
        let mut change = None;
        let generation = self.ruleset_generation();
        for _ in 0..MAX_ROUNDS {
            let query = planner::reconcile_query(self.world(), scope);
            let Ok(observed) = self.observe(&query, None) else {
                self.upkeep.unfinished = true;
                return done;
            };
            let planned = planner::reconcile(self.world(), &observed, scope);
            if planned.released.is_empty() {
                change = Some(planned);
                break;
            }
            done.extend(planned.released.iter().map(released));
            // What is right without them is another question.
            self.release_dead(&planned.released);
        }
        let Some(change) = change else {
            self.upkeep.unfinished = true;
            return done;
        };
        if scope == Scope::Everything {
            self.upkeep.verified = generation;
        }
        let mut failing = BTreeSet::new();
        let mut rules_differ = false;
        for step in &change.plan.steps {
            if rules_differ && step.opens_a_port() {
                continue;
            }
            let is_done = self.repair_step(step, started, &mut failing, &mut done);
            rules_differ |= !is_done && matches!(step, Step::ChangeRules(_));
        }
        // What guards a link stays for as long as the link.
        for step in &change.plan.afterwards {
            if !self.repair_step(step, started, &mut failing, &mut done) {
                break;
            }
        }
        if !failing.is_empty() {
            self.upkeep.verified = None;
        }
        if !change.plan.is_empty() {
            self.upkeep.count_repair(started);
        }
        self.upkeep.unfinished = !failing.is_empty();
        self.upkeep.failing = failing;
        self.keep_mark();
        done
    }

    /// Says whether it could be done.
    fn repair_step(
        &mut self,
        step: &Step,
        started: Instant,
        failing: &mut BTreeSet<String>,
        done: &mut Vec<String>,
    ) -> bool {
        let text = step.to_string();
        let applied = self.act(|kernel| kernel.apply(step, None));
        match applied {
            Ok(()) => {
                let microseconds = started.elapsed().as_micros();
                tracing::info!(step = text, microseconds, "repaired");
                done.push(headline(step));
                true
            }
            Err(error) => {
                let error = chain(&error);
                if !self.upkeep.failing.contains(&text) {
                    tracing::error!(step = text, error, "cannot repair; trying again");
                }
                failing.insert(text);
                done.push(format!("{}: failed: {error}", headline(step)));
                false
            }
        }
    }

    /// Has the kernel make changes. What was known of the ruleset stays known while nobody else changes it.
    pub(super) fn act<T>(&mut self, work: impl FnOnce(&mut Kernel) -> T) -> T {
        tokio::task::block_in_place(|| {
            let generation = self.kernel.ruleset_generation().ok();
            let transactions = self.kernel.transactions();
            let outcome = work(&mut self.kernel);
            let own = self.kernel.transactions().wrapping_sub(transactions);
            if own != 0 && generation == self.upkeep.verified {
                let expected = generation.map(|generation| generation.wrapping_add(own));
                let now = self.kernel.ruleset_generation().ok();
                self.upkeep.verified = now.filter(|_| now == expected);
            }
            outcome
        })
    }

    /// The generation of all of the host's nftables; unknown where the kernel does not tell.
    fn ruleset_generation(&mut self) -> Option<u32> {
        let generation = tokio::task::block_in_place(|| self.kernel.ruleset_generation());
        generation.inspect_err(|error| tracing::error!(error = chain(error), "no generation")).ok()
    }

    /// Keeps what a later start needs to tell an intact ruleset from one that somebody changed.
    pub(super) fn keep_mark(&mut self) {
        let mark = self.kernel.mark();
        if mark == self.kept_mark.as_ref() {
            return;
        }
        let Some(mark) = mark.cloned() else { return };
        let text = serde_json::to_string(&mark).expect("a mark has a JSON form");
        match self.store.keep_mark(&text) {
            Ok(()) => self.kept_mark = Some(mark),
            Err(error) => {
                tracing::error!(error = chain(&error), "cannot keep the ruleset's mark");
            }
        }
    }

    fn is_used_bridge(&self, link: &str) -> bool {
        let networks = self.ledger.networks().filter_map(|name| self.catalogue.get(name));
        networks.into_iter().any(|network| network.interface().as_str() == link)
    }

    /// Whether a link of ours is not what it should be.
    fn is_damaged(&mut self, name: &str) -> bool {
        if self.ledger.of_host_link(name).is_none() && !self.is_used_bridge(name) {
            return false;
        }
        let Ok(link) = name.parse() else { return false };
        let query = planner::link_query(self.world(), &link);
        // What cannot be seen is looked at with everything else.
        self.observe(&query, None)
            .is_ok_and(|observed| !planner::is_link_intact(self.world(), &observed, name))
    }

    fn needs_forwarding(&mut self) -> bool {
        let sysctls = planner::reconcile_query(self.world(), Scope::AllButRules).sysctls;
        let query = Query { sysctls, ..Query::default() };
        self.observe(&query, None)
            .is_ok_and(|observed| !planner::is_forwarding(self.world(), &observed))
    }

    /// Releases those of the attachments whose links are gone.
    pub(super) fn release_dead(&mut self, candidates: &[AttachmentId]) {
        for id in candidates {
            let Some(attachment) = self.ledger.get(id) else { continue };
            let links = attachment.interfaces().iter();
            let links = links.map(|interface| interface.veth.host_link.clone()).collect();
            let query = Query { links, ..Query::default() };
            let _scope = fault::scope("release");
            let Ok(observed) = self.observe(&query, None) else { continue };
            if query.links.iter().all(|link| observed.links.contains_key(link.as_str())) {
                continue;
            }
            let started = Instant::now();
            match self.release(id) {
                Ok((attachment, afterwards)) => {
                    super::change::log_detached(
                        &attachment,
                        "container is gone",
                        started.elapsed(),
                    );
                    self.publish_names();
                    self.finish(afterwards);
                }
                Err(error) => {
                    tracing::error!(%id, %error, "cannot release a container that is gone");
                }
            }
        }
    }
}

fn released(id: &AttachmentId) -> String {
    format!("release {id}, whose container is gone")
}

/// A step in a line: of a transaction, how many changes there are.
fn headline(step: &Step) -> String {
    match step {
        Step::ChangeRules(transaction) => {
            format!("change the ruleset in {} places", transaction.changes().len())
        }
        step => step.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_whenever_half_of_many_attachments_are_gone() {
        let mut upkeep = Upkeep::default();
        let seen = [0, 63, 0, 64, 33, 32, 31, 16, 64, 100, 51, 50, 64, 20, 0];
        let given_back = seen.into_iter().filter(|count| upkeep.has_shrunk(*count));
        assert_eq!(given_back.collect::<Vec<_>>(), [32, 50, 20]);
    }
}
