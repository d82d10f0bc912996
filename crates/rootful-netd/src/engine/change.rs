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
use rootful_net_kernel::Namespace;

use super::{Attach, Attached, Engine, Selection};
use crate::error::{chain, denied, internal, plan_error, unrecorded};
use crate::store::Record;

impl Engine {
    /// Attaches; answers, and says what remains to be done after the answer.
    pub(super) async fn attach(&mut self, attach: Box<Attach>) -> (Result<Attached>, Vec<Step>) {
        let started = Instant::now();
        let consent = match attach.consent {
            Some(_) => Consent::Given,
            None => Consent::NotAsked,
        };
        let (decision, grants) = match self.decide(&attach, consent) {
            Ok(Decided::Ask(grants)) => {
                let generation = self.policy.generation();
                return (Ok(Attached::AskPolkit { attach, generation, grants }), Vec::new());
            }
            Ok(Decided::Allowed(decision, grants)) => (decision, grants),
            Err(error) => return (Err(error), Vec::new()),
        };
        let change = match decision {
            AttachDecision::Unchanged(id) => {
                return (Ok(Attached::Done { id, changed: false, grants }), Vec::new());
            }
            AttachDecision::Change(change) => change,
        };
        match self.carry_out(&change, &attach.namespace).await {
            Ok(attachment) => {
                log_attached(&attachment, started.elapsed());
                log_unserved(&self.catalogue, &attachment);
                let id = attachment.id().clone();
                (Ok(Attached::Done { id, changed: true, grants }), change.plan.afterwards)
            }
            Err(error) => (Err(error), Vec::new()),
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
    async fn carry_out(&mut self, change: &Change, namespace: &Namespace) -> Result<Attachment> {
        let attachment = change.attached.clone().expect("to attach makes an attachment");
        let previous = self.ledger.get(attachment.id()).cloned();
        let pending = Record::pending(attachment.clone(), previous.clone());
        let recorded = self.keep_networks(&attachment).and_then(|()| {
            self.store.record(&pending).map_err(|error| unrecorded(&error))
        });
        if let Err(error) = recorded {
            self.forget_networks(&attachment);
            return Err(error);
        }
        let carried_out = tokio::task::block_in_place(|| {
            self.kernel.carry_out(&change.plan.steps, Some(namespace))
        });
        if let Err(error) = carried_out {
            self.forget_networks(&attachment);
            let restored = match previous {
                Some(previous) => self.store.record(&Record::live(previous)),
                None => self.store.forget(attachment.id()),
            };
            if let Err(error) = restored {
                tracing::error!(error = chain(&error), "cannot put the record right");
            }
            return Err(internal(&error));
        }
        self.ledger.insert(attachment.clone());
        if let Some(previous) = &previous {
            self.forget_networks(previous);
        }
        if let Err(error) = self.store.record(&Record::live(attachment.clone())) {
            // The record stays pending: a restart would take the attachment for unfinished.
            tracing::error!(error = chain(&error), "cannot record that the attachment is live");
        }
        self.keep_leases();
        self.objects.publish(&attachment);
        Ok(attachment)
    }

    /// Detaches; answers, and says what remains to be done after the answer.
    pub(super) async fn detach(
        &mut self,
        selection: &Selection,
    ) -> (Result<Vec<Attachment>>, Vec<Step>) {
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
        let mut afterwards = Vec::new();
        for id in selected {
            match self.release(&id).await {
                Ok((attachment, steps)) => {
                    log_detached(&attachment, "detached", started.elapsed());
                    detached.push(attachment);
                    afterwards.extend(steps);
                }
                Err(error) => return (Err(error), afterwards),
            }
        }
        (Ok(detached), afterwards)
    }

    /// Releases those of the attachments whose links are gone.
    pub(super) async fn release_dead(&mut self, candidates: &[AttachmentId]) {
        for id in candidates {
            let Some(attachment) = self.ledger.get(id) else { continue };
            let links = attachment.interfaces().iter();
            let links = links.map(|interface| interface.veth.host_link.clone()).collect();
            let query = Query { links, ..Query::default() };
            let Ok(observed) = self.observe(&query, None) else { continue };
            if query.links.iter().all(|link| observed.links.contains_key(link.as_str())) {
                continue;
            }
            let started = Instant::now();
            match self.release(id).await {
                Ok((attachment, afterwards)) => {
                    log_detached(&attachment, "container is gone", started.elapsed());
                    self.publish_names();
                    self.finish(&afterwards);
                }
                Err(error) => {
                    tracing::error!(%id, %error, "cannot release a container that is gone");
                }
            }
        }
    }

    /// Takes an attachment out of service, the ledger, the store and off the bus.
    async fn release(&mut self, id: &AttachmentId) -> Result<(Attachment, Vec<Step>)> {
        let observed = self.observe(&planner::detach_query(), None)?;
        let attachment = self.ledger.get(id).expect("it was selected from the ledger").clone();
        let change = planner::detach(self.world(), &observed, &attachment);
        let steps = &change.plan.steps;
        let carried_out = tokio::task::block_in_place(|| self.kernel.carry_out(steps, None));
        self.ledger.remove(id);
        if let Err(error) = carried_out {
            // Somebody else changed the ruleset: make it anew without the attachment.
            tracing::warn!(error = chain(&error), "the ruleset is not what it was; making it anew");
            let query = planner::reconcile_query(self.world(), Scope::Everything);
            let observed = self.observe(&query, None)?;
            let plan = planner::reconcile(self.world(), &observed, Scope::Everything).plan;
            let rebuilt = tokio::task::block_in_place(|| self.kernel.carry_out(&plan.steps, None));
            if let Err(error) = rebuilt {
                self.ledger.insert(attachment);
                return Err(internal(&error));
            }
        }
        if let Err(error) = self.store.forget(id) {
            tracing::error!(error = chain(&error), "cannot remove the record");
        }
        self.forget_networks(&attachment);
        self.objects.withdraw(id);
        Ok((attachment, change.plan.afterwards))
    }

    /// Does what nobody waits for.
    pub(super) fn finish(&mut self, steps: &[Step]) {
        for step in steps {
            let done = tokio::task::block_in_place(|| self.kernel.apply(step, None));
            if let Err(error) = done {
                let error = chain(&error);
                tracing::error!(step = step.to_string(), error, "cannot finish a change");
            }
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

/// What comes of a request, and the grants that say so.
enum Decided {
    Allowed(AttachDecision, Vec<String>),
    Ask(Vec<String>),
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

fn log_detached(attachment: &Attachment, outcome: &'static str, elapsed: Duration) {
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
