//! Why a request is not allowed, in words for whoever asked.

use super::usage::Resource;
use crate::name::NetworkName;
use crate::publish::{HostAddress, Port, Protocol};

/// Says why a request is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No grant has the network.
    #[error(
        "user {user} may not use network \"{network}\"; an administrator can grant it in /etc/rootful-net/policy.d, or with membership of a group that has a grant"
    )]
    Network {
        /// The caller.
        user: String,
        /// The network.
        network: NetworkName,
    },
    /// No grant has the port.
    #[error(
        "user {user} may not publish port {port}/{protocol} from network \"{network}\"; granted are: {granted}"
    )]
    Port {
        /// The caller.
        user: String,
        /// The network.
        network: NetworkName,
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// What is granted of that protocol.
        granted: String,
    },
    /// No grant has the host address together with the port.
    #[error(
        "user {user} may not publish port {port}/{protocol} on host address {address}; granted for it are: {granted}"
    )]
    HostAddress {
        /// The caller.
        user: String,
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// The address.
        address: HostAddress,
        /// The addresses that are granted with that port.
        granted: String,
    },
    /// No grant lets the caller choose addresses.
    #[error(
        "user {user} may not choose an address or MAC address on network \"{network}\"; leave it out to get the container's own"
    )]
    StaticAddress {
        /// The caller.
        user: String,
        /// The network.
        network: NetworkName,
    },
    /// No grant lets the caller's containers have further names.
    #[error("user {user} may not give containers aliases on network \"{network}\"; leave them out")]
    Alias {
        /// The caller.
        user: String,
        /// The network.
        network: NetworkName,
    },
    /// The user's quota is used up.
    #[error(
        "user {user} would have {wanted} {resource}, more than the quota of {limit}; take a container down with 'rootful-net teardown'"
    )]
    Quota {
        /// The caller.
        user: String,
        /// What is used up.
        resource: Resource,
        /// How much there would be.
        wanted: u32,
        /// The quota.
        limit: u32,
    },
    /// The limit for all users together is reached.
    #[error(
        "all users together have {in_use} of at most {limit} {resource}; an administrator can raise the limit in /etc/rootful-net/policy.d"
    )]
    Limit {
        /// What is used up.
        resource: Resource,
        /// How much there is.
        in_use: u32,
        /// The limit.
        limit: u32,
    },
}
