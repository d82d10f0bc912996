//! The connection to the service, from inside podman's user namespace and within the deadline.

use std::io;

use rootful_net_dbus::{ConnectError, Error as WireError};
use zbus::Connection;

use crate::deadline::Deadline;
use crate::error::HookError;
use crate::user;

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The service said no, in words for the user.
    #[error("{message}")]
    Refused { message: String },
    #[error("{message}; see 'journalctl -u rootful-netd'")]
    Internal { message: String },
    #[error(transparent)]
    NoBus(#[from] ConnectError),
    #[error(
        "the rootful-net service is not installed or not running; see 'systemctl status rootful-netd'"
    )]
    Unreachable(#[source] zbus::Error),
}

/// Does something with the system bus.
///
/// # Errors
/// It fails, or the deadline passes, whatever it waits for.
pub(crate) fn with_bus<T>(
    deadline: Deadline,
    work: impl AsyncFnOnce(Connection) -> Result<T, WireError>,
) -> Result<T, HookError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HookError::Runtime)?;
    let work = async {
        let connection = rootful_net_dbus::connect(user::outer_uid(), deadline.remaining()).await;
        let connection = connection.map_err(ServiceError::NoBus)?;
        work(connection).await.map_err(from_wire)
    };
    let timely = runtime.block_on(async { tokio::time::timeout(deadline.remaining(), work).await });
    // What may still be under way has no one to wait for it.
    runtime.shutdown_background();
    timely.unwrap_or(Err(HookError::TimedOut))
}

fn from_wire(error: WireError) -> HookError {
    let error = match error {
        WireError::InvalidArgument(message)
        | WireError::NotAuthorized(message)
        | WireError::NotFound(message)
        | WireError::Conflict(message)
        | WireError::QuotaExceeded(message)
        | WireError::AddressExhausted(message)
        | WireError::NamespaceRefused(message)
        | WireError::NotInitialized(message)
        | WireError::Unavailable(message) => ServiceError::Refused { message },
        WireError::Internal(message) => ServiceError::Internal { message },
        WireError::ZBus(zbus::Error::InputOutput(error))
            if error.kind() == io::ErrorKind::TimedOut =>
        {
            return HookError::TimedOut;
        }
        WireError::ZBus(error) => ServiceError::Unreachable(error),
    };
    HookError::Service(error)
}
