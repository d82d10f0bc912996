//! The objects on the bus: one an attachment, one a network, kept as the engine says. The engine does not wait
//! for it.

use rootful_net_core::attachment::{Attachment, AttachmentId};
use rootful_net_core::name::NetworkName;
use rootful_net_core::network::Network;
use rootful_net_dbus::name::{MANAGER_PATH, attachment_path, network_path};
use tokio::sync::{mpsc, oneshot};
use zbus::Connection;

use super::attachment::AttachmentObject;
use super::network::NetworkObject;
use super::object_manager::{ObjectManager, Shown};
use crate::authority::Authority;
use crate::engine::EngineHandle;

enum Change {
    Publish(Box<Attachment>),
    Withdraw(AttachmentId),
    PublishNetwork(Box<Network>),
    WithdrawNetwork(NetworkName),
    Then(Box<dyn FnOnce() + Send>),
}

/// Puts objects on the bus and takes them off, in the order in which it is told. A bus that fails is logged:
/// the network of a container does not depend on who is told of it.
#[derive(Clone)]
pub(crate) struct Objects {
    changes: mpsc::UnboundedSender<Change>,
}

impl Objects {
    /// Has the object manager be there, without objects yet.
    ///
    /// # Errors
    /// The bus fails.
    pub(crate) async fn new(
        connection: Connection,
        engine: EngineHandle,
        authority: Authority,
    ) -> zbus::Result<Self> {
        let shown = Shown::default();
        let manager = ObjectManager::new(shown.clone());
        connection.object_server().at(MANAGER_PATH, manager).await?;
        // As long as what the engine does, which is bounded.
        let (changes, mut receiver) = mpsc::unbounded_channel();
        let keeper = Keeper { connection, engine, authority, shown };
        tokio::spawn(async move {
            while let Some(change) = receiver.recv().await {
                keeper.make(change).await;
            }
        });
        Ok(Self { changes })
    }

    /// Shows an attachment, in the place of one with the same id.
    pub(crate) fn publish(&self, attachment: &Attachment) {
        self.tell(Change::Publish(Box::new(attachment.clone())));
    }

    /// Takes an attachment off.
    pub(crate) fn withdraw(&self, id: &AttachmentId) {
        self.tell(Change::Withdraw(id.clone()));
    }

    /// Shows a network.
    pub(crate) fn publish_network(&self, network: &Network) {
        self.tell(Change::PublishNetwork(Box::new(network.clone())));
    }

    /// Takes a network off.
    pub(crate) fn withdraw_network(&self, name: &NetworkName) {
        self.tell(Change::WithdrawNetwork(name.clone()));
    }

    /// Does something once the bus shows everything that was told before.
    pub(crate) fn then(&self, work: impl FnOnce() + Send + 'static) {
        self.tell(Change::Then(Box::new(work)));
    }

    /// Waits until the bus shows everything that was told before, and those who waited for it have been told.
    pub(crate) async fn are_shown(&self) {
        let (shown, all_shown) = oneshot::channel();
        self.then(move || _ = shown.send(()));
        // The task ends with the process.
        let _ = all_shown.await;
    }

    fn tell(&self, change: Change) {
        // The task ends with the process.
        let _ = self.changes.send(change);
    }
}

struct Keeper {
    connection: Connection,
    engine: EngineHandle,
    authority: Authority,
    shown: Shown,
}

impl Keeper {
    async fn make(&self, change: Change) {
        match change {
            Change::Publish(attachment) => self.publish(&attachment).await,
            Change::Withdraw(id) => self.withdraw(&id).await,
            Change::PublishNetwork(network) => self.publish_network(&network).await,
            Change::WithdrawNetwork(name) => self.withdraw_network(&name).await,
            Change::Then(work) => work(),
        }
    }

    async fn publish(&self, attachment: &Attachment) {
        let path = attachment_path(attachment.id());
        let server = self.connection.object_server();
        let shown = async {
            match server.interface::<_, AttachmentObject>(&path).await {
                // Calls of the object hold it for as long as they wait: it is changed beside them.
                Ok(shown) => {
                    let object = shown.get().await;
                    object.update(attachment, shown.signal_emitter()).await?;
                    self.shown.show(&self.connection, &path, &object).await
                }
                Err(_) => {
                    let (engine, authority) = (self.engine.clone(), self.authority.clone());
                    let object = AttachmentObject::new(attachment, engine, authority);
                    self.shown.show(&self.connection, &path, &object).await?;
                    server.at(&path, object).await.map(|_| ())
                }
            }
        };
        if let Err(error) = shown.await {
            tracing::error!(path = path.as_str(), %error, "cannot show the attachment on the bus");
        }
    }

    async fn withdraw(&self, id: &AttachmentId) {
        let path = attachment_path(id);
        self.shown.withdraw(&path);
        let server = self.connection.object_server();
        if let Err(error) = server.remove::<AttachmentObject, _>(&path).await {
            tracing::error!(path = path.as_str(), %error, "cannot take the attachment off the bus");
        }
    }

    async fn publish_network(&self, network: &Network) {
        let path = network_path(network.name());
        let object = NetworkObject::new(network);
        self.shown.show_network(network);
        if let Err(error) = self.connection.object_server().at(&path, object).await {
            tracing::error!(path = path.as_str(), %error, "cannot show the network on the bus");
        }
    }

    async fn withdraw_network(&self, name: &NetworkName) {
        let path = network_path(name);
        self.shown.withdraw_network(name);
        let server = self.connection.object_server();
        if let Err(error) = server.remove::<NetworkObject, _>(&path).await {
            tracing::error!(path = path.as_str(), %error, "cannot take the network off the bus");
        }
    }
}
