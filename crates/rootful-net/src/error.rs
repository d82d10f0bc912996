//! What a command can fail with and the exit code that says so.

use std::io;

use crate::attached::LookupError;
use crate::cidfile::CidfileError;
use crate::command::lease::{ImportError, Skipped};
use crate::command::network::{Stayed, WithoutSubnet};
use crate::command::policy::Denied;
use crate::command::setup::ContainerError;
use crate::named_file::UnreadableFile;
use crate::namespace::{self, NamespaceError};
use crate::podman::PodmanError;
use crate::resolver::ResolverError;
use crate::service::{self, ServiceError};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    Denied,
    NotFound,
    Conflict,
    Unavailable,
    NotInitialized,
}

impl Exit {
    /// The exit code, a part of the contract.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            // clap's, too.
            Self::Usage => 2,
            Self::Denied => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Unavailable => 6,
            Self::NotInitialized => 7,
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Cidfile(#[from] CidfileError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    File(#[from] UnreadableFile),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Skipped(#[from] Skipped),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    WithoutSubnet(#[from] WithoutSubnet),
    #[error(transparent)]
    Stayed(#[from] Stayed),
    #[error(transparent)]
    Podman(#[from] PodmanError),
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    #[error(transparent)]
    Policy(#[from] Denied),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("cannot start an event loop")]
    Runtime(#[source] io::Error),
    #[error("cannot write the result")]
    Output(#[source] io::Error),
}

impl Error {
    /// The exit code for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Cidfile(error) => error.exit(),
            Self::Container(error) => error.exit(),
            Self::File(error) => error.exit(),
            Self::Import(ImportError { .. }) => Exit::Usage,
            Self::Skipped(Skipped { .. }) => Exit::Conflict,
            Self::Lookup(error) => error.exit(),
            Self::Namespace(error) => namespace::exit(error),
            Self::WithoutSubnet(WithoutSubnet { .. }) => Exit::Usage,
            Self::Stayed(Stayed { answer, .. }) => service::exit(answer),
            Self::Podman(error) => error.exit(),
            Self::Policy(Denied { .. }) => Exit::Denied,
            Self::Service(error) => service::exit(error),
            Self::Resolver(_) | Self::Runtime(_) | Self::Output(_) => Exit::Failed,
        }
    }
}

impl Error {
    /// What is the result all the same.
    pub(crate) fn output(&self) -> &str {
        match self {
            Self::Policy(Denied { output })
            | Self::Skipped(Skipped { output, .. })
            | Self::Stayed(Stayed { output, .. }) => output,
            _ => "",
        }
    }
}

impl From<rootful_net_dbus::Error> for Error {
    fn from(error: rootful_net_dbus::Error) -> Self {
        Self::Service(ServiceError::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Denied, 3),
            (Exit::NotFound, 4),
            (Exit::Conflict, 5),
            (Exit::Unavailable, 6),
            (Exit::NotInitialized, 7),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
    }
}
