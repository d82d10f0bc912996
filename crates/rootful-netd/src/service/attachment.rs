//! `io.rootful_net1.Attachment`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rootful_net_core::attachment::{Attachment, Holder};
use rootful_net_dbus::{AttachmentProperties, Error, InterfaceProperties, PortProperties, Result};
use zbus::interface;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use super::manager::detach;
use crate::authority::Authority;
use crate::engine::{EngineHandle, Selection};

/// One attachment on the bus.
#[derive(Debug)]
pub(crate) struct AttachmentObject {
    properties: Mutex<AttachmentProperties>,
    holder: Holder,
    engine: EngineHandle,
    authority: Authority,
}

impl AttachmentObject {
    pub(crate) fn new(attachment: &Attachment, engine: EngineHandle, authority: Authority) -> Self {
        let properties = Mutex::new(attachment.into());
        Self { properties, holder: attachment.holder(), engine, authority }
    }

    /// Shows the attachment as it is now, and tells of what changed.
    pub(crate) async fn update(
        &self,
        attachment: &Attachment,
        emitter: &SignalEmitter<'_>,
    ) -> zbus::Result<()> {
        let new = AttachmentProperties::from(attachment);
        let old = std::mem::replace(&mut *self.properties(), new.clone());
        if old.container_id != new.container_id {
            self.container_id_changed(emitter).await?;
        }
        if old.interfaces != new.interfaces {
            self.interfaces_changed(emitter).await?;
        }
        if old.ports != new.ports {
            self.ports_changed(emitter).await?;
        }
        if old.dns != new.dns {
            self.dns_changed(emitter).await?;
        }
        Ok(())
    }

    fn properties(&self) -> MutexGuard<'_, AttachmentProperties> {
        self.properties.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[interface(name = "io.rootful_net1.Attachment", introspection_docs = false)]
impl AttachmentObject {
    /// Detaches this attachment.
    async fn detach(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        let sender = self.authority.sender(&header)?;
        let Holder { owner, name } = self.holder.clone();
        let selection = Selection::Holder(self.holder.clone());
        let detached =
            detach(&self.authority, &self.engine, &sender, owner, name.as_str(), selection).await?;
        if detached.is_empty() {
            return Err(Error::NotFound(format!("{} is not attached any more", self.holder)));
        }
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.properties().id.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn owner(&self) -> u32 {
        self.holder.owner
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        self.holder.name.as_str()
    }

    #[zbus(property)]
    fn container_id(&self) -> String {
        self.properties().container_id.clone()
    }

    #[zbus(property)]
    fn interfaces(&self) -> Vec<InterfaceProperties> {
        self.properties().interfaces.clone()
    }

    #[zbus(property)]
    fn ports(&self) -> Vec<PortProperties> {
        self.properties().ports.clone()
    }

    #[zbus(property)]
    fn dns(&self) -> Vec<String> {
        self.properties().dns.clone()
    }
}
