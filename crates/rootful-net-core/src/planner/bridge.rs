//! A network's bridge: what it should be, and the steps that make it so.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{PlanError, World};
use crate::catalogue::overlapping_route;
use crate::derivation::bridge_mac;
use crate::link::{Bridge, Hairpin};
use crate::mac::MacAddress;
use crate::name::NetworkName;
use crate::network::Network;
use crate::observed::{Link, LinkKind, Observed, Sysctl};
use crate::plan::Step;

pub(super) const ALIAS_PREFIX: &str = "rootful-net network ";

/// The `ifalias` of a network's bridge.
pub(super) fn alias(network: &NetworkName) -> String {
    format!("{ALIAS_PREFIX}{network}")
}

/// Whether the link is a bridge that rootful-net made.
pub(crate) fn is_own(link: &Link) -> bool {
    let alias = link.alias.as_deref();
    link.kind == LinkKind::Bridge && alias.is_some_and(|alias| alias.starts_with(ALIAS_PREFIX))
}

pub(super) fn mac(world: World<'_>, network: &NetworkName) -> MacAddress {
    bridge_mac(world.key, network)
}

/// The bridge that the network wants.
pub(super) fn bridge(world: World<'_>, network: &Network) -> Bridge {
    let address = |subnet: &crate::network::Subnet| {
        let length = subnet.subnet().prefix_len();
        IpNet::new(subnet.gateway(), length).expect("the gateway is in the subnet")
    };
    Bridge {
        name: network.interface().clone(),
        alias: alias(network.name()),
        mac: mac(world, network.name()),
        mtu: network.mtu(),
        addresses: network.subnets().iter().map(address).collect(),
    }
}

/// The steps that give the host the network's bridge; none where it is in use already.
pub(super) fn steps(
    world: World<'_>,
    observed: &Observed,
    network: &Network,
) -> Result<Vec<Step>, PlanError> {
    let wanted = bridge(world, network);
    let Some(link) = observed.links.get(wanted.name.as_str()) else {
        check_routes(observed, network)?;
        let sysctls = own_sysctls(network).into_iter().map(set);
        return Ok([Step::CreateBridge(wanted)].into_iter().chain(sysctls).collect());
    };
    if !is_own(link) {
        let (network, link) = (network.name().clone(), wanted.name);
        return Err(PlanError::BridgeTaken { network, link });
    }
    if world.ledger.members(network.name()) > 0 && link.up {
        return Ok(Vec::new());
    }
    let sysctls = own_sysctls(network).into_iter().map(set);
    Ok([Step::RepairBridge(wanted)].into_iter().chain(sysctls).collect())
}

fn check_routes(observed: &Observed, network: &Network) -> Result<(), PlanError> {
    for subnet in network.subnets() {
        let subnet = subnet.subnet();
        let route = overlapping_route(subnet, network.interface().as_str(), &observed.routes);
        if let Some(route) = route {
            return Err(PlanError::SubnetRouted {
                subnet,
                network: network.name().clone(),
                route: route.destination,
                link: route.link.clone(),
            });
        }
    }
    Ok(())
}

/// The kernel parameters of the bridge itself.
///
/// `route_localnet` lets the host reach published ports through 127.0.0.1. The host must not take router
/// advertisements from containers.
pub(super) fn own_sysctls(network: &Network) -> Vec<(Sysctl, &'static str)> {
    let bridge = network.interface();
    let mut sysctls = vec![(Sysctl::ipv4_link(bridge, "route_localnet"), "1")];
    if network.ipv6_enabled() {
        sysctls.push((Sysctl::ipv6_link(bridge, "accept_ra"), "0"));
    }
    sysctls
}

/// The kernel parameters of the host that the networks need.
pub(super) fn forwarding_sysctls(networks: &[&Network]) -> BTreeSet<Sysctl> {
    let mut sysctls = BTreeSet::new();
    for network in networks.iter().filter(|network| !network.internal()) {
        for subnet in network.subnets() {
            sysctls.insert(if subnet.subnet().addr().is_ipv4() {
                Sysctl::ipv4_forwarding()
            } else {
                Sysctl::ipv6_forwarding()
            });
        }
    }
    sysctls
}

/// All kernel parameters that an attachment to these networks depends on.
pub(super) fn sysctls_to_read(networks: &[&Network]) -> BTreeSet<Sysctl> {
    forwarding_sysctls(networks).into_iter().chain(Sysctl::bridge_netfilter()).collect()
}

/// The hairpin mode that new ports need.
pub(super) fn hairpin(observed: &Observed) -> Hairpin {
    let is_on = |sysctl| observed.sysctls.get(&sysctl).is_some_and(|value| value == "1");
    if Sysctl::bridge_netfilter().into_iter().any(is_on) { Hairpin::On } else { Hairpin::Off }
}

/// The steps that switch forwarding on where it is off.
///
/// A host that forwards IPv6 stops taking router advertisements, and so may lose its own default route,
/// unless `accept_ra` is 2: the links that take them now keep doing so.
pub(super) fn forwarding_steps(observed: &Observed, networks: &[&Network]) -> Vec<Step> {
    let mut steps = Vec::new();
    for sysctl in forwarding_sysctls(networks) {
        let current = observed.sysctls.get(&sysctl).map(String::as_str);
        if current.is_none() || current == Some("1") {
            continue;
        }
        if sysctl == Sysctl::ipv6_forwarding() {
            let accepting = observed.links_accepting_ra.iter();
            steps.extend(accepting.map(|link| set((Sysctl::ipv6_link(link, "accept_ra"), "2"))));
        }
        steps.push(set((sysctl, "1")));
    }
    steps
}

pub(super) fn set((sysctl, value): (Sysctl, &str)) -> Step {
    Step::SetSysctl { sysctl, value: value.to_owned() }
}
