//! The connection to the service and what its failures mean to a person.

use std::io;
use std::time::Duration;

use rootful_net_dbus::{
    AttachmentProperties, ConnectError, Error as WireError, ManagerProxy, NetworkProperties,
    objects,
};
use zbus::{Connection, OwnedObjectPath, fdo};

use crate::error::Exit;

/// How long a call may take. An attach takes milliseconds, starting the service a second, and whoever is asked
/// for a password has more than a minute to find it.
const DEADLINE: Duration = Duration::from_secs(120);

/// The service on the system bus.
#[derive(Debug)]
pub(crate) struct Service {
    connection: Connection,
}

impl Service {
    pub(crate) async fn connect() -> Result<Self, ServiceError> {
        let connection = rootful_net_dbus::connect(None, DEADLINE).await?;
        Ok(Self { connection })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) async fn manager(&self) -> Result<ManagerProxy<'_>, ServiceError> {
        Ok(ManagerProxy::new(&self.connection).await.map_err(WireError::from)?)
    }

    /// The attachments of all users, by name and then by owner.
    pub(crate) async fn attachments(
        &self,
    ) -> Result<Vec<(OwnedObjectPath, AttachmentProperties)>, ServiceError> {
        let mut attachments = objects::attachments(&self.connection).await?;
        attachments.sort_by(|(_, a), (_, b)| (&a.name, a.owner).cmp(&(&b.name, b.owner)));
        Ok(attachments)
    }

    /// All networks, by name.
    pub(crate) async fn networks(&self) -> Result<Vec<NetworkProperties>, ServiceError> {
        let mut networks = objects::networks(&self.connection).await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }
}

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The service, or the bus, said no, in words for the user.
    #[error("{message}")]
    Refused { exit: Exit, message: String },
    #[error(
        "the rootful-net service is not installed or not running: {reason}; \
         see 'systemctl status rootful-netd'"
    )]
    NotRunning { reason: String },
    #[error(
        "the rootful-net service cannot do it now: {reason}; see 'systemctl status rootful-netd'"
    )]
    Unavailable { reason: String },
    #[error(
        "the rootful-net service did not answer within {} s; see 'systemctl status rootful-netd'",
        DEADLINE.as_secs()
    )]
    TimedOut,
    #[error("{message}; see 'journalctl -u rootful-netd'")]
    Internal { message: String },
    #[error(transparent)]
    NoBus(#[from] ConnectError),
    #[error("cannot talk to the rootful-net service")]
    Wire(#[source] zbus::Error),
}

impl ServiceError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused { exit, .. } => *exit,
            Self::NotRunning { .. }
            | Self::Unavailable { .. }
            | Self::TimedOut
            | Self::NoBus(_) => Exit::Unavailable,
            Self::Internal { .. } | Self::Wire(_) => Exit::Failed,
        }
    }
}

impl From<WireError> for ServiceError {
    fn from(error: WireError) -> Self {
        let refused = |exit, message| Self::Refused { exit, message };
        match error {
            WireError::InvalidArgument(message) => refused(Exit::Usage, message),
            WireError::NotAuthorized(message)
            | WireError::QuotaExceeded(message)
            | WireError::NamespaceRefused(message) => refused(Exit::Denied, message),
            WireError::NotFound(message) => refused(Exit::NotFound, message),
            WireError::Conflict(message) | WireError::AddressExhausted(message) => {
                refused(Exit::Conflict, message)
            }
            WireError::NotInitialized(message) => refused(Exit::NotInitialized, message),
            WireError::Unavailable(reason) => Self::Unavailable { reason },
            WireError::Internal(message) => Self::Internal { message },
            WireError::ZBus(error) => from_bus(error),
        }
    }
}

/// What the bus said in the service's place, or that it said nothing.
fn from_bus(error: zbus::Error) -> ServiceError {
    match error {
        zbus::Error::FDO(error) => from_fdo(*error),
        // The bus passes on why systemd could not start the unit.
        zbus::Error::MethodError(name, message, _)
            if name.as_str().starts_with("org.freedesktop.systemd1.") =>
        {
            ServiceError::NotRunning { reason: message.unwrap_or_else(|| name.to_string()) }
        }
        zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut => {
            ServiceError::TimedOut
        }
        zbus::Error::InputOutput(error) => {
            ServiceError::NotRunning { reason: format!("the connection was lost: {error}") }
        }
        error => ServiceError::Wire(error),
    }
}

fn from_fdo(error: fdo::Error) -> ServiceError {
    use fdo::Error as Bus;
    match error {
        Bus::ServiceUnknown(reason)
        | Bus::NameHasNoOwner(reason)
        | Bus::NoServer(reason)
        | Bus::Disconnected(reason)
        // The service went away before it answered.
        | Bus::NoReply(reason)
        // The bus gave up waiting for the service's start.
        | Bus::TimedOut(reason)
        | Bus::Timeout(reason)
        | Bus::SpawnExecFailed(reason)
        | Bus::SpawnForkFailed(reason)
        | Bus::SpawnChildExited(reason)
        | Bus::SpawnChildSignaled(reason)
        | Bus::SpawnFailed(reason)
        | Bus::SpawnFailedToSetup(reason)
        | Bus::SpawnConfigInvalid(reason)
        | Bus::SpawnServiceNotValid(reason)
        | Bus::SpawnServiceNotFound(reason)
        | Bus::SpawnPermissionsInvalid(reason)
        | Bus::SpawnFileInvalid(reason)
        | Bus::SpawnNoMemory(reason) => ServiceError::NotRunning { reason },
        Bus::AccessDenied(reason) | Bus::AuthFailed(reason) => ServiceError::Refused {
            exit: Exit::Denied,
            message: format!("the system bus denies access to the rootful-net service: {reason}"),
        },
        Bus::LimitsExceeded(reason) | Bus::NoMemory(reason) => ServiceError::Unavailable { reason },
        error => ServiceError::Wire(zbus::Error::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        "web".to_owned()
    }

    #[test]
    fn every_error_of_the_service_has_its_exit_code() {
        let cases = [
            (WireError::InvalidArgument(text()), 2),
            (WireError::NotAuthorized(text()), 3),
            (WireError::NamespaceRefused(text()), 3),
            (WireError::QuotaExceeded(text()), 3),
            (WireError::NotFound(text()), 4),
            (WireError::Conflict(text()), 5),
            (WireError::AddressExhausted(text()), 5),
            (WireError::Unavailable(text()), 6),
            (WireError::NotInitialized(text()), 7),
            (WireError::Internal(text()), 1),
            (WireError::ZBus(zbus::Error::InvalidReply), 1),
            (WireError::ZBus(io::Error::from(io::ErrorKind::TimedOut).into()), 6),
            (WireError::ZBus(io::Error::from(io::ErrorKind::BrokenPipe).into()), 6),
        ];
        for (error, code) in cases {
            let shown = error.to_string();
            assert_eq!(ServiceError::from(error).exit().code(), code, "{shown}");
        }
    }

    #[test]
    fn every_answer_of_the_bus_has_its_exit_code() {
        let cases = [
            (fdo::Error::ServiceUnknown(text()), 6),
            (fdo::Error::NameHasNoOwner(text()), 6),
            (fdo::Error::SpawnExecFailed(text()), 6),
            (fdo::Error::SpawnServiceNotFound(text()), 6),
            (fdo::Error::TimedOut(text()), 6),
            (fdo::Error::NoReply(text()), 6),
            (fdo::Error::LimitsExceeded(text()), 6),
            (fdo::Error::AccessDenied(text()), 3),
            (fdo::Error::UnknownMethod(text()), 1),
        ];
        for (error, code) in cases {
            let shown = error.to_string();
            let error = WireError::from(zbus::Error::from(error));
            assert_eq!(ServiceError::from(error).exit().code(), code, "{shown}");
        }
    }

    #[test]
    fn messages_of_the_service_are_passed_on_as_they_are() {
        let message = "port 443/tcp is already published by container \"caddy\"".to_owned();
        let error = ServiceError::from(WireError::Conflict(message.clone()));
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn a_missing_service_is_said_with_what_to_look_at() {
        let bus = fdo::Error::ServiceUnknown("The name is not activatable".to_owned());
        let error = ServiceError::from(WireError::from(zbus::Error::from(bus)));
        assert_eq!(
            error.to_string(),
            "the rootful-net service is not installed or not running: The name is not activatable; \
             see 'systemctl status rootful-netd'"
        );
    }
}
