//! Asks polkit whether whoever sent a message may do something. Whatever is not a clear yes in time is a no
//! with its reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zbus::{Connection, Variant, fdo, proxy};

/// How long an answer may take where nobody is asked for a password.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long somebody may take to type a password; less than the command line waits.
const INTERACTIVE_DEADLINE: Duration = Duration::from_secs(110);
/// CheckAuthorizationFlags: somebody may be asked for a password.
const ALLOW_USER_INTERACTION: u32 = 1;

/// What polkit is asked about; policy/io.rootful-net.policy says the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// To attach a container as a grant allows.
    Attach,
    /// To change what belongs to all users or to another one.
    Manage,
}

impl Action {
    fn id(self) -> &'static str {
        match self {
            Self::Attach => "io.rootful-net.attach",
            Self::Manage => "io.rootful-net.manage",
        }
    }
}

/// Who wants to do what.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The connection of whoever asks: polkit finds the user and the session itself.
    pub(crate) unique_name: &'a str,
    /// Whether a password may be asked for.
    pub(crate) interactive: bool,
    /// What it is about.
    pub(crate) action: Action,
    /// What rules can look at, and the dialogue shows.
    pub(crate) details: &'a HashMap<&'a str, String>,
}

#[proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action_id: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> fdo::Result<(bool, bool, HashMap<String, String>)>;

    fn cancel_check_authorization(&self, cancellation_id: &str) -> fdo::Result<()>;
}

/// Polkit, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Polkit {
    connection: Connection,
    questions: Arc<AtomicU64>,
}

impl Polkit {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, questions: Arc::default() }
    }

    /// Asks.
    ///
    /// # Errors
    /// Why it is a no.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<(), String> {
        let unreachable =
            |error: &dyn std::fmt::Display| format!("polkit does not answer: {error}");
        let authority = AuthorityProxy::builder(&self.connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(|error| unreachable(&error))?;
        let name = Variant::from(question.unique_name);
        let subject = ("system-bus-name", HashMap::from([("name", name)]));
        let details = question.details.iter().map(|(&key, value)| (key, value.as_str())).collect();
        let cancellation_id = self.questions.fetch_add(1, Ordering::Relaxed).to_string();
        let (flags, deadline) = match question.interactive {
            true => (ALLOW_USER_INTERACTION, INTERACTIVE_DEADLINE),
            false => (0, DEADLINE),
        };
        let id = question.action.id();
        let asked = authority.check_authorization(&subject, id, &details, flags, &cancellation_id);
        match tokio::time::timeout(deadline, asked).await {
            Ok(Ok((true, _, _))) => Ok(()),
            Ok(Ok((false, true, _))) => {
                Err(format!("polkit wants a password for {id}, and nobody was there to give it"))
            }
            Ok(Ok((false, false, _))) => Err(format!("polkit does not allow {id}")),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(_) => {
                // Whether that reaches it does not change the answer.
                let _ = authority.cancel_check_authorization(&cancellation_id).await;
                Err(format!("polkit has not answered within {} s", deadline.as_secs()))
            }
        }
    }
}
