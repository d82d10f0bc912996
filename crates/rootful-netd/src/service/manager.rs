//! `io.rootful_net1.Manager`: who calls, with what, and on to the engine.

use rootful_net_core::attachment::Holder;
use rootful_net_core::name::ContainerName;
use rootful_net_core::ownership::{Owner, may_attach};
use rootful_net_dbus::name::attachment_path;
use rootful_net_dbus::{AttachMessage, DetachOptions, Dictionary, Error, Result};
use rootful_net_kernel::Namespace;
use zbus::message::Header;
use zbus::{Connection, OwnedFd, OwnedObjectPath, interface};

use crate::authority::{caller, sender_uid};
use crate::engine::{Attach, EngineHandle, Selection};
use crate::error::{namespace_error, namespace_refused};

/// The manager object.
#[derive(Debug)]
pub(crate) struct Manager {
    engine: EngineHandle,
}

impl Manager {
    pub(crate) fn new(engine: EngineHandle) -> Self {
        Self { engine }
    }
}

#[interface(name = "io.rootful_net1.Manager", introspection_docs = false)]
impl Manager {
    /// Attaches a namespace.
    #[zbus(out_args("attachment", "changed"))]
    #[expect(clippy::too_many_arguments, reason = "the message has them")]
    async fn attach(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        namespace: OwnedFd,
        name: String,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<(OwnedObjectPath, bool)> {
        let uid = sender_uid(connection, &header).await?;
        let message = AttachMessage::from_wire(name, networks, publish, options)?;
        let attach = verified(uid, namespace, &message).await?;
        let (id, changed) = self.engine.attach(attach).await?;
        Ok((attachment_path(&id), changed))
    }

    /// Says what `Attach` would do.
    #[zbus(out_args("plan"))]
    #[expect(clippy::too_many_arguments, reason = "the message has them")]
    async fn plan(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        namespace: OwnedFd,
        name: String,
        networks: Vec<String>,
        publish: Vec<String>,
        options: Dictionary,
    ) -> Result<String> {
        let uid = sender_uid(connection, &header).await?;
        let message = AttachMessage::from_wire(name, networks, publish, options)?;
        let attach = verified(uid, namespace, &message).await?;
        self.engine.plan(attach).await
    }

    /// Detaches by name.
    #[zbus(out_args("detached"))]
    async fn detach(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        name: String,
        options: Dictionary,
    ) -> Result<bool> {
        let uid = sender_uid(connection, &header).await?;
        let owner = owner(uid, options)?;
        let name: ContainerName =
            name.parse().map_err(|error| Error::InvalidArgument(format!("{error}")))?;
        let selection = Selection::Holder(Holder { owner, name });
        Ok(!self.engine.detach(selection).await?.is_empty())
    }

    /// Detaches what a namespace was attached as.
    #[zbus(out_args("detached"))]
    async fn detach_namespace(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        namespace: OwnedFd,
    ) -> Result<bool> {
        let uid = sender_uid(connection, &header).await?;
        let (namespace, _) = verify(uid, namespace)?;
        let selection = Selection::Namespace(namespace.id());
        Ok(!self.engine.detach(selection).await?.is_empty())
    }

    /// Detaches everything of one owner.
    #[zbus(out_args("names"))]
    async fn detach_all(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        options: Dictionary,
    ) -> Result<Vec<String>> {
        let uid = sender_uid(connection, &header).await?;
        let owner = owner(uid, options)?;
        let detached = self.engine.detach(Selection::Owner(owner)).await?;
        Ok(detached.iter().map(|attachment| attachment.name().to_string()).collect())
    }

    /// The version of the service.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Takes the descriptor for a namespace that the caller may attach, or refuses it.
fn verify(uid: u32, namespace: OwnedFd) -> Result<(Namespace, Owner)> {
    let namespace = Namespace::verify(namespace.into()).map_err(|error| namespace_error(&error))?;
    let owner = may_attach(uid, namespace.ownership());
    Ok((namespace, owner.map_err(|refused| namespace_refused(&refused))?))
}

async fn verified(uid: u32, namespace: OwnedFd, message: &AttachMessage) -> Result<Attach> {
    let (request, on_conflict) = message.parse()?;
    let (namespace, owner) = verify(uid, namespace)?;
    let caller = caller(uid).await?;
    Ok(Attach { caller, namespace, owner, request, on_conflict })
}

/// Whose attachments the options mean.
fn owner(uid: u32, options: Dictionary) -> Result<u32> {
    let owner = DetachOptions::from_wire(options)?.owner.unwrap_or(uid);
    check_owner(uid, owner)?;
    Ok(owner)
}

/// Users act on what is theirs, root on everything.
pub(super) fn check_owner(uid: u32, owner: u32) -> Result<()> {
    if uid == owner || uid == 0 {
        return Ok(());
    }
    Err(Error::NotAuthorized(format!(
        "user {uid} may not detach containers of user {owner}; that user or root can"
    )))
}
