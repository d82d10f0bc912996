//! Published ports of a new attachment: where they lead, whether they are free, and the free ones that are
//! chosen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::known_name;
use super::{PlanError, World};
use crate::attachment::{Forward, Holder, Interface};
use crate::derivation::{Subject, port_candidates};
use crate::dns;
use crate::name::NetworkName;
use crate::observed::Observed;
use crate::policy::Authorized;
use crate::publish::{HostAddress, Port, Protocol, RequestedForward};
use crate::request::AttachRequest;

/// The container's addresses that ports are published to.
struct Targets<'a> {
    network: Option<&'a NetworkName>,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

/// Works out every forward that is asked for.
pub(super) fn forwards(
    world: World<'_>,
    observed: &Observed,
    authorized: &Authorized<AttachRequest>,
    holder: &Holder,
    interfaces: &[Interface],
) -> Result<Vec<Forward>, PlanError> {
    let targets = targets(world, interfaces);
    let mut forwards: Vec<Forward> = Vec::new();
    for asked in &authorized.request().forwards {
        let (ipv4_target, ipv6_target) = reach(&targets, asked)?;
        let network = targets.network.expect("what reaches an address has a network");
        let forward = |host_port| Forward {
            protocol: asked.protocol,
            host_address: asked.host_address,
            host_port,
            container_port: asked.container_port,
            ipv4_target,
            ipv6_target,
        };
        let check = |candidate: &Forward| check_free(world, observed, holder, candidate);
        let forward = match asked.host_port {
            Some(port) => {
                let forward = forward(port);
                check(&forward)?;
                forward
            }
            None => {
                let taken = |candidate: &Forward| {
                    let port = (candidate.protocol, candidate.host_port);
                    forwards.iter().any(|other| (other.protocol, other.host_port) == port)
                        || named_in_request(authorized.request(), candidate)
                };
                let (protocol, address) = (asked.protocol, asked.host_address);
                choices(world, holder, network, asked)
                    .filter(|&port| authorized.allows_port(network, address, protocol, port))
                    .map(forward)
                    .find(|candidate| !taken(candidate) && check(candidate).is_ok())
                    .ok_or(PlanError::NoFreePort { port: asked.container_port, protocol })?
            }
        };
        forwards.push(forward);
    }
    Ok(forwards)
}

fn named_in_request(request: &AttachRequest, candidate: &Forward) -> bool {
    request.forwards.iter().any(|asked| {
        (asked.protocol, asked.host_port) == (candidate.protocol, Some(candidate.host_port))
    })
}

fn choices(
    world: World<'_>,
    holder: &Holder,
    network: &NetworkName,
    asked: &RequestedForward,
) -> impl Iterator<Item = Port> {
    let subject = Subject { network, owner: holder.owner, container: &holder.name };
    port_candidates(world.key, &subject, asked.protocol, asked.container_port)
}

/// The addresses on the first network that is not internal.
fn targets<'a>(world: World<'_>, interfaces: &'a [Interface]) -> Targets<'a> {
    let public = interfaces.iter().find(|interface| {
        let network = world.catalogue.get(&interface.network);
        network.is_some_and(|network| !network.internal())
    });
    let mut targets =
        Targets { network: public.map(|interface| &interface.network), ipv4: None, ipv6: None };
    for address in public.into_iter().flat_map(Interface::addresses) {
        match address {
            IpAddr::V4(address) => targets.ipv4 = targets.ipv4.or(Some(address)),
            IpAddr::V6(address) => targets.ipv6 = targets.ipv6.or(Some(address)),
        }
    }
    targets
}

fn reach(
    targets: &Targets<'_>,
    asked: &RequestedForward,
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), PlanError> {
    let reached = match asked.host_address {
        HostAddress::Any => (targets.ipv4, targets.ipv6),
        HostAddress::AnyIpv4 | HostAddress::Ipv4(_) => (targets.ipv4, None),
        HostAddress::AnyIpv6 | HostAddress::Ipv6(_) => (None, targets.ipv6),
    };
    if reached == (None, None) {
        return Err(PlanError::NothingToPublishTo {
            port: asked.container_port,
            protocol: asked.protocol,
            host_address: asked.host_address,
        });
    }
    Ok(reached)
}

fn check_free(
    world: World<'_>,
    observed: &Observed,
    holder: &Holder,
    forward: &Forward,
) -> Result<(), PlanError> {
    let Forward { protocol, host_address, host_port: port, .. } = *forward;
    check_name_port(world, forward)?;
    let mut users = world.ledger.port_user(protocol, host_address, port);
    if let Some((other, _)) = users.find(|(other, _)| other.holder() != *holder) {
        let holder = known_name(holder, other.holder());
        return Err(PlanError::PortTaken { port, protocol, holder });
    }
    if let Some(uid) = listening(observed, protocol, port, forward) {
        return Err(PlanError::PortListening { port, protocol, uid });
    }
    Ok(())
}

/// The gateways' name port has its own place among the published ports, and the name server, which comes and goes,
/// must be able to bind its own.
fn check_name_port(world: World<'_>, forward: &Forward) -> Result<(), PlanError> {
    let &Forward { protocol, host_port: port, host_address, .. } = forward;
    if !dns::PROTOCOLS.contains(&protocol) || ![dns::QUERY_PORT, dns::SERVER_PORT].contains(&port) {
        return Ok(());
    }
    let is_taken = |gateway: IpAddr| match HostAddress::try_from(gateway) {
        Ok(gateway) if port == dns::QUERY_PORT => host_address == gateway,
        Ok(gateway) if port == dns::SERVER_PORT => host_address.overlaps(gateway),
        Ok(_) | Err(_) => false,
    };
    let mut gateways = world
        .catalogue
        .networks()
        .flat_map(|network| dns::name_servers(network).map(|gateway| (network.name(), gateway)));
    match gateways.find(|(_, gateway)| is_taken(*gateway)) {
        Some((network, gateway)) => {
            let network = network.clone();
            Err(PlanError::NamePort { port, protocol, gateway, network })
        }
        None => Ok(()),
    }
}

fn listening(
    observed: &Observed,
    protocol: Protocol,
    port: Port,
    forward: &Forward,
) -> Option<u32> {
    let ipv4 = forward.ipv4_target.map(|_| match forward.host_address {
        HostAddress::Ipv4(address) => IpAddr::V4(address),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    });
    let ipv6 = forward.ipv6_target.map(|_| match forward.host_address {
        HostAddress::Ipv6(address) => IpAddr::V6(address),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    let asked: Vec<IpAddr> = ipv4.into_iter().chain(ipv6).collect();
    let mut listeners = observed.listeners.iter();
    let taken = listeners.find(|listener| {
        (listener.protocol, listener.port) == (protocol, port)
            && asked.iter().any(|&address| listener.takes(address))
    });
    taken.map(|listener| listener.uid)
}
