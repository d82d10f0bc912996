//! `io.rootful_net1.Manager`: who calls, with what, and on to the engine.

use rootful_net_core::attachment::Holder;
use rootful_net_core::name::{ContainerName, quoted};
use rootful_net_core::ownership::{Owner, may_attach};
use rootful_net_core::request::ContainerId;
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
        let description = Description::of(uid, &name, &options);
        let message = AttachMessage::from_wire(name, networks, publish, options);
        let message = description.logged(message)?;
        let attach = description.logged(verified(uid, namespace, &message).await)?;
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
        let (owner, container_id) = owner_and_container(uid, options)?;
        let name: ContainerName =
            name.parse().map_err(|error| Error::InvalidArgument(format!("{error}")))?;
        let selection = match container_id {
            Some(id) => Selection::Container { owner, id, name: Some(name) },
            None => Selection::Holder(Holder { owner, name }),
        };
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
        let (owner, container_id) = owner_and_container(uid, options)?;
        let selection = match container_id {
            Some(id) => Selection::Container { owner, id, name: None },
            None => Selection::Owner(owner),
        };
        let detached = self.engine.detach(selection).await?;
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

/// What a message to attach says of itself, for the log: the engine logs what it refuses itself.
struct Description {
    uid: u32,
    name: String,
    container_id: Option<String>,
}

impl Description {
    fn of(uid: u32, name: &str, options: &Dictionary) -> Self {
        let container_id = options.get("container-id").and_then(|id| <&str>::try_from(id).ok());
        Self { uid, name: quoted(name), container_id: container_id.map(quoted) }
    }

    fn logged<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            let Self { uid, name, container_id } = self;
            tracing::warn!(uid, name, container_id, %error, "attach refused");
        }
        result
    }
}

/// Whose attachments the options mean, and of which container.
fn owner_and_container(uid: u32, options: Dictionary) -> Result<(u32, Option<ContainerId>)> {
    let DetachOptions { owner, container_id } = DetachOptions::from_wire(options)?;
    let owner = owner.unwrap_or(uid);
    check_owner(uid, owner)?;
    Ok((owner, container_id))
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
