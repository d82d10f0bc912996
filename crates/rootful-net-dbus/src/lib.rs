//! The wire: names, messages, errors and the client's proxies of `io.rootful_net1`, and how they become
//! core's types. It must not decide anything and holds no state.
//!
//! The contract is the introspection XML in `dbus/`; a test compares it with the live object.

mod attachment;
mod connect;
mod error;
pub mod frame;
mod lease;
pub mod name;
mod network;
pub mod objects;
mod options;
mod policy;
mod proxy;
mod request;

pub use attachment::{AttachmentProperties, InterfaceProperties, PortProperties};
pub use connect::{ConnectError, connect};
pub use error::{Error, Result};
pub use lease::{
    LeaseEntry, LeaseOptions, LeaseProperties, MAX_IMPORTED_LEASES, MAX_LISTED_LEASES,
    SkippedLeaseProperties,
};
pub use network::{NetworkOptions, NetworkProperties, SubnetProperties};
pub use options::{Dictionary, Options};
pub use policy::{CheckOptions, FindingProperties, GrantProperties, PolicyUser, StatusOptions};
pub use proxy::{AttachmentProxy, ManagerProxy, NetworkProxy};
pub use request::{AttachMessage, DetachOptions};
