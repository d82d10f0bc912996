//! The decision on one request.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use super::denied::Denied;
use super::examine::{Outcome, examine};
use super::usage::Usage;
use super::{Authorize, Grant, Policy};
use crate::name::NetworkName;
use crate::publish::{HostAddress, Port, Protocol};
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

impl Display for Caller {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.user_name {
            Some(name) => f.write_str(name),
            None => self.uid.fmt(f),
        }
    }
}

/// Whether polkit has said yes to this very request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It was not asked yet.
    NotAsked,
    /// It said yes.
    Given,
}

/// What the policy says of a request that it does not deny.
#[must_use = "what was decided is to be done"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is allowed.
    Allowed(Authorized<AttachRequest>),
    /// It is allowed if polkit says so, because of the grants with these sources.
    AskPolkit(Vec<String>),
}

/// A request that the policy allows. Only [`authorize`] makes one.
#[must_use = "what was authorized is to be done"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized<T> {
    request: T,
    owner: u32,
    rights: Rights,
    sources: Vec<String>,
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

    /// The files and numbers of the grants that decided, none twice; none for root.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Whether this port, which the service chooses, is one that the caller may publish.
    pub fn allows_port(
        &self,
        network: &NetworkName,
        address: HostAddress,
        protocol: Protocol,
        port: Port,
    ) -> bool {
        match &self.rights {
            Rights::All => true,
            Rights::Grants(grants) => grants.iter().any(|grant| {
                grant.has_network(network)
                    && grant.has_host_address(address)
                    && grant.has_port(protocol, port)
            }),
        }
    }
}

/// Decides whether `caller` may attach a namespace of `owner` as `request` says.
///
/// Root may do everything. Of anybody else every network must be in a grant, and every port with its host
/// address in a grant for the network that it is published from; the largest quota counts. Grants that have
/// polkit asked count only with its consent.
///
/// # Errors
/// The first thing that is not granted.
pub fn authorize(
    policy: &Policy,
    caller: &Caller,
    owner: u32,
    usage: Usage,
    request: AttachRequest,
    consent: Consent,
) -> Result<Decision, Denied> {
    if caller.is_root() {
        let rights = Rights::All;
        return Ok(Decision::Allowed(Authorized { request, owner, rights, sources: Vec::new() }));
    }
    let mut sources = BTreeSet::new();
    let mut to_ask = BTreeSet::new();
    for finding in examine(policy, caller, usage, &request) {
        let source = finding.grant.map(Grant::source);
        match finding.outcome {
            Outcome::Granted => sources.extend(source),
            Outcome::AskPolkit => to_ask.extend(source),
            Outcome::Denied(denied) => return Err(denied),
        }
    }
    if consent == Consent::NotAsked && !to_ask.is_empty() {
        return Ok(Decision::AskPolkit(to_ask.into_iter().map(str::to_owned).collect()));
    }
    sources.extend(to_ask);
    let sources = sources.into_iter().map(str::to_owned).collect();
    let counts = |grant: &&Grant| match grant.authorize() {
        Authorize::Grant => true,
        Authorize::Polkit => consent == Consent::Given,
    };
    let rights = Rights::Grants(policy.grants_for(caller).filter(counts).cloned().collect());
    Ok(Decision::Allowed(Authorized { request, owner, rights, sources }))
}

#[cfg(test)]
mod tests;
