//! `io.rootful_net1.Attachment`.

use rootful_net_core::attachment::{Attachment, Holder};
use rootful_net_dbus::{AttachmentProperties, Error, InterfaceProperties, PortProperties, Result};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, interface};

use super::manager::check_owner;
use crate::authority::sender_uid;
use crate::engine::{EngineHandle, Selection};

/// One attachment on the bus.
#[derive(Debug)]
pub(crate) struct AttachmentObject {
    properties: AttachmentProperties,
    holder: Holder,
    engine: EngineHandle,
}

impl AttachmentObject {
    pub(crate) fn new(attachment: &Attachment, engine: EngineHandle) -> Self {
        Self { properties: attachment.into(), holder: attachment.holder(), engine }
    }

    /// Shows the attachment as it is now, and tells of what changed.
    pub(crate) async fn update(
        &mut self,
        attachment: &Attachment,
        emitter: &SignalEmitter<'_>,
    ) -> zbus::Result<()> {
        let new = AttachmentProperties::from(attachment);
        let old = std::mem::replace(&mut self.properties, new);
        if old.container_id != self.properties.container_id {
            self.container_id_changed(emitter).await?;
        }
        if old.interfaces != self.properties.interfaces {
            self.interfaces_changed(emitter).await?;
        }
        if old.ports != self.properties.ports {
            self.ports_changed(emitter).await?;
        }
        if old.dns != self.properties.dns {
            self.dns_changed(emitter).await?;
        }
        Ok(())
    }
}

#[interface(name = "io.rootful_net1.Attachment", introspection_docs = false)]
impl AttachmentObject {
    /// Detaches this attachment.
    async fn detach(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        let uid = sender_uid(connection, &header).await?;
        check_owner(uid, self.holder.owner)?;
        let detached = self.engine.detach(Selection::Holder(self.holder.clone())).await?;
        if detached.is_empty() {
            return Err(Error::NotFound(format!("{} is not attached any more", self.holder)));
        }
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> &str {
        &self.properties.id
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn owner(&self) -> u32 {
        self.properties.owner
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.properties.name
    }

    #[zbus(property)]
    fn container_id(&self) -> &str {
        &self.properties.container_id
    }

    #[zbus(property)]
    fn interfaces(&self) -> Vec<InterfaceProperties> {
        self.properties.interfaces.clone()
    }

    #[zbus(property)]
    fn ports(&self) -> Vec<PortProperties> {
        self.properties.ports.clone()
    }

    #[zbus(property)]
    fn dns(&self) -> Vec<String> {
        self.properties.dns.clone()
    }
}
