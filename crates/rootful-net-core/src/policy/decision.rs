//! The decision on one request.

use std::collections::BTreeMap;

use super::{Grant, Policy, PortSpan};
use crate::name::NetworkName;
use crate::publish::{HostAddress, Port, Protocol, RequestedForward};
use crate::request::AttachRequest;

/// Who asks, as the bus and the system's user database say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller's uid.
    pub uid: u32,
    /// The name of that uid, where it has one.
    pub user_name: Option<String>,
    /// The groups of that user.
    pub groups: Vec<Group>,
}

/// A group that a caller is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its gid.
    pub gid: u32,
    /// Its name, where it has one.
    pub name: Option<String>,
}

impl Caller {
    /// The superuser, who needs no grant.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// What the owner of a namespace holds already, apart from what the request replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Attachments.
    pub attachments: u32,
}

/// A request that the policy allows. Only [`authorize`] makes one.
#[must_use = "what was authorized is to be done"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized<T> {
    request: T,
    owner: u32,
    grants: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rights {
    All,
    Grants(Vec<Grant>),
}

impl<T> Authorized<T> {
    /// What was asked for.
    pub fn request(&self) -> &T {
        &self.request
    }

    /// The uid that owns the namespace.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether this port, which the service chooses, is one that the caller may publish.
    pub fn allows_port(
        &self,
        network: &NetworkName,
        address: HostAddress,
        protocol: Protocol,
        port: Port,
    ) -> bool {
        match &self.grants {
            Rights::All => true,
            Rights::Grants(grants) => grants.iter().any(|grant| {
                grant.has_network(network)
                    && grant.has_host_address(address)
                    && grant.has_port(protocol, port)
            }),
        }
    }
}

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
    #[error("user {user} may not publish port {port}/{protocol}; granted are: {granted}")]
    Port {
        /// The caller.
        user: String,
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// What is granted of that protocol.
        granted: String,
    },
    /// No grant has the host address.
    #[error("user {user} may not publish on host address {address}")]
    HostAddress {
        /// The caller.
        user: String,
        /// The address.
        address: HostAddress,
    },
    /// No grant lets the caller choose addresses.
    #[error("user {user} may not choose an address or MAC address on network \"{network}\"; leave it out to get the container's own")]
    StaticAddress {
        /// The caller.
        user: String,
        /// The network.
        network: NetworkName,
    },
    /// The quota is used up.
    #[error("user {user} has {limit} attachments, which is the quota; take one down with 'rootful-net teardown'")]
    Quota {
        /// The caller.
        user: String,
        /// The quota.
        limit: u32,
    },
}

/// Decides whether `caller` may attach a namespace of `owner` as `request` says.
///
/// Root may do everything. Of anybody else every network must be in a grant, and every port with its host
/// address in a grant for the network that it is published from; the largest quota counts.
///
/// # Errors
/// The first thing that is not granted.
pub fn authorize(
    policy: &Policy,
    caller: &Caller,
    owner: u32,
    usage: Usage,
    request: AttachRequest,
) -> Result<Authorized<AttachRequest>, Denied> {
    if caller.is_root() {
        return Ok(Authorized { request, owner, grants: Rights::All });
    }
    let grants: Vec<_> = policy.grants().iter().filter(|grant| grant.is_for(caller)).collect();
    let user = || caller.user_name.clone().unwrap_or_else(|| caller.uid.to_string());
    check_networks(&grants, &user, &request)?;
    for forward in &request.forwards {
        check_forward(&grants, &user, &request, forward)?;
    }
    check_quota(&grants, &user, usage, &request)?;
    let grants = Rights::Grants(grants.into_iter().cloned().collect());
    Ok(Authorized { request, owner, grants })
}

fn check_networks(
    grants: &[&Grant],
    user: &impl Fn() -> String,
    request: &AttachRequest,
) -> Result<(), Denied> {
    for asked in &request.networks {
        let network = &asked.network;
        let mut having = grants.iter().filter(|grant| grant.has_network(network)).peekable();
        if having.peek().is_none() {
            return Err(Denied::Network { user: user(), network: network.clone() });
        }
        let chooses = !asked.addresses.is_empty() || asked.mac.is_some();
        if chooses && !having.any(|grant| grant.static_addresses) {
            return Err(Denied::StaticAddress { user: user(), network: network.clone() });
        }
    }
    Ok(())
}

fn check_forward(
    grants: &[&Grant],
    user: &impl Fn() -> String,
    request: &AttachRequest,
    forward: &RequestedForward,
) -> Result<(), Denied> {
    let RequestedForward { protocol, host_address, .. } = *forward;
    // Which of the networks publishes depends on their definitions; a grant must hold for each.
    for asked in &request.networks {
        let on_network = grants.iter().filter(|grant| grant.has_network(&asked.network));
        let on_port: Vec<_> = match forward.host_port {
            Some(port) => on_network.filter(|grant| grant.has_port(protocol, port)).collect(),
            None => on_network.filter(|grant| grant.spans(protocol).next().is_some()).collect(),
        };
        if on_port.is_empty() {
            let port = forward.host_port.unwrap_or(forward.container_port);
            let granted = granted_ports(grants, &asked.network, protocol);
            return Err(Denied::Port { user: user(), port, protocol, granted });
        }
        if !on_port.iter().any(|grant| grant.has_host_address(host_address)) {
            return Err(Denied::HostAddress { user: user(), address: host_address });
        }
    }
    Ok(())
}

fn check_quota(
    grants: &[&Grant],
    user: &impl Fn() -> String,
    usage: Usage,
    request: &AttachRequest,
) -> Result<(), Denied> {
    let of_request = grants
        .iter()
        .filter(|grant| request.networks.iter().any(|asked| grant.has_network(&asked.network)));
    // A grant without a quota sets no limit.
    let limits: Option<Vec<u32>> = of_request.map(|grant| grant.max_attachments).collect();
    match limits.and_then(|limits| limits.into_iter().max()) {
        Some(limit) if usage.attachments >= limit => Err(Denied::Quota { user: user(), limit }),
        Some(_) | None => Ok(()),
    }
}

fn granted_ports(grants: &[&Grant], network: &NetworkName, protocol: Protocol) -> String {
    let on_network = grants.iter().filter(|grant| grant.has_network(network));
    let spans: BTreeMap<String, PortSpan> = on_network
        .flat_map(|grant| grant.spans(protocol))
        .map(|span| (span.to_string(), span))
        .collect();
    if spans.is_empty() {
        return "none".to_owned();
    }
    spans.into_keys().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
