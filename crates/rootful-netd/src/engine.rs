//! The engine: one task that makes all changes, in the order in which they were asked for. It has core
//! decide, the kernel crate act and the store remember; it decides nothing itself.

mod change;
mod in_use;
mod leases;
mod networks;
mod policy;
mod reconcile;
mod start;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use rootful_net_core::attachment::{Attachment, AttachmentId, Holder, NamespaceId};
use rootful_net_core::catalogue::Catalogue;
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::dns;
use rootful_net_core::ledger::{Lease, Ledger};
use rootful_net_core::name::{ContainerName, NetworkName};
use rootful_net_core::network::Draft;
use rootful_net_core::ownership::Owner;
use rootful_net_core::planner::World;
use rootful_net_core::policy::Caller;
use rootful_net_core::request::{AttachRequest, ContainerId, OnConflict};
use rootful_net_dbus::{Error, LeaseProperties, Result, SkippedLeaseProperties};
use rootful_net_kernel::{Kernel, KernelEvent, Namespace, RulesetMark, fault};
use tokio::sync::{Notify, oneshot};
use tokio::time::MissedTickBehavior;

use crate::dns::NameServer;
use crate::fair_queue::{FairQueue, Line};
use crate::service::Objects;
use crate::store::Store;
use crate::watchdog;

use leases::LeaseFile;
use policy::PolicyInForce;
use reconcile::Upkeep;

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
    Repair(bool, oneshot::Sender<Result<Vec<String>>>),
    Reload(oneshot::Sender<Result<()>>),
    Check(Caller, Box<AttachRequest>, oneshot::Sender<Result<Checked>>),
    Show(Caller, oneshot::Sender<Result<Shown>>),
    ListLeases(Option<u32>, oneshot::Sender<Result<Vec<LeaseProperties>>>),
    ImportLeases(Vec<Lease>, oneshot::Sender<Result<Vec<SkippedLeaseProperties>>>),
    CreateNetwork(Box<Draft>, bool, oneshot::Sender<Result<String>>),
    RemoveNetwork(NetworkName, bool, oneshot::Sender<Result<()>>),
}

/// Where requests are handed to the engine. Users take turns.
#[derive(Clone, Default)]
pub(crate) struct EngineHandle {
    waiting: Arc<Mutex<FairQueue<Command>>>,
    changed: Arc<Notify>,
    is_closed: Arc<AtomicBool>,
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

    /// Brings the kernel and what is recorded together again; answers with what was done, or with a dry run is to
    /// be done.
    pub(crate) async fn repair(&self, dry_run: bool) -> Result<Vec<String>> {
        self.ask(Line::User(0), |reply| Command::Repair(dry_run, reply)).await
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
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(Error::stopping());
            }
            if waiting.line(line).count() >= QUEUE_LENGTH {
                return Err(Error::Unavailable(format!(
                    "{QUEUE_LENGTH} requests of this user are waiting already; try again later"
                )));
            }
            waiting.push(line, command(reply));
        }
        self.changed.notify_one();
        answer.await.map_err(|_| Error::stopping())?
    }

    async fn next(&self) -> Command {
        loop {
            let changed = self.changed.notified();
            match self.waiting_now() {
                Some(command) => return command,
                None => changed.await,
            }
        }
    }

    fn waiting_now(&self) -> Option<Command> {
        let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop(|_| true);
        next.map(|(_, command)| command)
    }

    /// From now on, whoever asks is told that the service is stopping.
    fn close(&self) {
        let _waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_closed.store(true, Ordering::Relaxed);
    }
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
    upkeep: Upkeep,
    kept_mark: Option<RulesetMark>,
    events: Pin<Box<dyn Stream<Item = KernelEvent> + Send>>,
}

impl Engine {
    /// Makes changes until it is told to stop. What was asked for until then is done and answered.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let nothing = Box::pin(futures_util::stream::empty());
        let mut events = std::mem::replace(&mut self.events, nothing).fuse();
        let mut stop = std::pin::pin!(stop);
        let mut regularly = tokio::time::interval(reconcile::INTERVAL);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let handle = self.handle.clone();
            tokio::select! {
                command = handle.next() => self.obey(command),
                Some(event) = events.next() => {
                    let mut is_damaged = self.notice(event);
                    // What belongs together comes together.
                    while let Some(Some(event)) = events.next().now_or_never() {
                        is_damaged |= self.notice(event);
                    }
                    if is_damaged {
                        self.repair_at_once();
                    }
                }
                _ = regularly.tick() => {
                    self.look_around();
                    watchdog::feed();
                }
                () = &mut stop => break,
            }
        }
        self.handle.close();
        while let Some(command) = self.handle.waiting_now() {
            self.obey(command);
        }
        self.keep_remaining_leases();
        self.objects.are_shown().await;
    }

    /// The networks.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may have gone away since; what was asked for happens nevertheless.
        match command {
            Command::Attach(attach, reply) => {
                let _scope = fault::scope("attach");
                let (answer, remainder) = self.attach(attach);
                fault::passage("before the answer");
                self.objects.then(move || _ = reply.send(answer));
                fault::passage("after the answer");
                self.publish_names();
                self.finish(remainder);
            }
            Command::Plan(attach, reply) => {
                let _ = reply.send(self.plan(&attach));
            }
            Command::Detach(selection, reply) => {
                let _scope = fault::scope("detach");
                let (answer, remainder) = self.detach(&selection);
                fault::passage("before the answer");
                self.objects.then(move || _ = reply.send(answer));
                fault::passage("after the answer");
                self.publish_names();
                self.finish(remainder);
            }
            Command::Repair(dry_run, reply) => {
                let _ = reply.send(if dry_run { self.damage() } else { Ok(self.repair()) });
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
            Command::ListLeases(owner, reply) => {
                let _ = reply.send(self.list_leases(owner));
            }
            Command::ImportLeases(leases, reply) => {
                let _ = reply.send(self.import_leases(leases));
            }
            Command::CreateNetwork(draft, ignore, reply) => {
                let _scope = fault::scope("create network");
                let answer = self.create_network(*draft, ignore);
                self.objects.then(move || _ = reply.send(answer));
            }
            Command::RemoveNetwork(name, ignore, reply) => {
                let _scope = fault::scope("remove network");
                let answer = self.remove_network(&name, ignore);
                self.objects.then(move || _ = reply.send(answer));
            }
        }
    }

    /// Has the names of what is attached now served.
    fn publish_names(&self) {
        self.name_server.serve(dns::records(&self.catalogue, &self.ledger));
    }

    fn world(&self) -> World<'_> {
        World { catalogue: &self.catalogue, ledger: &self.ledger, key: &self.key }
    }
}
