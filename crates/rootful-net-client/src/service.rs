//! The connection to the service. A call that the service did not live to answer is made again: it is the
//! same whether it is made once or twice.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rootful_net_core::name::NetworkName;
use rootful_net_dbus::name::BUS_NAME;
use rootful_net_dbus::{
    AttachMessage, AttachmentProperties, DetachOptions, Error as WireError, ManagerProxy,
    NetworkOptions, NetworkProperties, objects,
};
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Connection, Fd, ObjectPath, OwnedObjectPath};

use crate::again::until_answered;
use crate::error::{Refusal, ServiceError};
use crate::program::Programs;

/// How long a call of a person may take. An attach takes milliseconds, starting the service a second, and whoever is
/// asked for a password has more than a minute to find it.
const DEADLINE: Duration = Duration::from_secs(120);

/// The service on the system bus.
#[derive(Debug)]
pub struct Service {
    connection: Connection,
}

impl Service {
    /// Connects as the caller, who may be a person whom polkit asks for a password: an answer is waited for up to 120 s.
    ///
    /// # Errors
    /// The bus is not there or does not accept the caller.
    pub async fn connect() -> Result<Self, ServiceError> {
        Self::connect_as(None, DEADLINE).await
    }

    /// Connects as [`rootful_net_dbus::connect`] does.
    ///
    /// # Errors
    /// The bus is not there or does not accept the caller.
    pub async fn connect_as(
        user_id: Option<u32>,
        deadline: Duration,
    ) -> Result<Self, ServiceError> {
        Ok(Self { connection: rootful_net_dbus::connect(user_id, deadline).await? })
    }

    /// The connection to the bus.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The manager, for calls that are not made again.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn manager(&self) -> Result<ManagerProxy<'_>, ServiceError> {
        Ok(ManagerProxy::new(&self.connection).await.map_err(WireError::from)?)
    }

    /// Makes a call, and makes it again while the service goes away before it answers.
    ///
    /// # Errors
    /// The service's answer, or there is none.
    pub async fn call<T>(
        &self,
        call: impl AsyncFn() -> Result<T, WireError>,
    ) -> Result<T, ServiceError> {
        Ok(until_answered(call).await?)
    }

    /// Attaches the namespace and says where the attachment is. A conflict names the programs that have the ports,
    /// as far as the caller can see them.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn attach(
        &self,
        namespace: BorrowedFd<'_>,
        message: &AttachMessage,
    ) -> Result<OwnedObjectPath, ServiceError> {
        let manager = self.manager().await?;
        let AttachMessage { name, networks, publish, .. } = message;
        let options = message.options();
        let attach = async || {
            let namespace = Fd::from(namespace);
            manager.attach(namespace, name, networks, publish, &options).await
        };
        match self.call(attach).await {
            Ok((path, _changed)) => Ok(path),
            Err(ServiceError::Refused { refusal: Refusal::Conflict, message: reason }) => {
                Err(self.conflict(message, reason).await)
            }
            Err(error) => Err(error),
        }
    }

    async fn conflict(&self, asked: &AttachMessage, message: String) -> ServiceError {
        let refused = |message| ServiceError::Refused { refusal: Refusal::Conflict, message };
        let Ok((request, _)) = asked.parse() else {
            return refused(message);
        };
        // It keeps the ports of containers from the host's programs, with sockets that its manager may hold, too.
        let service = self.process().await;
        let look = move || Programs::in_the_way(&request.forwards, service);
        match tokio::task::spawn_blocking(look).await {
            Ok(Some(programs)) => ServiceError::PortsInUse { message, programs },
            Ok(None) | Err(_) => refused(message),
        }
    }

    /// The service's process, if the bus tells.
    async fn process(&self) -> Option<u32> {
        let bus = DBusProxy::new(&self.connection).await.ok()?;
        let name = BusName::try_from(BUS_NAME).expect("the service's name is one");
        bus.get_connection_unix_process_id(name).await.ok()
    }

    /// Says what an attach would do, and changes nothing.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn plan(
        &self,
        namespace: BorrowedFd<'_>,
        message: &AttachMessage,
    ) -> Result<String, ServiceError> {
        let manager = self.manager().await?;
        let AttachMessage { name, networks, publish, .. } = message;
        let options = message.options();
        self.call(async || {
            manager.plan(Fd::from(namespace), name, networks, publish, &options).await
        })
        .await
    }

    /// Has the service repair what is attached, or say what there is to repair; answers with the steps. Nobody is asked
    /// for a password for a look.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn repair(&self, dry_run: bool) -> Result<Vec<String>, ServiceError> {
        let manager = self.manager().await?;
        let options = [("dry-run".to_owned(), dry_run.into())].into();
        match dry_run {
            true => self.call(async || manager.look_for_damage(&options).await).await,
            false => self.call(async || manager.repair(&options).await).await,
        }
    }

    /// Detaches by name, and says whether there was such an attachment.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn detach(&self, name: &str, options: DetachOptions) -> Result<bool, ServiceError> {
        let manager = self.manager().await?;
        let options = options.to_dictionary();
        self.call(async || manager.detach(name, &options).await).await
    }

    /// Detaches what the namespace was attached as, and says whether it was.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn detach_namespace(&self, namespace: BorrowedFd<'_>) -> Result<bool, ServiceError> {
        let manager = self.manager().await?;
        self.call(async || manager.detach_namespace(Fd::from(namespace)).await).await
    }

    /// Detaches everything of one owner, and says under which names. Where the service went away in between, the
    /// names that it had detached before are not among them.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn detach_all(&self, options: DetachOptions) -> Result<Vec<String>, ServiceError> {
        let manager = self.manager().await?;
        let options = options.to_dictionary();
        self.call(async || manager.detach_all(&options).await).await
    }

    /// The attachments of all users, by name and then by owner.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn attachments(
        &self,
    ) -> Result<Vec<(OwnedObjectPath, AttachmentProperties)>, ServiceError> {
        let mut attachments =
            self.call(async || objects::attachments(&self.connection).await).await?;
        attachments.sort_by(|(_, a), (_, b)| (&a.name, a.owner).cmp(&(&b.name, b.owner)));
        Ok(attachments)
    }

    /// One attachment.
    ///
    /// # Errors
    /// The service does not answer, or has no attachment there.
    pub async fn attachment(
        &self,
        path: &ObjectPath<'_>,
    ) -> Result<AttachmentProperties, ServiceError> {
        self.call(async || objects::attachment(&self.connection, path).await).await
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn networks(&self) -> Result<Vec<NetworkProperties>, ServiceError> {
        let mut networks = self.call(async || objects::networks(&self.connection).await).await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// The network of this name.
    ///
    /// # Errors
    /// The service does not answer, or has no such network.
    pub async fn network(&self, name: &NetworkName) -> Result<NetworkProperties, ServiceError> {
        self.call(async || objects::network(&self.connection, name).await).await
    }

    /// Makes a network; answers with its definition.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn create_network(
        &self,
        definition: &str,
        options: NetworkOptions,
    ) -> Result<String, ServiceError> {
        let manager = self.manager().await?;
        self.call_once_only(options, async |options| {
            manager.create_network(definition, &options.to_dictionary()).await
        })
        .await
    }

    /// Removes a network.
    ///
    /// # Errors
    /// The service refuses, or does not answer.
    pub async fn remove_network(
        &self,
        name: &NetworkName,
        options: NetworkOptions,
    ) -> Result<(), ServiceError> {
        let manager = self.manager().await?;
        self.call_once_only(options, async |options| {
            manager.remove_network(name.as_str(), &options.to_dictionary()).await
        })
        .await
    }

    /// Makes a call that may succeed only once: where it is lost, it may have been carried out, and that is no error
    /// when it is made again.
    async fn call_once_only<T>(
        &self,
        options: NetworkOptions,
        call: impl AsyncFn(NetworkOptions) -> Result<T, WireError>,
    ) -> Result<T, ServiceError> {
        let is_lost = Cell::new(false);
        self.call(async || {
            let ignore = options.ignore || is_lost.get();
            let answer = call(NetworkOptions { ignore }).await;
            if answer.as_ref().is_err_and(|error| !error.is_restart()) {
                is_lost.set(true);
            }
            answer
        })
        .await
    }
}
