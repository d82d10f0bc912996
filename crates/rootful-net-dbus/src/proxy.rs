//! The client's side of the interfaces.

use zbus::{Fd, OwnedObjectPath, proxy};

use crate::error::Result;
use crate::lease::{LeaseEntry, LeaseProperties, SkippedLeaseProperties};
use crate::options::Dictionary;
use crate::policy::{FindingProperties, GrantProperties};

/// `io.rootful_net1.Manager`.
#[proxy(
    interface = "io.rootful_net1.Manager",
    default_service = "io.rootful_net1",
    default_path = "/io/rootful_net1"
)]
pub trait Manager {
    /// Attaches a namespace; answers with the attachment's path and whether anything changed.
    #[zbus(allow_interactive_auth)]
    fn attach(
        &self,
        namespace: Fd<'_>,
        name: &str,
        networks: &[String],
        publish: &[String],
        options: &Dictionary,
    ) -> Result<(OwnedObjectPath, bool)>;

    /// Says what `Attach` would do, as text, and changes nothing.
    fn plan(
        &self,
        namespace: Fd<'_>,
        name: &str,
        networks: &[String],
        publish: &[String],
        options: &Dictionary,
    ) -> Result<String>;

    /// Detaches by name; answers whether there was such an attachment.
    #[zbus(allow_interactive_auth)]
    fn detach(&self, name: &str, options: &Dictionary) -> Result<bool>;

    /// Detaches what the namespace was attached as; answers whether there was an attachment.
    #[zbus(allow_interactive_auth)]
    fn detach_namespace(&self, namespace: Fd<'_>) -> Result<bool>;

    /// Detaches everything of one owner; answers with the names.
    #[zbus(allow_interactive_auth)]
    fn detach_all(&self, options: &Dictionary) -> Result<Vec<String>>;

    /// Says what the policy says of a request; answers whether it is allowed, and why.
    fn check_policy(
        &self,
        networks: &[String],
        publish: &[String],
        options: &Dictionary,
    ) -> Result<(bool, Vec<FindingProperties>)>;

    /// Says which policy is in force: what is wrong with it, the grants, and the limits for all users with what
    /// is in use of each.
    #[allow(clippy::type_complexity)]
    fn show_policy(
        &self,
        options: &Dictionary,
    ) -> Result<(String, Vec<GrantProperties>, Vec<(String, u32, u32)>)>;

    /// Reads the policy again and puts it in force.
    #[zbus(allow_interactive_auth)]
    fn reload_policy(&self) -> Result<()>;

    /// Repairs what the kernel does not hold of what is attached; answers with what was done.
    #[zbus(allow_interactive_auth)]
    fn repair(&self, options: &Dictionary) -> Result<Vec<String>>;

    /// `Repair` for those who only look, and are not asked for a password for that.
    #[zbus(name = "Repair")]
    fn look_for_damage(&self, options: &Dictionary) -> Result<Vec<String>>;

    /// Lists which name has which address, by network and address.
    fn list_leases(&self, options: &Dictionary) -> Result<Vec<LeaseProperties>>;

    /// Takes leases over as the most recent ones; answers with those that it does not take over.
    #[zbus(allow_interactive_auth)]
    fn import_leases(
        &self,
        leases: &[LeaseEntry],
        options: &Dictionary,
    ) -> Result<Vec<SkippedLeaseProperties>>;

    /// Makes a network; answers with its definition.
    #[zbus(allow_interactive_auth)]
    fn create_network(&self, definition: &str, options: &Dictionary) -> Result<String>;

    /// Removes a network.
    #[zbus(allow_interactive_auth)]
    fn remove_network(&self, name: &str, options: &Dictionary) -> Result<()>;

    /// The version of the service.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
}

/// `io.rootful_net1.Attachment`.
#[proxy(interface = "io.rootful_net1.Attachment", default_service = "io.rootful_net1")]
pub trait Attachment {
    /// Detaches this attachment.
    #[zbus(allow_interactive_auth)]
    fn detach(&self) -> Result<()>;
}

/// `io.rootful_net1.Network`.
#[proxy(
    interface = "io.rootful_net1.Network",
    default_service = "io.rootful_net1",
    assume_defaults = false
)]
pub trait Network {}
