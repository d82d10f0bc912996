//! The engine: one task that makes all changes, in the order in which they were asked for. It has core
//! decide, the kernel crate act and the store remember; it decides nothing itself.

mod change;
mod in_use;
mod leases;
mod policy;
mod start;

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _};
use rootful_net_core::attachment::{Attachment, AttachmentId, Holder, NamespaceId};
use rootful_net_core::catalogue::Catalogue;
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::dns;
use rootful_net_core::ledger::Ledger;
use rootful_net_core::name::ContainerName;
use rootful_net_core::ownership::Owner;
use rootful_net_core::planner::World;
use rootful_net_core::policy::Caller;
use rootful_net_core::request::{AttachRequest, ContainerId, OnConflict};
use rootful_net_dbus::{Error, Result};
use rootful_net_kernel::{Kernel, LinkEvent, Namespace};
use tokio::sync::{Notify, oneshot};

use crate::dns::NameServer;
use crate::fair_queue::{FairQueue, Line};
use crate::service::Objects;
use crate::store::Store;

use leases::LeaseFile;
use policy::PolicyInForce;

pub(crate) use policy::{Checked, Shown};
pub(crate) use start::start;

/// How many requests of one user may wait; more are told that the service is busy.
const QUEUE_LENGTH: usize = 64;

/// A verified request to attach.
#[derive(Debug)]
pub(crate) struct Attach {
    /// Who asks.
    pub(crate) caller: Caller,
    /// The namespace.
    pub(crate) namespace: Namespace,
    /// Who owns it.
    pub(crate) owner: Owner,
    /// What is asked for.
    pub(crate) request: AttachRequest,
    /// What to do where it is attached already.
    pub(crate) on_conflict: OnConflict,
    /// Which state of the policy polkit gave its consent for.
    pub(crate) consent: Option<u64>,
}

/// What came of a request to attach.
#[derive(Debug)]
pub(crate) enum Attached {
    /// It is attached.
    Done {
        /// As this.
        id: AttachmentId,
        /// Whether that is new.
        changed: bool,
        /// The grants that allowed it.
        grants: Vec<String>,
    },
    /// Polkit is to be asked, and the request to be made again with its consent.
    AskPolkit {
        /// The request.
        attach: Box<Attach>,
        /// The state of the policy that says so.
        generation: u64,
        /// The grants that say so.
        grants: Vec<String>,
    },
}

/// Which attachments are to be detached.
#[derive(Debug)]
pub(crate) enum Selection {
    /// The one of this owner and name.
    Holder(Holder),
    /// The one of this namespace.
    Namespace(NamespaceId),
    /// All of this owner.
    Owner(u32),
    /// What this container of the owner is attached as, if it is so under the name.
    Container {
        /// Whose container.
        owner: u32,
        /// The container.
        id: ContainerId,
        /// The name, where it matters.
        name: Option<ContainerName>,
    },
}

enum Command {
    Attach(Box<Attach>, oneshot::Sender<Result<Attached>>),
    Plan(Box<Attach>, oneshot::Sender<Result<String>>),
    Detach(Selection, oneshot::Sender<Result<Vec<Attachment>>>),
    Reload(oneshot::Sender<Result<()>>),
    Check(Caller, Box<AttachRequest>, oneshot::Sender<Result<Checked>>),
    Show(Caller, oneshot::Sender<Result<Shown>>),
}

/// Where requests are handed to the engine. Users take turns.
#[derive(Clone, Default)]
pub(crate) struct EngineHandle {
    waiting: Arc<Mutex<FairQueue<Command>>>,
    changed: Arc<Notify>,
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineHandle").finish_non_exhaustive()
    }
}

impl EngineHandle {
    /// Attaches, or says that polkit is to be asked first.
    pub(crate) async fn attach(&self, line: Line, attach: Box<Attach>) -> Result<Attached> {
        self.ask(line, |reply| Command::Attach(attach, reply)).await
    }

    /// Says what attaching would do.
    pub(crate) async fn plan(&self, line: Line, attach: Box<Attach>) -> Result<String> {
        self.ask(line, |reply| Command::Plan(attach, reply)).await
    }

    /// Detaches; answers with what was attached.
    pub(crate) async fn detach(&self, line: Line, selection: Selection) -> Result<Vec<Attachment>> {
        self.ask(line, |reply| Command::Detach(selection, reply)).await
    }

    /// Reads the policy again and puts it in force, if it is one.
    pub(crate) async fn reload(&self) -> Result<()> {
        self.ask(Line::User(0), Command::Reload).await
    }

    /// Says what the policy in force says of a request.
    pub(crate) async fn check(
        &self,
        line: Line,
        caller: Caller,
        request: Box<AttachRequest>,
    ) -> Result<Checked> {
        self.ask(line, |reply| Command::Check(caller, request, reply)).await
    }

    /// Says which policy is in force for this user.
    pub(crate) async fn show(&self, line: Line, caller: Caller) -> Result<Shown> {
        self.ask(line, |reply| Command::Show(caller, reply)).await
    }

    async fn ask<T>(
        &self,
        line: Line,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.line(line).count() >= QUEUE_LENGTH {
                return Err(Error::Unavailable(format!(
                    "{QUEUE_LENGTH} requests of this user are waiting already; try again later"
                )));
            }
            waiting.push(line, command(reply));
        }
        self.changed.notify_one();
        answer.await.map_err(|_| stopping())?
    }

    async fn next(&self) -> Command {
        loop {
            let changed = self.changed.notified();
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop(|_| true);
            match next {
                Some((_, command)) => return command,
                None => changed.await,
            }
        }
    }
}

fn stopping() -> Error {
    Error::Unavailable("the service is stopping".to_owned())
}

/// The engine.
pub(crate) struct Engine {
    kernel: Kernel,
    store: Store,
    catalogue: Catalogue,
    policy: PolicyInForce,
    key: AddressKey,
    ledger: Ledger,
    lease_file: LeaseFile,
    objects: Objects,
    name_server: NameServer,
    handle: EngineHandle,
}

impl Engine {
    /// Makes changes for as long as it is polled.
    pub(crate) async fn run(mut self, link_events: impl Stream<Item = LinkEvent>) {
        let mut link_events = std::pin::pin!(link_events);
        loop {
            let handle = self.handle.clone();
            tokio::select! {
                command = handle.next() => self.obey(command).await,
                Some(event) = link_events.next() => self.notice(event).await,
            }
        }
    }

    /// The networks.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    async fn obey(&mut self, command: Command) {
        // Whoever asked may have gone away since; what was asked for happens nevertheless.
        match command {
            Command::Attach(attach, reply) => {
                let (answer, afterwards) = self.attach(attach).await;
                self.objects.then(move || _ = reply.send(answer));
                self.publish_names();
                self.finish(&afterwards);
            }
            Command::Plan(attach, reply) => {
                let _ = reply.send(self.plan(&attach));
            }
            Command::Detach(selection, reply) => {
                let (answer, afterwards) = self.detach(&selection).await;
                self.objects.then(move || _ = reply.send(answer));
                self.publish_names();
                self.finish(&afterwards);
            }
            Command::Reload(reply) => {
                let _ = reply.send(self.reload());
            }
            Command::Check(caller, request, reply) => {
                let _ = reply.send(Ok(self.check(&caller, &request)));
            }
            Command::Show(caller, reply) => {
                let _ = reply.send(Ok(self.show(&caller)));
            }
        }
    }

    /// Has the names of what is attached now served.
    fn publish_names(&self) {
        self.name_server.serve(dns::records(&self.catalogue, &self.ledger));
    }

    async fn notice(&mut self, event: LinkEvent) {
        let dead: Vec<AttachmentId> = match event {
            LinkEvent::Removed { name } => {
                self.ledger.of_host_link(&name).map(|dead| dead.id().clone()).into_iter().collect()
            }
            LinkEvent::Lost => {
                self.ledger.attachments().map(|attachment| attachment.id().clone()).collect()
            }
        };
        self.release_dead(&dead).await;
    }

    fn world(&self) -> World<'_> {
        World { catalogue: &self.catalogue, ledger: &self.ledger, key: &self.key }
    }
}
