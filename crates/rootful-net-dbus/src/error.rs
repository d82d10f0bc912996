//! The errors of the interface. Their names are part of the contract, their messages are for people.

use zbus::DBusError;

/// What a method of `io.rootful_net1` can fail with.
#[derive(Debug, DBusError)]
#[zbus(prefix = "io.rootful_net1.Error")]
pub enum Error {
    /// Something went wrong between the caller and the service.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// An argument is malformed or asks for what cannot be.
    InvalidArgument(String),
    /// The policy does not grant what was asked for.
    NotAuthorized(String),
    /// The network, attachment or container does not exist.
    NotFound(String),
    /// Somebody else has it, or it is there already in another form.
    Conflict(String),
    /// A quota of the policy is used up.
    QuotaExceeded(String),
    /// Every address of the subnet is taken.
    AddressExhausted(String),
    /// The file descriptor is no network namespace that the caller may attach.
    NamespaceRefused(String),
    /// The container is not initialized.
    NotInitialized(String),
    /// The service cannot do it now.
    Unavailable(String),
    /// The service failed; its log says more.
    Internal(String),
}

const STARTING: &str = "the service is starting";
const STOPPING: &str = "the service is stopping";

impl Error {
    /// What the service answers before it can do anything.
    pub fn starting() -> Self {
        Self::Unavailable(STARTING.to_owned())
    }

    /// What the service answers to whoever still waits when it ends.
    pub fn stopping() -> Self {
        Self::Unavailable(STOPPING.to_owned())
    }

    /// Whether it is [`Self::starting`] or [`Self::stopping`]: the same call finds the service a moment later.
    pub fn is_restart(&self) -> bool {
        matches!(self, Self::Unavailable(reason) if [STARTING, STOPPING].contains(&reason.as_str()))
    }
}

/// The result of a method of `io.rootful_net1`.
pub type Result<T> = std::result::Result<T, Error>;
