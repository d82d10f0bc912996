//! What the failures of calls mean to a person. What to do about them, an exit code too, is each client's matter.

use std::io;

use rootful_net_dbus::{ConnectError, Error as WireError};
use zbus::fdo;

use crate::program::Programs;

/// What kind of no the service, or the bus, said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed or asks for what cannot be.
    Invalid,
    /// The caller may not have it.
    Denied,
    /// It does not exist.
    NotFound,
    /// Somebody else has it, or there is none left.
    Conflict,
    /// The container has no namespace yet.
    NotInitialized,
}

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The service, or the bus, said no.
    #[error("{message}")]
    Refused {
        /// What kind of no it is.
        refusal: Refusal,
        /// Words for the user.
        message: String,
    },
    /// The service said that it conflicts, and these programs have ports that were asked for.
    #[error("{message}: {programs}")]
    PortsInUse {
        /// The service's words.
        message: String,
        /// The programs that the caller can see.
        programs: Programs,
    },
    /// There is nobody to ask.
    #[error(
        "the rootful-net service is not installed or not running: {reason}; \
         see 'systemctl status rootful-netd'"
    )]
    NotRunning {
        /// The bus's words.
        reason: String,
    },
    /// The service has no time or no means now.
    #[error(
        "the rootful-net service cannot do it now: {reason}; see 'systemctl status rootful-netd'"
    )]
    Unavailable {
        /// The service's words.
        reason: String,
    },
    /// There was no answer within the connection's deadline.
    #[error("the rootful-net service did not answer in time; see 'systemctl status rootful-netd'")]
    TimedOut,
    /// The service failed.
    #[error("{message}; see 'journalctl -u rootful-netd'")]
    Internal {
        /// The service's words.
        message: String,
    },
    /// There is no bus.
    #[error(transparent)]
    NoBus(#[from] ConnectError),
    /// An answer that cannot be read, or the like.
    #[error("cannot talk to the rootful-net service")]
    Wire(#[source] zbus::Error),
}

impl From<WireError> for ServiceError {
    fn from(error: WireError) -> Self {
        let refused = |refusal, message| Self::Refused { refusal, message };
        match error {
            WireError::InvalidArgument(message) => refused(Refusal::Invalid, message),
            WireError::NotAuthorized(message)
            | WireError::QuotaExceeded(message)
            | WireError::NamespaceRefused(message) => refused(Refusal::Denied, message),
            WireError::NotFound(message) => refused(Refusal::NotFound, message),
            WireError::Conflict(message) | WireError::AddressExhausted(message) => {
                refused(Refusal::Conflict, message)
            }
            WireError::NotInitialized(message) => refused(Refusal::NotInitialized, message),
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
            refusal: Refusal::Denied,
            message: format!("the system bus denies access to the rootful-net service: {reason}"),
        },
        Bus::LimitsExceeded(reason) | Bus::NoMemory(reason) => ServiceError::Unavailable { reason },
        error => ServiceError::Wire(zbus::Error::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
