//! Where everything stands that the model of the engine speaks of: the host, the service, its clients, and what is
//! recorded and promised.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use rootful_net_core::attachment::{Attachment, AttachmentId, Holder, NamespaceId};
use rootful_net_core::ledger::Ledger;
use rootful_net_core::plan::Step;

use crate::host::SimulatedHost;

/// How often what can go wrong does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mishaps {
    /// The service is killed.
    pub(crate) crashes: u8,
    /// A client does not repeat a request that was not answered.
    pub(crate) given_up: u8,
    /// An event is delivered once more.
    pub(crate) duplicates: u8,
    /// All events that are on their way are lost.
    pub(crate) losses: u8,
    /// The kernel refuses a step.
    pub(crate) refusals: u8,
    /// The engine looks around without need.
    pub(crate) looks: u8,
}

/// Something with a number that stands for it.
#[derive(Clone)]
pub(crate) struct Numbered<T>(Rc<T>, pub(crate) usize);

impl<T> fmt::Debug for Numbered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.1)
    }
}

impl<T> std::ops::Deref for Numbered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

pub(crate) fn number<T: PartialEq>(known: &RefCell<Vec<Rc<T>>>, item: T) -> Numbered<T> {
    let mut known = known.borrow_mut();
    let position = known.iter().position(|other| **other == item);
    let position = position.unwrap_or_else(|| {
        known.push(Rc::new(item));
        known.len() - 1
    });
    Numbered(Rc::clone(&known[position]), position)
}

pub(crate) type Known = Numbered<Attachment>;
pub(crate) type Steps = Numbered<Vec<Step>>;

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Pending { previous: Option<Known> },
    Live,
    Ending,
}

/// What is recorded of an attachment.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) phase: Phase,
    pub(crate) attachment: Known,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Removed(String),
    Lost,
}

/// What a client was told.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    Attached(NamespaceId),
    Detached,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// How many of its calls are done.
    pub(crate) done: usize,
    /// Whether the next one is under way; to attach, it has the namespace open meanwhile.
    pub(crate) waits: bool,
}

/// An operation of the engine: one that nothing interrupts, and that may bring on others.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Decide {
        client: usize,
        again: bool,
    },
    DecideAgain {
        client: usize,
    },
    Write(Record),
    Forget(AttachmentId),
    Keep(AttachmentId, NamespaceId),
    LetGo,
    /// Steps that are taken back when one fails.
    CarryOut {
        steps: Steps,
        next: usize,
        within: Option<NamespaceId>,
        then: Rc<Then>,
    },
    /// Steps that end with one that fails: what is left is repaired when the engine looks after things.
    Finish {
        steps: Steps,
        next: usize,
    },
    /// Steps of which one that fails does not keep the others from being done.
    ApplyEach {
        steps: Steps,
        next: usize,
        within: Option<NamespaceId>,
    },
    Enter(Known),
    Strike(AttachmentId),
    Answer {
        client: usize,
        is_done: bool,
    },
    LookAfter {
        round: u8,
    },
    ReleaseDead(AttachmentId),
    Release {
        id: AttachmentId,
        client: Option<usize>,
    },
    Resume,
    GoBack {
        attachment: Known,
        previous: Known,
    },
    ForgetDropped,
}

/// What follows when all steps are done, and when one failed.
pub(crate) struct Then {
    pub(crate) done: Vec<Operation>,
    pub(crate) failed: Vec<Operation>,
    pub(crate) number: usize,
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number)
    }
}

/// A host, with what tells it from others.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) host: Rc<SimulatedHost>,
    pub(crate) number: usize,
}

/// Where everything stands.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) host: Host,
    /// What is going on inside the service; nothing where it does not run.
    pub(crate) running: bool,
    pub(crate) ledger: Rc<Ledger>,
    /// The numbers of what is in the ledger.
    pub(crate) entered: BTreeMap<AttachmentId, usize>,
    /// What the engine is about to do, the next last.
    pub(crate) work: Vec<Operation>,
    /// The namespace of the request that is under way.
    pub(crate) open: Option<NamespaceId>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) unfinished: bool,
    /// Whether there was anything to repair the last time.
    pub(crate) repaired: bool,
    pub(crate) records: BTreeMap<AttachmentId, Record>,
    /// Whether the kernel refused to change the rules, and did not do so since.
    pub(crate) rules_refused: bool,
    pub(crate) kept: Option<(AttachmentId, NamespaceId)>,
    pub(crate) clients: Vec<Client>,
    /// The namespaces whose containers run.
    pub(crate) alive: BTreeSet<NamespaceId>,
    pub(crate) promises: BTreeMap<Holder, Promise>,
    pub(crate) left: Mishaps,
    pub(crate) fault: Option<String>,
}

impl State {
    pub(crate) fn is_idle(&self) -> bool {
        self.running && self.work.is_empty()
    }

    /// Has the engine do these in order, before what it is to do already.
    pub(crate) fn push(
        &mut self,
        operations: impl IntoIterator<Item = Operation, IntoIter: DoubleEndedIterator>,
    ) {
        self.work.extend(operations.into_iter().rev());
    }

    pub(crate) fn become_host(&mut self, host: Host, removed: Vec<String>) {
        if self.running {
            self.events.extend(removed.into_iter().map(Event::Removed));
        }
        self.host = host;
    }
}
