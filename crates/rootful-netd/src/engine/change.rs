//! Attach and detach as the engine does them: observe, decide, record, carry out, record again.

use std::time::{Duration, Instant};

use rootful_net_core::attachment::{Attachment, AttachmentId, Holder};
use rootful_net_core::catalogue::Catalogue;
use rootful_net_core::dns;
use rootful_net_core::observed::{Observed, Query};
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, AttachDecision, Change, Scope};
use rootful_net_core::policy::{self, Consent, Decision};
use rootful_net_dbus::{Error, Result};
use rootful_net_kernel::{ExecuteError, Namespace, fault};

use super::{Attach, Attached, Engine, Selection};
use crate::error::{chain, denied, internal, not_carried_out, plan_error, unrecorded};
use crate::fd_store::Held;
use crate::store::{Record, StoreError};

impl Engine {
    /// Attaches; answers, and says what remains to be done after the answer.
    pub(super) fn attach(&mut self, attach: Box<Attach>) -> (Result<Attached>, Remainder) {
        match self.try_attach(attach) {
            // What was observed may have been wrong by the time it was relied upon: then that is repaired, and
            // what was asked for decided on anew.
            Err((attach, first)) => match self.look_after(Scope::Everything).as_slice() {
                [] => (Err(first), Remainder::default()),
                _ => match self.try_attach(attach) {
                    Ok(attached) => attached,
                    Err((_, error)) => {
                        self.look_after(Scope::Everything);
                        (Err(error), Remainder::default())
                    }
                },
            },
            Ok(attached) => attached,
        }
    }

    /// Gives the request back where the kernel refused what was decided.
    fn try_attach(
        &mut self,
        attach: Box<Attach>,
    ) -> std::result::Result<(Result<Attached>, Remainder), (Box<Attach>, Error)> {
        let started = Instant::now();
        let consent = match attach.consent {
            Some(_) => Consent::Given,
            None => Consent::NotAsked,
        };
        let (decision, grants) = match self.decide(&attach, consent) {
            Ok(Decided::Ask(grants)) => {
                let generation = self.policy.generation();
                let ask = Attached::AskPolkit { attach, generation, grants };
                return Ok((Ok(ask), Remainder::default()));
            }
            Ok(Decided::Allowed(decision, grants)) => (decision, grants),
            Err(error) => return Ok((Err(error), Remainder::default())),
        };
        let change = match decision {
            AttachDecision::Unchanged(id) => {
                let done = Attached::Done { id, changed: false, grants };
                return Ok((Ok(done), Remainder::default()));
            }
            AttachDecision::Change(change) => change,
        };
        match self.carry_out(&change, &attach.namespace) {
            Ok(attachment) => {
                log_attached(&attachment, started.elapsed());
                log_unserved(&self.catalogue, &attachment);
                let id = attachment.id().clone();
                let remainder = Remainder {
                    settled: is_settling(&change).then(|| id.clone()).into_iter().collect(),
                    steps: change.plan.afterwards,
                    forgotten: Vec::new(),
                };
                Ok((Ok(Attached::Done { id, changed: true, grants }), remainder))
            }
            Err(error) => Err((attach, error)),
        }
    }

    /// Says what attaching would do, once polkit were to consent.
    pub(super) fn plan(&mut self, attach: &Attach) -> Result<String> {
        match self.decide(attach, Consent::Given)? {
            Decided::Ask(_) | Decided::Allowed(AttachDecision::Unchanged(_), _) => {
                Ok("nothing to do\n".to_owned())
            }
            Decided::Allowed(AttachDecision::Change(change), _) => Ok(change.plan.to_string()),
        }
    }

    fn decide(&mut self, attach: &Attach, consent: Consent) -> Result<Decided> {
        let owner = attach.owner.uid();
        let request = &attach.request;
        let policy = self.policy.of(&attach.caller)?;
        if attach.consent.is_some_and(|generation| generation != self.policy.generation()) {
            return Err(Error::Unavailable(
                "the policy changed while polkit was asked; try again".to_owned(),
            ));
        }
        let query = planner::attach_query(self.world(), owner, request);
        let query = query.map_err(|error| plan_error(&error))?;
        let holder = Holder { owner, name: request.name.clone() };
        let usage = self.ledger.usage_beside(&holder);
        let decision =
            policy::authorize(policy, &attach.caller, owner, usage, request.clone(), consent);
        let authorized = match decision.map_err(|reason| denied(&reason))? {
            Decision::Allowed(authorized) => authorized,
            Decision::AskPolkit(grants) => return Ok(Decided::Ask(grants)),
        };
        let observed = self.observe(&query, Some(&attach.namespace))?;
        let namespace = attach.namespace.id();
        let decision =
            planner::attach(self.world(), &observed, namespace, &authorized, attach.on_conflict);
        let decision = decision.map_err(|error| plan_error(&error))?;
        Ok(Decided::Allowed(decision, authorized.sources().to_vec()))
    }

    /// Carries out what makes an attachment, with the record written before and after.
    fn carry_out(&mut self, change: &Change, namespace: &Namespace) -> Result<Attachment> {
        let attachment = change.attached.clone().expect("to attach makes an attachment");
        let id = attachment.id();
        let previous = self.ledger.get(id).cloned();
        self.keep_networks(&attachment)?;
        // Only who has the namespace can give it back what is unplugged, should this process be killed before the record
        // is live.
        let unplugs = change.plan.steps.iter().any(|step| matches!(step, Step::Unplug { .. }));
        let held = unplugs.then(|| Held::new(id, namespace));
        let pending = Record::pending(attachment.clone(), previous.clone());
        if let Err(error) = self.store.record(&pending) {
            // It may have been written nevertheless.
            self.put_record_right(id);
            self.forget_networks(&attachment);
            return Err(unrecorded(&error));
        }
        let steps = &change.plan.steps;
        let carried_out = self.act(|kernel| kernel.carry_out(steps, Some(namespace)));
        if let Err(error) = carried_out {
            // Of the time between a step and its undoing.
            let memory = planner::forget(self.world(), previous.iter().chain([&attachment]));
            self.upkeep.forget_later(memory);
            self.give_up_unplugged(steps, &error);
            self.put_record_right(id);
            self.forget_networks(&attachment);
            if unplugs && !error.undo_failures.is_empty() {
                self.give_up(id);
            }
            return Err(not_carried_out(&error));
        }
        fault::passage("before it is entered");
        self.ledger.insert(attachment.clone());
        fault::passage("after it is entered");
        let record = match is_settling(change) {
            true => Record::settling(attachment.clone(), previous.clone()),
            false => Record::live(attachment.clone()),
        };
        if let Err(error) = self.store.record(&record) {
            // The record stays pending: a restart would take the attachment for unfinished.
            tracing::error!(error = chain(&error), "cannot record that the attachment is live");
            self.upkeep.unrecorded.insert(id.clone(), held);
        }
        if let Some(previous) = &previous {
            self.forget_networks(previous);
        }
        self.keep_mark();
        self.keep_leases();
        self.objects.publish(&attachment);
        Ok(attachment)
    }

    /// Detaches what could be neither replaced nor put back: what is in the container is not what is recorded.
    fn give_up(&mut self, id: &AttachmentId) {
        match self.release(id) {
            Ok((attachment, remainder)) => {
                let (owner, name) = (attachment.owner(), attachment.name().as_str());
                tracing::error!(
                    owner,
                    name,
                    "neither replaced nor put back, so detached; set it up again"
                );
                self.publish_names();
                self.finish(remainder);
            }
            Err(error) => tracing::error!(%id, %error, "cannot detach what is not put back"),
        }
    }

    /// Removes links that a change unplugged and that could not be set up again: a container that has lost its network is
    /// not attached any more.
    fn give_up_unplugged(&mut self, steps: &[Step], error: &ExecuteError) {
        let has_failed = |undo: Step| match undo {
            // What is missing besides is repaired from outside.
            Step::CreateVeth(_) | Step::SetUpInterface(_) => {
                let text = undo.to_string();
                error.undo_failures.iter().any(|failure| failure.step == text)
            }
            _ => false,
        };
        for step in steps {
            let Step::Unplug { veth, .. } = step else { continue };
            if !step.undo().into_iter().any(has_failed) {
                continue;
            }
            tracing::error!(
                link = veth.host_link.as_str(),
                "what was unplugged cannot be plugged in again: the container has lost its network; set it up again"
            );
            let removal = Step::DeleteLink(veth.host_link.clone());
            if let Err(error) = self.act(|kernel| kernel.apply(&removal, None)) {
                tracing::error!(error = chain(&error), "cannot remove the link");
            }
        }
    }

    /// Detaches; answers, and says what remains to be done after the answer.
    pub(super) fn detach(&mut self, selection: &Selection) -> (Result<Vec<Attachment>>, Remainder) {
        let selected: Vec<AttachmentId> = match selection {
            Selection::Holder(holder) => id_of(self.ledger.of_holder(holder)),
            Selection::Namespace(namespace) => id_of(self.ledger.of_namespace(*namespace)),
            Selection::Owner(owner) => {
                let attachments = self.ledger.attachments();
                attachments
                    .filter(|attachment| attachment.owner() == *owner)
                    .map(|attachment| attachment.id().clone())
                    .collect()
            }
            Selection::Container { owner, id, name } => {
                let attachments = self.ledger.attachments();
                attachments
                    .filter(|attachment| attachment.owner() == *owner)
                    .filter(|attachment| attachment.container_id() == Some(id))
                    .filter(|attachment| name.as_ref().is_none_or(|name| attachment.name() == name))
                    .map(|attachment| attachment.id().clone())
                    .collect()
            }
        };
        let started = Instant::now();
        let mut detached = Vec::new();
        let mut remainder = Remainder::default();
        for id in selected {
            match self.release(&id) {
                Ok((attachment, further)) => {
                    log_detached(&attachment, "detached", started.elapsed());
                    detached.push(attachment);
                    remainder.steps.extend(further.steps);
                    remainder.forgotten.extend(further.forgotten);
                }
                Err(error) => return (Err(error), remainder),
            }
        }
        (Ok(detached), remainder)
    }

    /// Takes an attachment out of service, the ledger and off the bus.
    pub(super) fn release(&mut self, id: &AttachmentId) -> Result<(Attachment, Remainder)> {
        let observed = self.observe(&planner::detach_query(), None)?;
        let attachment = self.ledger.get(id).expect("it was selected from the ledger").clone();
        let change = planner::detach(self.world(), &observed, &attachment);
        if let Err(error) = self.store.record(&Record::ending(attachment.clone())) {
            // Should the service end here, the next start takes it for live, or its container for gone.
            tracing::error!(error = chain(&error), "cannot record that the attachment ends");
        }
        let steps = &change.plan.steps;
        let carried_out = self.act(|kernel| kernel.carry_out(steps, None));
        fault::passage("before it is struck out");
        self.ledger.remove(id);
        self.objects.withdraw(id);
        fault::passage("after it is struck out");
        let mut remainder = Remainder {
            steps: change.plan.afterwards,
            forgotten: vec![attachment.clone()],
            ..Remainder::default()
        };
        if let Err(error) = carried_out {
            tracing::warn!(error = chain(&error), "the ruleset is not what it was; repairing it");
            self.look_after_all_but(&mut remainder);
            if self.upkeep.unfinished {
                self.finish(remainder);
                return Err(Error::Internal(format!(
                    "{} is detached, but not everything of it could be removed: that is tried again; the log of rootful-netd says why",
                    attachment.name()
                )));
            }
        }
        Ok((attachment, remainder))
    }

    /// Repairs everything, and leaves of what remains to be done only what that does not do.
    fn look_after_all_but(&mut self, remainder: &mut Remainder) {
        self.look_after(Scope::Everything);
        remainder.steps.retain(is_about_memory);
    }

    /// Does what nobody waits for.
    pub(super) fn finish(&mut self, remainder: Remainder) {
        let Remainder { steps, forgotten, settled } = remainder;
        let mut is_held_up = false;
        let mut memory = Vec::new();
        for step in steps {
            // What guards a link stays for as long as the link: the rest is for reconciliation.
            if is_held_up && !is_about_memory(&step) {
                continue;
            }
            let done = self.act(|kernel| kernel.apply(&step, None));
            if let Err(error) = done {
                let error = chain(&error);
                tracing::error!(step = step.to_string(), error, "cannot finish a change");
                if is_about_memory(&step) {
                    memory.push(step);
                } else {
                    self.upkeep.leave_unfinished();
                    is_held_up = true;
                }
            }
        }
        for attachment in &forgotten {
            self.forget_networks(attachment);
        }
        let ids = forgotten.iter().map(|attachment| attachment.id().clone()).chain(settled);
        if memory.is_empty() {
            ids.for_each(|id| self.put_record_right(&id));
        } else {
            // Only with the record would the next start know.
            self.upkeep.unsettled.extend(ids);
            self.upkeep.forget_later(memory);
        }
    }

    /// Has the record say what the ledger says, now or later.
    pub(super) fn put_record_right(&mut self, id: &AttachmentId) {
        if let Err(error) = self.record_as_in_ledger(id) {
            tracing::error!(error = chain(&error), "cannot put the record right; trying again");
            self.upkeep.unrecorded.insert(id.clone(), None);
        }
    }

    pub(super) fn record_as_in_ledger(
        &self,
        id: &AttachmentId,
    ) -> std::result::Result<(), StoreError> {
        match self.ledger.get(id) {
            Some(attachment) => self.store.record(&Record::live(attachment.clone())),
            None => self.store.forget(id),
        }
    }

    pub(super) fn observe(
        &mut self,
        query: &Query,
        namespace: Option<&Namespace>,
    ) -> Result<Observed> {
        let observed = tokio::task::block_in_place(|| self.kernel.observe(query, namespace));
        observed.map_err(|error| internal(&error))
    }
}

/// What remains of a change once it has been answered for.
#[derive(Debug, Default)]
pub(super) struct Remainder {
    /// Steps that nobody waits for.
    pub(super) steps: Vec<Step>,
    /// Attachments whose records are to be removed behind the steps.
    pub(super) forgotten: Vec<Attachment>,
    /// Attachments whose records are to say behind the steps that they are live.
    pub(super) settled: Vec<AttachmentId>,
}

/// What comes of a request, and the grants that say so.
enum Decided {
    Allowed(AttachDecision, Vec<String>),
    Ask(Vec<String>),
}

/// Whether the kernel is to forget something once the change is made.
fn is_settling(change: &Change) -> bool {
    change.plan.afterwards.iter().any(is_about_memory)
}

/// Whether the step has the kernel forget something that reconciliation does not look at.
fn is_about_memory(step: &Step) -> bool {
    matches!(step, Step::ForgetFlows(_) | Step::ForgetNeighbours { .. })
}

fn id_of(attachment: Option<&Attachment>) -> Vec<AttachmentId> {
    attachment.map(|attachment| attachment.id().clone()).into_iter().collect()
}

fn log_attached(attachment: &Attachment, elapsed: Duration) {
    let owner = attachment.owner();
    let name = attachment.name().as_str();
    let addresses = attachment.interfaces().iter().flat_map(|interface| interface.addresses());
    let addresses = joined(addresses);
    let ports = joined(attachment.forwards());
    let microseconds = microseconds(elapsed);
    let id = attachment.id();
    tracing::info!(%id, owner, name, addresses, ports, microseconds, "attached");
}

fn log_unserved(catalogue: &Catalogue, attachment: &Attachment) {
    for interface in dns::unserved(catalogue, attachment) {
        let owner = attachment.owner();
        let name = attachment.name().as_str();
        let network = interface.network.as_str();
        let served = joined(&interface.names);
        tracing::warn!(
            owner,
            name,
            network,
            served,
            "the container's name is not served: another user has it, or it is not one label"
        );
    }
}

pub(super) fn log_detached(attachment: &Attachment, outcome: &'static str, elapsed: Duration) {
    let owner = attachment.owner();
    let name = attachment.name().as_str();
    let microseconds = microseconds(elapsed);
    let id = attachment.id();
    tracing::info!(%id, owner, name, microseconds, "{outcome}");
}

fn microseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

fn joined(items: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}
