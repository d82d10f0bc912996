//! What can happen next to the model of the engine, and what must hold wherever that leads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use rootful_net_core::attachment::Attachment;
use rootful_net_core::ledger::{Leases, Ledger};
use rootful_net_core::plan::Step;

use crate::engine::{Call, Engine, is_whole};
use crate::explore::Model;
use crate::machine::Machine;
use crate::picture::{Picture, unguarded};
use crate::state::{Client, Event, Operation, Phase, Promise, State};

impl Model for Engine {
    type State = State;

    fn initial(&self) -> State {
        let mut host = Machine::empty(Rc::clone(&self.site), Leases::default()).host;
        let calls = self.clients.iter().flatten();
        let namespaces = calls.filter_map(|call| match call {
            Call::Attach(asked) => Some(asked.namespace),
            Call::Detach(_) => None,
        });
        let namespaces: BTreeSet<_> = namespaces.collect();
        host.namespaces.extend(namespaces.iter().map(|id| (*id, BTreeMap::new())));
        State {
            host: self.numbered(host),
            running: true,
            ledger: Rc::new(Ledger::new(Leases::default())),
            entered: BTreeMap::new(),
            work: Vec::new(),
            open: None,
            events: VecDeque::new(),
            unfinished: false,
            repaired: false,
            records: BTreeMap::new(),
            rules_refused: false,
            kept: None,
            clients: vec![Client { done: 0, waits: false }; self.clients.len()],
            alive: namespaces,
            promises: BTreeMap::new(),
            left: self.mishaps,
            fault: None,
        }
    }

    fn next(&self, state: &State) -> Vec<(String, State)> {
        let mut happenings = Vec::new();
        if state.running && !state.work.is_empty() {
            let mut next = state.clone();
            let label = self.advance(&mut next);
            happenings.push((label, next));
        }
        self.by_clients(state, &mut happenings);
        self.by_containers(state, &mut happenings);
        self.by_service(state, &mut happenings);
        self.by_kernel(state, &mut happenings);
        for (_, next) in &mut happenings {
            self.end_namespaces(next);
        }
        happenings
    }

    fn violation(&self, state: &State) -> Option<String> {
        let always = || state.fault.clone().or_else(|| self.always(state));
        let idle = || state.is_idle().then(|| self.when_idle(state)).flatten();
        let quiescent = || self.is_quiescent(state).then(|| self.when_quiescent(state)).flatten();
        always().or_else(idle).or_else(quiescent)
    }

    fn is_quiescent(&self, state: &State) -> bool {
        let is_asked = state.clients.iter().any(|client| client.waits);
        state.is_idle() && state.events.is_empty() && !state.unfinished && !is_asked
    }

    fn describe(&self, state: &State, into: &mut dyn fmt::Write) {
        let State { running, entered, work, open, events, unfinished, repaired, .. } = state;
        let State { records, rules_refused, kept, clients, alive, promises, left, .. } = state;
        let service = (running, entered, work, open, events, unfinished, repaired);
        let others = (records, rules_refused, kept, clients, alive, promises, left, &state.fault);
        write!(into, "{:?} {service:?} {others:?}", state.host.number).expect("it takes all");
    }
}

type Happenings = Vec<(String, State)>;

fn happens(
    happenings: &mut Happenings,
    state: &State,
    label: String,
    change: impl FnOnce(&mut State),
) {
    let mut next = state.clone();
    change(&mut next);
    happenings.push((label, next));
}

impl Engine {
    fn by_clients(&self, state: &State, happenings: &mut Happenings) {
        for (number, client) in state.clients.iter().enumerate() {
            if client.done == self.clients[number].len() {
                continue;
            }
            let call = self.call(state, number);
            if !client.waits {
                let is_possible = match call {
                    Call::Attach(asked) => state.alive.contains(&asked.namespace),
                    Call::Detach(_) => true,
                };
                happens(happenings, state, format!("client {number} asks"), |next| {
                    let client = &mut next.clients[number];
                    match is_possible {
                        true => client.waits = true,
                        false => client.done += 1,
                    }
                });
                continue;
            }
            let was_killed = state.left.crashes < self.mishaps.crashes;
            if was_killed && state.left.given_up > 0 && (!state.running || state.is_idle()) {
                happens(happenings, state, format!("client {number} gives up"), |next| {
                    next.left.given_up -= 1;
                    next.clients[number] = Client { done: client.done + 1, waits: false };
                });
            }
            if state.is_idle() {
                happens(happenings, state, format!("client {number} is served"), |next| {
                    self.serve(next, number);
                });
            }
        }
    }

    fn serve(&self, state: &mut State, client: usize) {
        let operation = match self.call(state, client) {
            Call::Attach(asked) => {
                state.open = Some(asked.namespace);
                Operation::Decide { client, again: false }
            }
            Call::Detach(holder) => {
                state.promises.remove(holder);
                match state.ledger.of_holder(holder) {
                    Some(attachment) => {
                        Operation::Release { id: attachment.id().clone(), client: Some(client) }
                    }
                    None => Operation::Answer { client, is_done: true },
                }
            }
        };
        state.work.push(operation);
    }

    fn by_containers(&self, state: &State, happenings: &mut Happenings) {
        for namespace in self.mortal.intersection(&state.alive) {
            let label = format!("container {} ends", namespace.inode);
            happens(happenings, state, label, |next| _ = next.alive.remove(namespace));
        }
    }

    fn by_service(&self, state: &State, happenings: &mut Happenings) {
        if !state.running {
            happens(happenings, state, "the service starts".to_owned(), |next| {
                next.running = true;
                next.work.push(Operation::Resume);
            });
        } else if state.left.crashes > 0 {
            happens(happenings, state, "the service is killed".to_owned(), |next| {
                next.left.crashes -= 1;
                next.running = false;
                next.ledger = Rc::new(Ledger::new(Leases::default()));
                next.entered.clear();
                next.work.clear();
                next.open = None;
                next.events.clear();
                (next.unfinished, next.repaired) = (false, false);
                self.change_host(next, |host| host.reserved.clear());
            });
        }
        if state.is_idle() && (state.unfinished || state.left.looks > 0) {
            happens(happenings, state, "the service looks around".to_owned(), |next| {
                next.left.looks -= u8::from(!state.unfinished);
                if state.unfinished || !state.ledger.is_empty() {
                    next.work.push(Operation::LookAfter { round: 0 });
                }
            });
        }
    }

    fn by_kernel(&self, state: &State, happenings: &mut Happenings) {
        if state.is_idle()
            && let Some(event) = state.events.front()
        {
            happens(happenings, state, format!("{event:?} is delivered"), |next| {
                next.events.pop_front();
                self.notice(next, event.clone());
            });
            if state.left.duplicates > 0 {
                happens(happenings, state, format!("{event:?} is doubled"), |next| {
                    next.left.duplicates -= 1;
                    next.events.push_back(event.clone());
                });
            }
            if state.left.losses > 0 {
                happens(happenings, state, "events are lost".to_owned(), |next| {
                    next.left.losses -= 1;
                    next.events = [Event::Lost].into();
                });
            }
        }
        let steps = match state.work.last() {
            Some(
                Operation::CarryOut { steps, next, .. }
                | Operation::ApplyEach { steps, next, .. }
                | Operation::Finish { steps, next },
            ) => steps.get(*next),
            _ => None,
        };
        if let Some(step) = steps.filter(|_| state.left.refusals > 0) {
            let label = format!("refused: {}", step.to_string().lines().next().unwrap_or_default());
            happens(happenings, state, label, |next| {
                next.left.refusals -= 1;
                next.rules_refused |= matches!(step, Step::ChangeRules(_));
                self.refuse(next);
            });
        }
    }

    fn refuse(&self, state: &mut State) {
        match state.work.pop() {
            Some(Operation::CarryOut { steps, next, within, then }) => {
                self.take_back(state, &steps[..next], within, &then);
            }
            Some(Operation::ApplyEach { steps, next, within }) => {
                state.unfinished = true;
                if next + 1 < steps.len() {
                    state.work.push(Operation::ApplyEach { steps, next: next + 1, within });
                }
            }
            Some(Operation::Finish { .. }) => state.unfinished = true,
            _ => {}
        }
    }

    fn always(&self, state: &State) -> Option<String> {
        // Where the rules cannot be changed, what they guard is up all the same until they can.
        if !state.rules_refused
            && let Some(link) = unguarded(self.host(state))
        {
            return Some(format!("{link} is up and not guarded"));
        }
        let attachments: Vec<&Attachment> = state.ledger.attachments().collect();
        for (position, one) in attachments.iter().enumerate() {
            for other in &attachments[position + 1..] {
                if have_in_common(one, other) {
                    return Some(format!(
                        "{} and {} have one address or port",
                        one.name(),
                        other.name()
                    ));
                }
            }
        }
        None
    }

    fn when_idle(&self, state: &State) -> Option<String> {
        let is_live = |attachment: &Attachment| {
            let record = state.records.get(attachment.id());
            record.is_some_and(|record| {
                matches!(record.phase, Phase::Live) && *record.attachment == *attachment
            })
        };
        let mut attachments = state.ledger.attachments();
        if let Some(unrecorded) = attachments.find(|attachment| !is_live(attachment)) {
            return Some(format!("{} is not recorded live", unrecorded.name()));
        }
        let mut records = state.records.keys();
        if let Some(id) = records.find(|id| state.ledger.get(id).is_none()) {
            return Some(format!("{id} is recorded and not in the ledger"));
        }
        state.kept.as_ref().map(|(id, _)| format!("the namespace of {id} is kept for nothing"))
    }

    fn when_quiescent(&self, state: &State) -> Option<String> {
        let host = self.host(state);
        for attachment in state.ledger.attachments() {
            if !is_whole(host, attachment) {
                return Some(format!("{} is attached and not whole", attachment.name()));
            }
        }
        for (holder, promise) in &state.promises {
            let attached = state.ledger.of_holder(holder);
            match promise {
                Promise::Detached if attached.is_some() => {
                    return Some(format!("{holder} was detached and is attached"));
                }
                Promise::Attached(namespace)
                    if state.alive.contains(namespace)
                        && attached.is_none_or(|attached| attached.namespace() != *namespace) =>
                {
                    return Some(format!("{holder} was attached and lost that, and runs"));
                }
                Promise::Detached | Promise::Attached(_) => {}
            }
        }
        let mut fresh = self.memory.fresh.borrow_mut();
        let fresh = fresh.entry(state.entered.values().copied().collect()).or_insert_with(|| {
            let machine = Machine::empty(Rc::clone(&self.site), Leases::default());
            let ledger = Ledger::clone(&state.ledger);
            Picture::of(&Machine { ledger, ..machine }.fresh().host)
        });
        let differences = Picture::of(host).differences(fresh);
        (!differences.is_empty())
            .then(|| format!("the host is not what it is to be:\n{differences}"))
    }
}

fn have_in_common(one: &Attachment, other: &Attachment) -> bool {
    let addresses = |attachment: &Attachment| -> BTreeSet<_> {
        let interfaces = attachment.interfaces().iter();
        let addresses = interfaces.flat_map(|interface| {
            interface.addresses().map(|address| (interface.network.clone(), address))
        });
        addresses.collect()
    };
    let shared_address = addresses(one).intersection(&addresses(other)).next().is_some();
    let port_in_common = one.forwards().iter().any(|own| {
        other.forwards().iter().any(|their| {
            (own.protocol, own.host_port) == (their.protocol, their.host_port)
                && own.host_address.overlaps(their.host_address)
        })
    });
    shared_address || port_in_common
}
