//! Who is asking, as the bus vouches for it, and who else has a say in what they may do.

use std::collections::HashMap;
use std::time::Duration;

use rootful_net_dbus::{Error, Result};
use zbus::Connection;
use zbus::message::{Flags, Header};

use crate::fair_queue::Line;
use crate::gate::Gate;
use crate::polkit::{Action, Polkit, Question};

/// How long the bus may take to say who somebody is.
const BUS_DEADLINE: Duration = Duration::from_secs(25);

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The uid of the sender's connection.
    pub(crate) uid: u32,
    /// Where the sender's requests wait.
    pub(crate) line: Line,
    /// The connection.
    unique_name: String,
    /// Whether the sender waits while somebody is asked for a password.
    interactive: bool,
}

/// Says who sent a message, and asks polkit.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    gate: Gate,
    polkit: Polkit,
}

impl Authority {
    pub(crate) fn new(gate: Gate, connection: Connection) -> Self {
        Self { gate, polkit: Polkit::new(connection) }
    }

    /// Who sent the message. Never a process id, and nothing that the message itself says.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`] where the bus does not say it: no sender, no rights.
    pub(crate) fn sender(&self, header: &Header<'_>) -> Result<Sender> {
        let unique_name = header.sender().map(ToString::to_string).unwrap_or_default();
        let uid = self.gate.uid(&unique_name).ok_or_else(|| {
            Error::NotAuthorized("the bus does not say who is calling".to_owned())
        })?;
        let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        Ok(Sender { uid, line: self.gate.line(&unique_name), unique_name, interactive })
    }

    /// Asks polkit whether the sender may do what a grant leaves to polkit.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`] with the reason; that the service stops before there is an answer.
    pub(crate) async fn may_attach(
        &self,
        sender: &Sender,
        details: &HashMap<&str, String>,
    ) -> Result<()> {
        self.ask(sender, Action::Attach, details).await?.map_err(|reason| {
            Error::NotAuthorized(format!("the grant for this needs polkit's consent: {reason}"))
        })
    }

    /// Whether the sender may do `operation` with what belongs to `owner`: users do what they like with what
    /// is theirs, root with everything, and others what polkit lets them.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`] with the reason; that the service stops before there is an answer.
    pub(crate) async fn may_manage(
        &self,
        sender: &Sender,
        owner: Option<u32>,
        operation: &str,
    ) -> Result<()> {
        if sender.uid == 0 || owner == Some(sender.uid) {
            return Ok(());
        }
        let owner = owner.map(|uid| uid.to_string()).unwrap_or_default();
        let details =
            HashMap::from([("operation", operation.to_owned()), ("owner", owner.clone())]);
        self.ask(sender, Action::Manage, &details).await?.map_err(|reason| {
            let of_whom = match owner.as_str() {
                "" => String::new(),
                owner => format!(" of user {owner}; that user or root can"),
            };
            Error::NotAuthorized(format!(
                "user {} may not {operation}{of_whom}; {reason}",
                sender.uid
            ))
        })
    }

    /// Polkit's answer: yes, or why not.
    async fn ask(
        &self,
        sender: &Sender,
        action: Action,
        details: &HashMap<&str, String>,
    ) -> Result<std::result::Result<(), String>> {
        let Sender { unique_name, interactive, .. } = sender;
        let question = Question { unique_name, interactive: *interactive, action, details };
        tokio::select! {
            answer = self.polkit.ask(&question) => Ok(answer),
            () = self.gate.stopping() => Err(Error::stopping()),
        }
    }
}

/// The uid behind a connection, as the bus says.
///
/// # Errors
/// [`Error::NotAuthorized`] where the bus does not say it.
pub(crate) async fn peer_uid(connection: &Connection, unique_name: &str) -> Result<u32> {
    let unknown = |error: &dyn std::fmt::Display| {
        Error::NotAuthorized(format!("the bus does not say who is calling: {error}"))
    };
    let name = zbus::names::BusName::try_from(unique_name).map_err(|error| unknown(&error))?;
    let bus = zbus::fdo::DBusProxy::builder(connection)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    let answer = tokio::time::timeout(BUS_DEADLINE, bus.get_connection_unix_user(name)).await;
    answer.map_err(|error| unknown(&error))?.map_err(|error| unknown(&error))
}
