//! What core's and the kernel crate's errors are called on the bus.

use rootful_net_core::catalogue::{CreateError, RemoveError};
use rootful_net_core::name::escaped;
use rootful_net_core::network::NetworkError;
use rootful_net_core::ownership::NamespaceRefused;
use rootful_net_core::planner::PlanError;
use rootful_net_core::policy::Denied;
use rootful_net_dbus::Error;
use rootful_net_kernel::{ExecuteError, KernelError, NamespaceError};

use crate::store::StoreError;

/// An error's message with those of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An error of the service itself, whose details are the log's business.
pub(crate) fn internal(error: &dyn std::error::Error) -> Error {
    let error = chain(error);
    tracing::error!(error, "request failed");
    Error::Internal(error)
}

/// A change that failed: what stands in its way on the host is the caller's business, anything else the service's own.
pub(crate) fn not_carried_out(error: &ExecuteError) -> Error {
    match (&*error.source, error.undo_failures.as_slice()) {
        (in_use @ KernelError::PortInUse { .. }, []) => Error::Conflict(in_use.to_string()),
        _ => internal(error),
    }
}

/// A request that is refused because what comes of it could not be recorded.
pub(crate) fn unrecorded(error: &StoreError) -> Error {
    let error = chain(error);
    tracing::error!(error, "request refused: it cannot be recorded");
    Error::Unavailable(format!(
        "the attachment cannot be recorded, so it is not made: {error}; try again when an administrator has made room"
    ))
}

pub(crate) fn plan_error(error: &PlanError) -> Error {
    let message = error.to_string();
    match error {
        PlanError::UnknownNetwork { .. } => Error::NotFound(message),
        PlanError::AddressUnusable { .. }
        | PlanError::Ipv6SwitchedOff { .. }
        | PlanError::AliasDotted { .. }
        | PlanError::NothingToPublishTo { .. } => Error::InvalidArgument(message),
        PlanError::AddressExhausted { .. } => Error::AddressExhausted(message),
        PlanError::NamespaceInUse { .. }
        | PlanError::AttachedAs { .. }
        | PlanError::AttachedDifferently { .. }
        | PlanError::NameInUse { .. }
        | PlanError::AddressTaken { .. }
        | PlanError::MacTaken { .. }
        | PlanError::AliasTaken { .. }
        | PlanError::NamePort { .. }
        | PlanError::InterfaceTaken { .. }
        | PlanError::PortTaken { .. }
        | PlanError::PortListening { .. }
        | PlanError::NoFreePort { .. }
        | PlanError::BridgeTaken { .. }
        | PlanError::SubnetRouted { .. } => Error::Conflict(message),
    }
}

/// The most characters of what a parser says of a text that it does not understand; it may repeat parts of it.
const MAX_PARSER_CHARS: usize = 200;

pub(crate) fn definition_error(error: &NetworkError) -> Error {
    let message = match error {
        NetworkError::Json(reason) => {
            format!("{error}: {}", escaped(&reason.to_string(), MAX_PARSER_CHARS))
        }
        NetworkError::TooLong { .. } | NetworkError::Unusable { .. } => error.to_string(),
    };
    Error::InvalidArgument(message)
}

pub(crate) fn create_error(error: &CreateError) -> Error {
    let message = error.to_string();
    match error {
        CreateError::Definition(error) => definition_error(error),
        CreateError::TooLong { .. } => Error::InvalidArgument(message),
        CreateError::TooMany => Error::QuotaExceeded(message),
        CreateError::Exists { .. }
        | CreateError::Network(_)
        | CreateError::LinkTaken { .. }
        | CreateError::NoFreeInterface { .. }
        | CreateError::SubnetRouted { .. }
        | CreateError::NoFreeSubnet { .. } => Error::Conflict(message),
    }
}

pub(crate) fn remove_error(error: &RemoveError) -> Error {
    let message = error.to_string();
    match error {
        RemoveError::Unknown { .. } => Error::NotFound(message),
        RemoveError::Default { .. } | RemoveError::InUse { .. } => Error::Conflict(message),
    }
}

pub(crate) fn denied(denied: &Denied) -> Error {
    let message = denied.to_string();
    match denied {
        Denied::Network { .. }
        | Denied::Port { .. }
        | Denied::HostAddress { .. }
        | Denied::StaticAddress { .. }
        | Denied::Alias { .. } => Error::NotAuthorized(message),
        Denied::Quota { .. } | Denied::Limit { .. } => Error::QuotaExceeded(message),
    }
}

pub(crate) fn namespace_refused(refused: &NamespaceRefused) -> Error {
    Error::NamespaceRefused(refused.to_string())
}

pub(crate) fn namespace_error(error: &NamespaceError) -> Error {
    Error::NamespaceRefused(chain(error))
}
