//! The service as the commands use it, and the exit codes for what it answers.

pub(crate) use rootful_net_client::{Refusal, Service, ServiceError};

use crate::error::Exit;

/// The exit code for what the service, or the bus, answered.
pub(crate) fn exit(error: &ServiceError) -> Exit {
    match error {
        ServiceError::Refused { refusal, .. } => match refusal {
            Refusal::Invalid => Exit::Usage,
            Refusal::Denied => Exit::Denied,
            Refusal::NotFound => Exit::NotFound,
            Refusal::Conflict => Exit::Conflict,
            Refusal::NotInitialized => Exit::NotInitialized,
        },
        ServiceError::PortsInUse { .. } => Exit::Conflict,
        ServiceError::NotRunning { .. }
        | ServiceError::Unavailable { .. }
        | ServiceError::TimedOut
        | ServiceError::NoBus(_) => Exit::Unavailable,
        ServiceError::Internal { .. } | ServiceError::Wire(_) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rootful_net_dbus::Error as WireError;
    use zbus::fdo;

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
            assert_eq!(exit(&ServiceError::from(error)).code(), code, "{shown}");
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
            assert_eq!(exit(&ServiceError::from(error)).code(), code, "{shown}");
        }
    }
}
