//! The objects on the bus: one an attachment, one a network, kept as the engine says.

use rootful_net_core::attachment::{Attachment, AttachmentId};
use rootful_net_core::network::Network;
use rootful_net_dbus::name::{attachment_path, network_path};
use zbus::Connection;

use super::attachment::AttachmentObject;
use super::network::NetworkObject;
use crate::engine::EngineHandle;

/// Puts objects on the bus and takes them off. A bus that fails is logged: the network of a container does
/// not depend on who is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    connection: Connection,
    engine: EngineHandle,
}

impl Objects {
    pub(crate) fn new(connection: Connection, engine: EngineHandle) -> Self {
        Self { connection, engine }
    }

    /// Shows an attachment, in the place of one with the same id.
    pub(crate) async fn publish(&self, attachment: &Attachment) {
        let path = attachment_path(attachment.id());
        let server = self.connection.object_server();
        let shown = match server.interface::<_, AttachmentObject>(&path).await {
            Ok(shown) => shown.get_mut().await.update(attachment, shown.signal_emitter()).await,
            Err(_) => {
                let object = AttachmentObject::new(attachment, self.engine.clone());
                server.at(&path, object).await.map(|_| ())
            }
        };
        if let Err(error) = shown {
            tracing::error!(path = path.as_str(), %error, "cannot show the attachment on the bus");
        }
    }

    /// Takes an attachment off.
    pub(crate) async fn withdraw(&self, id: &AttachmentId) {
        let path = attachment_path(id);
        let server = self.connection.object_server();
        if let Err(error) = server.remove::<AttachmentObject, _>(&path).await {
            tracing::error!(path = path.as_str(), %error, "cannot take the attachment off the bus");
        }
    }

    /// Shows a network.
    pub(crate) async fn publish_network(&self, network: &Network) {
        let path = network_path(network.name());
        let object = NetworkObject::new(network);
        if let Err(error) = self.connection.object_server().at(&path, object).await {
            tracing::error!(path = path.as_str(), %error, "cannot show the network on the bus");
        }
    }
}
