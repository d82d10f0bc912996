//! What the hook can fail with.

use std::io;

use rootful_net_client::ServiceError;
use rootful_net_client::namespace::NamespaceError;
use rootful_net_core::annotation::AnnotationError;

use crate::config::ConfigError;
use crate::deadline::LIMIT;
use crate::input::InputError;
use crate::resolver::ResolverError;
use crate::state::StateError;
use crate::storage::StorageError;

/// Why the hook failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    #[error(transparent)]
    Service(ServiceError),
    #[error("the runtime names no process of the container")]
    NoProcess,
    #[error(
        "the rootful-net service did not answer within {} s; see 'systemctl status rootful-netd'",
        LIMIT.as_secs()
    )]
    TimedOut,
    #[error("cannot start an event loop")]
    Runtime(#[source] io::Error),
    #[error("cannot write the container's configuration")]
    Output(#[source] io::Error),
}

impl From<ServiceError> for HookError {
    fn from(error: ServiceError) -> Self {
        match error {
            // The hook knows how long it waited.
            ServiceError::TimedOut => Self::TimedOut,
            error => Self::Service(error),
        }
    }
}
