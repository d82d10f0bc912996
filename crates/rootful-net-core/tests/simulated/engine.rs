//! A model of the service's engine, for the order in which things happen. Decisions are the planner's own, and the host
//! is a [`SimulatedHost`].
//!
//! What is modelled: requests of clients that wait for their answers and repeat what was not answered; the engine, one
//! operation at a time: each step of a plan, each record written or removed, each entry in the ledger, each answer. In
//! between containers end, and the service is killed and started again. A namespace exists for as long as it has a
//! process or somebody has it open: the client and the service while a request is under way, and the service manager
//! while links are being replaced. Links that disappear are told of by events, which are delivered in order, at any
//! later time, twice, or not at all, where the engine is told that some were lost. The kernel can refuse a step.
//!
//! What is not: leases, policy, and networks that change; damage by others (that is in [`crate::reconcile`]); records
//! that cannot be written or are torn; the bus; a step that is refused while another refused one is being taken back. A
//! request that waits in the queue is one that was not yet taken up. What comes of a step on a host, and what
//! reconciliation plans there, is remembered: both depend on nothing else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use rootful_net_core::attachment::{Attachment, AttachmentId, Holder, NamespaceId};
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, AttachDecision, Change, Scope};

use crate::host::{Refused, SimulatedHost};
use crate::machine::{Asked, Site};
use crate::picture::Picture;
use crate::state::{
    Client, Event, Host, Known, Mishaps, Operation, Phase, Promise, Record, State, Steps, Then,
    number,
};

/// The most rounds of releasing what is dead before the rest is repaired.
const MAX_ROUNDS: u8 = 8;

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Attach(Asked),
    Detach(Holder),
}

/// A mistake that an engine could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// It takes a removed link for the death of whatever has a link of that name now.
    TrustsEvents,
    /// It takes an interrupted replacement for one that did not begin.
    ForgetsReplacements,
    /// It has the namespace kept only once the replacement is recorded, and lets go of it before it is done.
    KeepsTooShort,
    /// It goes on with what nobody waits for where a step of that fails.
    FinishesRegardless,
    /// It does not record that an attachment ends.
    RecordsNoEnd,
}

/// What can happen on a host.
pub(crate) struct Engine {
    pub(crate) site: Rc<Site>,
    /// What each client asks for, in order.
    pub(crate) clients: Vec<Vec<Call>>,
    /// The namespaces whose containers may end.
    pub(crate) mortal: BTreeSet<NamespaceId>,
    pub(crate) mishaps: Mishaps,
    /// Whether there is a service manager that keeps namespaces.
    pub(crate) is_managed: bool,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) memory: Memory,
}

/// What comes up again and again, told apart by numbers.
#[derive(Default)]
pub(crate) struct Memory {
    attachments: RefCell<Vec<Rc<Attachment>>>,
    plans: RefCell<Vec<Rc<Vec<Step>>>>,
    hosts: RefCell<BTreeMap<String, usize>>,
    continuations: RefCell<Vec<Rc<String>>>,
    /// What a host on which these are attached is to be, by their numbers.
    pub(crate) fresh: RefCell<BTreeMap<Vec<usize>, Picture>>,
    applied: RefCell<HashMap<Application, Applied>>,
    /// What reconciliation plans on a host for what is attached.
    reconciled: RefCell<HashMap<(usize, Vec<usize>), Change>>,
}

/// A host, a plan, which of its steps, and where.
type Application = (usize, usize, usize, Option<NamespaceId>);

/// The host that comes of it, the links that are gone, and whether the step was refused.
type Applied = (Host, Vec<String>, Result<(), Refused>);

impl Engine {
    pub(crate) fn host<'a>(&self, state: &'a State) -> &'a SimulatedHost {
        &state.host.host
    }

    /// The host, with a number that stands for it.
    pub(crate) fn numbered(&self, host: SimulatedHost) -> Host {
        let mut hosts = self.memory.hosts.borrow_mut();
        let number = hosts.len();
        let number = *hosts.entry(format!("{host:?}")).or_insert(number);
        Host { host: Rc::new(host), number }
    }

    pub(crate) fn change_host(&self, state: &mut State, change: impl FnOnce(&mut SimulatedHost)) {
        let mut host = SimulatedHost::clone(self.host(state));
        change(&mut host);
        let removed = std::mem::take(&mut host.removed);
        state.become_host(self.numbered(host), removed);
    }

    pub(crate) fn known(&self, attachment: Attachment) -> Known {
        number(&self.memory.attachments, attachment)
    }

    fn steps(&self, steps: Vec<Step>) -> Steps {
        number(&self.memory.plans, steps)
    }

    pub(crate) fn call(&self, state: &State, client: usize) -> &Call {
        &self.clients[client][state.clients[client].done]
    }

    fn asked(&self, state: &State, client: usize) -> &Asked {
        match self.call(state, client) {
            Call::Attach(asked) => asked,
            Call::Detach(_) => panic!("the client asks for a detachment"),
        }
    }

    fn then(&self, done: Vec<Operation>, failed: Vec<Operation>) -> Rc<Then> {
        let number = number(&self.memory.continuations, format!("{done:?} {failed:?}")).1;
        Rc::new(Then { done, failed, number })
    }

    fn finish(&self, steps: Vec<Step>) -> Operation {
        let (steps, next) = (self.steps(steps), 0);
        match self.mistake {
            Some(Mistake::FinishesRegardless) => Operation::ApplyEach { steps, next, within: None },
            _ => Operation::Finish { steps, next },
        }
    }

    /// Ends the namespaces that nobody has open any more.
    pub(crate) fn end_namespaces(&self, state: &mut State) {
        let waiting = state.clients.iter().enumerate().filter(|(_, client)| client.waits);
        let opened = waiting.filter_map(|(client, _)| match self.call(state, client) {
            Call::Attach(asked) => Some(asked.namespace),
            Call::Detach(_) => None,
        });
        let kept = state.kept.iter().map(|(_, namespace)| *namespace);
        let open: BTreeSet<_> =
            opened.chain(kept).chain(state.open).chain(state.alive.iter().copied()).collect();
        let ended = self.host(state).namespaces.keys().filter(|id| !open.contains(id));
        let ended: Vec<_> = ended.copied().collect();
        if !ended.is_empty() {
            self.change_host(state, |host| ended.into_iter().for_each(|id| host.end(id)));
        }
    }

    /// Does the next operation; says which.
    pub(crate) fn advance(&self, state: &mut State) -> String {
        let operation = state.work.pop().expect("there is something to do");
        let label = match &operation {
            Operation::CarryOut { steps, next, .. }
            | Operation::ApplyEach { steps, next, .. }
            | Operation::Finish { steps, next } => {
                steps.get(*next).map_or_else(|| "steps are done".to_owned(), headline)
            }
            other => format!("{other:?}"),
        };
        self.operate(state, operation);
        label
    }

    fn operate(&self, state: &mut State, operation: Operation) {
        match operation {
            Operation::Decide { client, again } => self.decide(state, client, again),
            Operation::DecideAgain { client } => state.push(match state.repaired {
                true => [Operation::Decide { client, again: true }],
                false => [Operation::Answer { client, is_done: false }],
            }),
            Operation::Write(record) => {
                state.records.insert(record.attachment.id().clone(), record);
            }
            Operation::Forget(id) => _ = state.records.remove(&id),
            Operation::Keep(id, namespace) => {
                state.kept = self.is_managed.then_some((id, namespace));
            }
            Operation::LetGo => state.kept = None,
            Operation::CarryOut { steps, next, within, then } => {
                self.carry_out(state, steps, next, within, &then);
            }
            Operation::ApplyEach { steps, next, within } => {
                if steps.is_empty() {
                    return;
                }
                state.unfinished |= self.apply(state, &steps, next, within).is_err();
                if next + 1 < steps.len() {
                    state.push([Operation::ApplyEach { steps, next: next + 1, within }]);
                }
            }
            Operation::Finish { steps, next } => {
                if steps.is_empty() {
                    return;
                }
                match self.apply(state, &steps, next, None) {
                    Ok(()) if next + 1 < steps.len() => {
                        state.push([Operation::Finish { steps, next: next + 1 }]);
                    }
                    Ok(()) => {}
                    Err(_) => state.unfinished = true,
                }
            }
            Operation::Enter(attachment) => {
                state.entered.insert(attachment.id().clone(), attachment.1);
                Rc::make_mut(&mut state.ledger).insert(Attachment::clone(&attachment));
            }
            Operation::Strike(id) => {
                state.entered.remove(&id);
                Rc::make_mut(&mut state.ledger).remove(&id);
            }
            Operation::Answer { client, is_done } => self.answer(state, client, is_done),
            Operation::LookAfter { round } => self.look_after(state, round),
            Operation::ReleaseDead(id) => {
                let attachment = state.ledger.get(&id);
                let has_links = |attachment: &Attachment| {
                    let mut interfaces = attachment.interfaces().iter();
                    let links = &self.host(state).links;
                    interfaces.all(|port| links.contains_key(port.veth.host_link.as_str()))
                };
                if attachment.is_some_and(|attachment| !has_links(attachment)) {
                    state.push([Operation::Release { id, client: None }]);
                }
            }
            Operation::Release { id, client } => self.release(state, id, client),
            Operation::Resume => self.resume(state),
            Operation::GoBack { attachment, previous } => {
                self.go_back(state, &attachment, previous);
            }
            Operation::ForgetDropped => {
                let dropped = state.records.keys().filter(|id| state.ledger.get(id).is_none());
                let dropped: Vec<_> = dropped.cloned().map(Operation::Forget).collect();
                state.push(dropped);
            }
        }
    }

    /// Applies one of the steps.
    fn apply(
        &self,
        state: &mut State,
        steps: &Steps,
        position: usize,
        within: Option<NamespaceId>,
    ) -> Result<(), Refused> {
        let step = &steps[position];
        let mut applied = self.memory.applied.borrow_mut();
        let key = (state.host.number, steps.1, position, within);
        let (host, removed, outcome) = applied.entry(key).or_insert_with(|| {
            let mut host = SimulatedHost::clone(&state.host.host);
            let outcome = host.apply(step, within);
            let removed = std::mem::take(&mut host.removed);
            (self.numbered(host), removed, outcome)
        });
        state.become_host(host.clone(), removed.clone());
        if matches!(step, Step::ChangeRules(_)) {
            state.rules_refused = outcome.is_err();
        }
        outcome.clone()
    }

    fn decide(&self, state: &mut State, client: usize, again: bool) {
        let asked = self.asked(state, client);
        let host = self.host(state);
        let answer = |is_done| Operation::Answer { client, is_done };
        let change = match self.site.decide(host, &state.ledger, asked) {
            Err(_) => return state.push([answer(false)]),
            Ok(AttachDecision::Unchanged(_)) => return state.push([answer(true)]),
            Ok(AttachDecision::Change(change)) => change,
        };
        let attachment = self.known(change.attached.expect("to attach makes an attachment"));
        let id = attachment.id().clone();
        let previous = state.ledger.get(&id).map(|previous| self.known(previous.clone()));
        if previous.as_ref().is_some_and(|previous| previous.namespace() != asked.namespace) {
            // What was attached under the name is given up.
            state.promises.remove(&asked.holder());
        }
        if matches!(state.promises.get(&asked.holder()), Some(Promise::Detached)) {
            state.promises.remove(&asked.holder());
        }
        let unplugs = change.plan.steps.iter().any(|step| matches!(step, Step::Unplug { .. }));
        let keep = unplugs.then(|| Operation::Keep(id.clone(), asked.namespace));
        let let_go = unplugs.then_some(Operation::LetGo);
        let (within, next) = (Some(asked.namespace), 0);
        let record = |phase| Operation::Write(Record { phase, attachment: attachment.clone() });
        let pending = record(Phase::Pending { previous: previous.clone() });
        let entered = [Operation::Enter(attachment.clone()), record(Phase::Live)];
        let undone = match previous {
            Some(attachment) => Operation::Write(Record { phase: Phase::Live, attachment }),
            None => Operation::Forget(id),
        };
        let after_failure = match again {
            true => vec![Operation::LookAfter { round: 0 }, answer(false)],
            false => vec![Operation::LookAfter { round: 0 }, Operation::DecideAgain { client }],
        };
        let answered = [answer(true), self.finish(change.plan.afterwards)];
        let steps = self.steps(change.plan.steps);
        if self.mistake == Some(Mistake::KeepsTooShort) {
            let done = let_go.clone().into_iter().chain(entered).chain(answered).collect();
            let failed = let_go.into_iter().chain([undone]).chain(after_failure).collect();
            let then = self.then(done, failed);
            let carry_out = Operation::CarryOut { steps, next, within, then };
            return state
                .push([pending].into_iter().chain(keep).chain([carry_out]).collect::<Vec<_>>());
        }
        let done = entered.into_iter().chain(let_go.clone()).chain(answered).collect();
        let failed = [undone].into_iter().chain(let_go).chain(after_failure).collect();
        let carry_out = Operation::CarryOut { steps, next, within, then: self.then(done, failed) };
        state.push(keep.into_iter().chain([pending, carry_out]).collect::<Vec<_>>());
    }

    fn carry_out(
        &self,
        state: &mut State,
        steps: Steps,
        next: usize,
        within: Option<NamespaceId>,
        then: &Rc<Then>,
    ) {
        if steps.is_empty() {
            return state.push(then.done.clone());
        }
        if self.apply(state, &steps, next, within).is_err() {
            return self.take_back(state, &steps[..next], within, then);
        }
        match next + 1 == steps.len() {
            true => state.push(then.done.clone()),
            false => {
                let (next, then) = (next + 1, Rc::clone(then));
                state.push([Operation::CarryOut { steps, next, within, then }]);
            }
        }
    }

    /// Has what was done be undone.
    pub(crate) fn take_back(
        &self,
        state: &mut State,
        done: &[Step],
        within: Option<NamespaceId>,
        then: &Then,
    ) {
        let undo = done.iter().rev().flat_map(Step::undo).collect();
        state.push(then.failed.clone());
        state.push([Operation::ApplyEach { steps: self.steps(undo), next: 0, within }]);
    }

    fn answer(&self, state: &mut State, client: usize, is_done: bool) {
        match self.call(state, client) {
            Call::Attach(asked) if is_done => {
                state.promises.insert(asked.holder(), Promise::Attached(asked.namespace));
            }
            Call::Attach(_) => {}
            Call::Detach(holder) => _ = state.promises.insert(holder.clone(), Promise::Detached),
        }
        state.open = None;
        let client = &mut state.clients[client];
        *client = Client { done: client.done + 1, waits: false };
    }

    fn look_after(&self, state: &mut State, round: u8) {
        let change = {
            let mut reconciled = self.memory.reconciled.borrow_mut();
            let key = (state.host.number, state.entered.values().copied().collect());
            let plan =
                || self.site.plan_reconcile(self.host(state), &state.ledger, Scope::Everything);
            reconciled.entry(key).or_insert_with(plan).clone()
        };
        state.repaired = (round > 0 && state.repaired) || change != Change::default();
        if !change.released.is_empty() && round < MAX_ROUNDS {
            let release = change.released.into_iter().map(Operation::ReleaseDead);
            let again = Operation::LookAfter { round: round + 1 };
            return state.push(release.chain([again]).collect::<Vec<_>>());
        }
        state.unfinished = !change.released.is_empty();
        let steps = self.steps(change.plan.steps);
        let repair = Operation::ApplyEach { steps, next: 0, within: None };
        state.push([repair, self.finish(change.plan.afterwards)]);
    }

    fn release(&self, state: &mut State, id: AttachmentId, client: Option<usize>) {
        let Some(attachment) = state.ledger.get(&id).cloned() else { return };
        if client.is_none() && is_whole(self.host(state), &attachment) {
            state.fault = Some(format!("{} is released although it is whole", attachment.name()));
        }
        let plan = self.site.plan_detach(self.host(state), &state.ledger, &attachment).plan;
        let attachment = self.known(attachment);
        let ending = Operation::Write(Record { phase: Phase::Ending, attachment });
        let strike = || Operation::Strike(id.clone());
        let answer = client.map(|client| Operation::Answer { client, is_done: true });
        let mut done = vec![strike()];
        let mut failed = vec![strike(), Operation::LookAfter { round: 0 }];
        done.extend(answer.clone());
        failed.extend(answer);
        done.push(self.finish(plan.afterwards));
        let forget = Operation::Forget(id);
        done.push(forget.clone());
        failed.push(forget);
        let then = self.then(done, failed);
        let carry_out =
            Operation::CarryOut { steps: self.steps(plan.steps), next: 0, within: None, then };
        let ending = (self.mistake != Some(Mistake::RecordsNoEnd)).then_some(ending);
        state.push(ending.into_iter().chain([carry_out]).collect::<Vec<_>>());
    }

    fn resume(&self, state: &mut State) {
        let records = state.records.values().filter_map(|record| match &record.phase {
            Phase::Live => Some(Operation::Enter(record.attachment.clone())),
            Phase::Ending | Phase::Pending { previous: None } => None,
            Phase::Pending { previous: Some(previous) } => Some(Operation::GoBack {
                attachment: record.attachment.clone(),
                previous: previous.clone(),
            }),
        });
        let records: Vec<_> = records.collect();
        let behind =
            [Operation::LetGo, Operation::LookAfter { round: 0 }, Operation::ForgetDropped];
        state.push(records.into_iter().chain(behind).collect::<Vec<_>>());
    }

    fn go_back(&self, state: &mut State, attachment: &Attachment, previous: Known) {
        if attachment.namespace() != previous.namespace() {
            return;
        }
        let is_kept = state.kept.as_ref().is_some_and(|(id, namespace)| {
            id == attachment.id() && *namespace == previous.namespace()
        });
        let within = Some(previous.namespace());
        let query = planner::restore_query(attachment, &previous);
        let observed = self.host(state).observe(&query, None);
        let steps = match planner::is_untouched(attachment, &previous, &observed) {
            true => Vec::new(),
            false => planner::restore(attachment, &previous),
        };
        let live = Operation::Write(Record { phase: Phase::Live, attachment: previous.clone() });
        let done = vec![live, Operation::Enter(previous), Operation::LetGo];
        if steps.is_empty() || self.mistake == Some(Mistake::ForgetsReplacements) {
            return state.push(done);
        }
        if is_kept {
            let then = self.then(done, vec![Operation::LetGo]);
            state.push([Operation::CarryOut { steps: self.steps(steps), next: 0, within, then }]);
        }
    }

    pub(crate) fn notice(&self, state: &mut State, event: Event) {
        match event {
            Event::Removed(name) => {
                let id = state.ledger.of_host_link(&name).map(|attachment| attachment.id().clone());
                match id {
                    Some(id) if self.mistake == Some(Mistake::TrustsEvents) => {
                        state.push([Operation::Release { id, client: None }]);
                    }
                    Some(id) => state.push([Operation::ReleaseDead(id)]),
                    None => {
                        let world = self.site.world(&state.ledger);
                        let query = planner::link_query(world, &name.parse().unwrap());
                        let observed = self.host(state).observe(&query, None);
                        if !planner::is_link_intact(world, &observed, &name) {
                            state.push([Operation::LookAfter { round: 0 }]);
                        }
                    }
                }
            }
            Event::Lost if state.ledger.is_empty() => {}
            Event::Lost => state.push([Operation::LookAfter { round: 0 }]),
        }
    }
}

/// Whether all links of the attachment lead into its namespace.
pub(crate) fn is_whole(host: &SimulatedHost, attachment: &Attachment) -> bool {
    let inside = host.namespaces.get(&attachment.namespace());
    attachment.interfaces().iter().all(|interface| {
        let veth = &interface.veth;
        let link = host.links.get(veth.host_link.as_str());
        let end = inside.and_then(|inside| inside.get(veth.container_link.as_str()));
        link.zip(end)
            .is_some_and(|(link, end)| link.index == end.peer && end.mac == interface.mac())
    })
}

fn headline(step: &Step) -> String {
    match step {
        Step::ChangeRules(transaction) => {
            format!("change rules in {} places", transaction.changes().len())
        }
        step => step.to_string(),
    }
}
