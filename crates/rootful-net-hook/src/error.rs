//! What the hook can fail with.

use std::io;

use rootful_net_core::annotation::AnnotationError;

use crate::config::ConfigError;
use crate::deadline::LIMIT;
use crate::input::InputError;
use crate::namespace::NamespaceError;
use crate::resolver::ResolverError;
use crate::service::ServiceError;
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
    Service(#[from] ServiceError),
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

/// The error and its sources in one line. A source that the text before it repeats is left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = error.source();
    }
    text
}
