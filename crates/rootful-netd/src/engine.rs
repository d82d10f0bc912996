//! The engine: one task that makes all changes, in the order in which they were asked for. It has core
//! decide, the kernel crate act and the store remember; it decides nothing itself.

mod change;
mod start;

use futures_util::{Stream, StreamExt as _};
use rootful_net_core::attachment::{Attachment, AttachmentId, Holder, NamespaceId};
use rootful_net_core::catalogue::Catalogue;
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::Ledger;
use rootful_net_core::name::ContainerName;
use rootful_net_core::ownership::Owner;
use rootful_net_core::planner::World;
use rootful_net_core::policy::{Caller, Policy};
use rootful_net_core::request::{AttachRequest, ContainerId, OnConflict};
use rootful_net_dbus::{Error, Result};
use rootful_net_kernel::{Kernel, LinkEvent, Namespace};
use tokio::sync::{mpsc, oneshot};

use crate::service::Objects;
use crate::store::Store;

pub(crate) use start::start;

/// How many requests may wait; more are told that the service is busy.
const QUEUE_LENGTH: usize = 256;

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
    Attach(Attach, oneshot::Sender<Result<(AttachmentId, bool)>>),
    Plan(Attach, oneshot::Sender<Result<String>>),
    Detach(Selection, oneshot::Sender<Result<Vec<Attachment>>>),
}

/// Where requests are handed to the engine.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Command>,
}

impl EngineHandle {
    /// Attaches; answers with the attachment and whether anything changed.
    pub(crate) async fn attach(&self, attach: Attach) -> Result<(AttachmentId, bool)> {
        self.ask(|reply| Command::Attach(attach, reply)).await
    }

    /// Says what attaching would do.
    pub(crate) async fn plan(&self, attach: Attach) -> Result<String> {
        self.ask(|reply| Command::Plan(attach, reply)).await
    }

    /// Detaches; answers with what was attached.
    pub(crate) async fn detach(&self, selection: Selection) -> Result<Vec<Attachment>> {
        self.ask(|reply| Command::Detach(selection, reply)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(command(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Unavailable(format!(
                "{QUEUE_LENGTH} requests are waiting already; try again later"
            )),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        answer.await.map_err(|_| stopping())?
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
    policy: Policy,
    key: AddressKey,
    ledger: Ledger,
    objects: Objects,
    commands: mpsc::Receiver<Command>,
}

impl Engine {
    /// Makes changes until nobody can ask for any more.
    pub(crate) async fn run(mut self, link_events: impl Stream<Item = LinkEvent>) {
        let mut link_events = std::pin::pin!(link_events);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
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
                let _ = reply.send(answer);
                self.finish(&afterwards);
            }
            Command::Plan(attach, reply) => {
                let _ = reply.send(self.plan(&attach));
            }
            Command::Detach(selection, reply) => {
                let (answer, afterwards) = self.detach(&selection).await;
                let _ = reply.send(answer);
                self.finish(&afterwards);
            }
        }
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
