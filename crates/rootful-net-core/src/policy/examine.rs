//! Examines a request, one thing that needs a grant after the other. Decisions and explanations both rest on
//! it, so that what is explained is what is decided.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use super::denied::Denied;
use super::usage::{Amounts, Resource, Usage};
use super::{Authorize, Caller, Grant, Policy};
use crate::name::NetworkName;
use crate::publish::{Protocol, RequestedForward};
use crate::request::{AttachRequest, NetworkRequest};

/// One thing that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// To be on the network.
    Network(&'a NetworkName),
    /// To stay within the user's quota.
    Quota(Resource),
    /// To stay within the limit for all users together.
    Limit(Resource),
    /// To choose an address or MAC address on the network.
    StaticAddress(&'a NetworkName),
    /// To have further names on the network.
    Aliases(&'a NetworkName),
    /// To publish a port from the network.
    Port(&'a NetworkName, &'a RequestedForward),
}

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(f, "network {network}"),
            Self::Quota(resource) => write!(f, "quota of {resource}"),
            Self::Limit(resource) => write!(f, "limit of {resource} in all"),
            Self::StaticAddress(network) => write!(f, "address of one's own choice on {network}"),
            Self::Aliases(network) => write!(f, "aliases on {network}"),
            Self::Port(network, forward) => {
                let RequestedForward { protocol, host_address, .. } = forward;
                match forward.host_port {
                    Some(port) => {
                        write!(f, "port {port}/{protocol} on {host_address} from {network}")
                    }
                    None => write!(f, "a free {protocol} port on {host_address} from {network}"),
                }
            }
        }
    }
}

/// What the policy says of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is granted.
    Granted,
    /// It is granted if polkit says so, too.
    AskPolkit,
    /// It is not granted.
    Denied(Denied),
}

/// One thing, what the policy says of it, and the grant that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// What is needed.
    pub subject: Subject<'a>,
    /// What the policy says.
    pub outcome: Outcome,
    /// By which grant; none where nothing is granted, or no grant is needed.
    pub grant: Option<&'a Grant>,
}

/// Examines everything that `request` of `caller` needs, cheap things first. Root needs nothing.
pub fn examine<'a>(
    policy: &'a Policy,
    caller: &'a Caller,
    usage: Usage,
    request: &'a AttachRequest,
) -> impl Iterator<Item = Finding<'a>> {
    let grants: Vec<&Grant> = match caller.is_root() {
        true => Vec::new(),
        false => policy.grants_for(caller).collect(),
    };
    let needed = !caller.is_root();
    let examination = Examination { policy, grants, user: caller.to_string(), usage, request };
    needed.then(|| examination.findings()).into_iter().flatten()
}

struct Examination<'a> {
    policy: &'a Policy,
    /// Those for the caller.
    grants: Vec<&'a Grant>,
    user: String,
    usage: Usage,
    request: &'a AttachRequest,
}

impl<'a> Examination<'a> {
    fn findings(self) -> impl Iterator<Item = Finding<'a>> {
        let request = self.request;
        let wanted = Amounts::from(request);
        let networks = request.networks.iter().map(Step::Network);
        let quotas = Resource::ALL.into_iter().map(Step::Quota);
        let limits = Resource::ALL.into_iter().map(Step::Limit);
        let asked = request.networks.iter().flat_map(|asked| {
            let chooses = !asked.addresses.is_empty() || asked.mac.is_some();
            let address = chooses.then_some(Step::StaticAddress(asked));
            let aliases = (!asked.aliases.is_empty()).then_some(Step::Aliases(asked));
            address.into_iter().chain(aliases)
        });
        // Which of the networks publishes depends on their definitions; a grant must hold for each.
        let ports = request.forwards.iter().flat_map(|forward| {
            request.networks.iter().map(move |asked| Step::Port(&asked.network, forward))
        });
        let steps = networks.chain(quotas).chain(limits).chain(asked).chain(ports);
        steps.filter_map(move |step| match step {
            Step::Network(asked) => Some(self.network(&asked.network)),
            Step::Quota(resource) => self.quota(resource, wanted),
            Step::Limit(resource) => self.limit(resource, wanted),
            Step::StaticAddress(asked) => Some(self.static_address(&asked.network)),
            Step::Aliases(asked) => Some(self.aliases(&asked.network)),
            Step::Port(network, forward) => Some(self.port(network, forward)),
        })
    }

    /// A grant that decides by itself goes before one that has polkit asked.
    fn finding(
        &self,
        subject: Subject<'a>,
        has: impl Fn(&Grant) -> bool,
        denied: impl FnOnce() -> Denied,
    ) -> Finding<'a> {
        let mut having = self.grants.iter().copied().filter(|grant| has(grant));
        let Some(first) = having.next() else {
            return Finding { subject, outcome: Outcome::Denied(denied()), grant: None };
        };
        let is_plain = |grant: &&Grant| grant.authorize() == Authorize::Grant;
        let plain = Some(first).filter(is_plain).or_else(|| having.find(is_plain));
        match plain {
            Some(grant) => Finding { subject, outcome: Outcome::Granted, grant: Some(grant) },
            None => Finding { subject, outcome: Outcome::AskPolkit, grant: Some(first) },
        }
    }

    fn network(&self, network: &'a NetworkName) -> Finding<'a> {
        self.finding(
            Subject::Network(network),
            |grant| grant.has_network(network),
            || Denied::Network { user: self.user.clone(), network: network.clone() },
        )
    }

    fn static_address(&self, network: &'a NetworkName) -> Finding<'a> {
        let has = |grant: &Grant| grant.static_addresses() && grant.has_network(network);
        self.finding(Subject::StaticAddress(network), has, || Denied::StaticAddress {
            user: self.user.clone(),
            network: network.clone(),
        })
    }

    fn aliases(&self, network: &'a NetworkName) -> Finding<'a> {
        let has = |grant: &Grant| grant.aliases() && grant.has_network(network);
        self.finding(Subject::Aliases(network), has, || Denied::Alias {
            user: self.user.clone(),
            network: network.clone(),
        })
    }

    fn port(&self, network: &'a NetworkName, forward: &'a RequestedForward) -> Finding<'a> {
        let RequestedForward { protocol, host_address, host_port, container_port } = *forward;
        let has_port = |grant: &Grant| {
            grant.has_network(network)
                && match host_port {
                    Some(port) => grant.has_port(protocol, port),
                    None => grant.spans(protocol).next().is_some(),
                }
        };
        let has = |grant: &Grant| has_port(grant) && grant.has_host_address(host_address);
        self.finding(Subject::Port(network, forward), has, || {
            let user = self.user.clone();
            let port = host_port.unwrap_or(container_port);
            let addresses = self.grants.iter().filter(|grant| has_port(grant));
            let addresses: BTreeSet<String> =
                addresses.flat_map(|grant| grant.host_addresses()).collect();
            match addresses.is_empty() {
                true => Denied::Port {
                    user,
                    network: network.clone(),
                    port,
                    protocol,
                    granted: self.granted_ports(network, protocol),
                },
                false => Denied::HostAddress {
                    user,
                    port,
                    protocol,
                    address: host_address,
                    granted: addresses.into_iter().collect::<Vec<_>>().join(", "),
                },
            }
        })
    }

    fn granted_ports(&self, network: &NetworkName, protocol: Protocol) -> String {
        let on_network = self.grants.iter().filter(|grant| grant.has_network(network));
        let spans: BTreeSet<_> = on_network.flat_map(|grant| grant.spans(protocol)).collect();
        if spans.is_empty() {
            return "none".to_owned();
        }
        spans.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The largest quota among the grants for the request's networks counts. Nothing is said where there are
    /// none: then it is the networks that are not granted.
    fn quota(&self, resource: Resource, wanted: Amounts) -> Option<Finding<'a>> {
        let subject = Subject::Quota(resource);
        let held = self.usage.by_owner.of(resource);
        let wanted =
            (wanted.of(resource) > 0).then(|| (self.usage.by_owner + wanted).of(resource))?;
        let networks = || self.request.networks.iter().map(|asked| &asked.network);
        let of_request = || {
            let has = move |grant: &&Grant| networks().any(|network| grant.has_network(network));
            self.grants.iter().copied().filter(has)
        };
        // A grant without a quota sets no limit.
        let limit = |grant: &Grant| grant.quota(resource).map_or(u64::MAX, u64::from);
        let plain = of_request().filter(|grant| grant.authorize() == Authorize::Grant);
        let largest_plain = plain.max_by_key(|grant| limit(grant));
        let largest = of_request().max_by_key(|grant| limit(grant))?;
        let keeps = |grant: &&Grant| u64::from(wanted) <= limit(grant);
        debug_assert!(wanted >= held, "what is added is not negative");
        Some(match (largest_plain.filter(keeps), Some(largest).filter(keeps)) {
            (Some(grant), _) => Finding { subject, outcome: Outcome::Granted, grant: Some(grant) },
            (None, Some(grant)) => {
                Finding { subject, outcome: Outcome::AskPolkit, grant: Some(grant) }
            }
            (None, None) => {
                let user = self.user.clone();
                let limit = largest.quota(resource).unwrap_or(u32::MAX);
                let denied = Denied::Quota { user, resource, wanted, limit };
                Finding { subject, outcome: Outcome::Denied(denied), grant: Some(largest) }
            }
        })
    }

    fn limit(&self, resource: Resource, wanted: Amounts) -> Option<Finding<'a>> {
        let limit = self.policy.limits().of(resource)?;
        let in_use = self.usage.in_all.of(resource);
        let wanted = wanted.of(resource);
        if wanted == 0 || in_use.saturating_add(wanted) <= limit {
            return None;
        }
        let denied = Denied::Limit { resource, in_use, limit };
        let subject = Subject::Limit(resource);
        Some(Finding { subject, outcome: Outcome::Denied(denied), grant: None })
    }
}

enum Step<'a> {
    Network(&'a NetworkRequest),
    Quota(Resource),
    Limit(Resource),
    StaticAddress(&'a NetworkRequest),
    Aliases(&'a NetworkRequest),
    Port(&'a NetworkName, &'a RequestedForward),
}
