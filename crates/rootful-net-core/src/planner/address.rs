//! Addresses, MAC addresses and names of the interfaces of a new attachment.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{PlanError, World};
use crate::attachment::{Attachment, AttachmentId, Holder, host_link_name};
use crate::derivation::{Subject, candidates, mac_candidates};
use crate::ledger::{AddressOrigin, Lease};
use crate::mac::MacAddress;
use crate::name::{ContainerName, InterfaceName, NetworkName};
use crate::network::{Network, Subnet};
use crate::request::NetworkRequest;

/// The interface addresses on one network, one for each subnet or as asked for; of IPv4 alone for a container that
/// lacks IPv6.
pub(super) fn addresses(
    world: World<'_>,
    holder: &Holder,
    network: &Network,
    asked: &NetworkRequest,
    lacks_ipv6: bool,
) -> Result<Vec<IpNet>, PlanError> {
    let switched_off = || PlanError::Ipv6SwitchedOff { network: network.name().clone() };
    let mut addresses = Vec::new();
    for &address in &asked.addresses {
        if lacks_ipv6 && address.is_ipv6() {
            return Err(switched_off());
        }
        let subnet = network.subnets().iter().find(|subnet| subnet.is_usable(address));
        let subnet = subnet.ok_or_else(|| unusable(network, address))?;
        check_free(world, holder, network.name(), address)?;
        addresses.push(with_prefix(subnet, address));
    }
    let chosen = addresses.clone();
    for subnet in network.subnets() {
        let is_ipv4 = subnet.subnet().addr().is_ipv4();
        // One address of each family: where one was asked for, none is derived.
        let is_chosen = chosen.iter().any(|address| address.addr().is_ipv4() == is_ipv4);
        if is_chosen || (lacks_ipv6 && !is_ipv4) {
            continue;
        }
        addresses.push(with_prefix(subnet, derived(world, holder, network, subnet)?));
    }
    if lacks_ipv6 && addresses.is_empty() {
        return Err(switched_off());
    }
    addresses.sort_by_key(|address| address.addr().is_ipv6());
    Ok(addresses)
}

fn unusable(network: &Network, address: IpAddr) -> PlanError {
    let subnets = network.subnets().iter().map(|subnet| subnet.subnet().to_string());
    let subnets = subnets.collect::<Vec<_>>().join(" or ");
    PlanError::AddressUnusable { address, network: network.name().clone(), subnets }
}

fn with_prefix(subnet: &Subnet, address: IpAddr) -> IpNet {
    IpNet::new(address, subnet.subnet().prefix_len()).expect("the subnet has the address's family")
}

/// Whether an address that is asked for can be had: nobody has it, and no other user's name is to get it again. An idle
/// lease of another name of the same user gives way to the user's wish.
fn check_free(
    world: World<'_>,
    holder: &Holder,
    network: &NetworkName,
    address: IpAddr,
) -> Result<(), PlanError> {
    let user = world.ledger.address_user(network, address).map(Attachment::holder);
    let user = user.filter(|user| user != holder);
    let is_kept = |lease: &&Lease| lease.holder.owner != holder.owner;
    let lease = world.ledger.leases().get(network, address).filter(is_kept);
    match user.or(lease.map(|lease| lease.holder.clone())) {
        Some(other) => Err(PlanError::AddressTaken {
            address,
            network: network.clone(),
            holder: known_name(holder, other),
        }),
        None => Ok(()),
    }
}

/// The name of `other` where `holder`'s user may know it: users learn nothing of each other's containers.
pub(super) fn known_name(holder: &Holder, other: Holder) -> Option<ContainerName> {
    (other.owner == holder.owner).then_some(other.name)
}

/// The address that the name has or had last, else the first candidate that nobody has or had, else the one
/// whose idle lease is the oldest.
fn derived(
    world: World<'_>,
    holder: &Holder,
    network: &Network,
    subnet: &Subnet,
) -> Result<IpAddr, PlanError> {
    let name = network.name();
    let is_free = |address: &IpAddr| {
        let user = world.ledger.address_user(name, *address);
        user.is_none_or(|user| user.holder() == *holder)
    };
    let lease_of = |address: &IpAddr| world.ledger.leases().get(name, *address);
    let own = world.ledger.leases().of_holder(holder).filter(|lease| {
        lease.network == *name
            && lease.origin == AddressOrigin::Derived
            && subnet.is_usable(lease.address)
            && is_free(&lease.address)
    });
    // What it has now, else what it had last: leases that were imported can give a name several.
    let is_in_use = |lease: &Lease| world.ledger.address_user(name, lease.address).is_some();
    if let Some(lease) = own.max_by_key(|lease| (is_in_use(lease), lease.used)) {
        return Ok(lease.address);
    }
    let subject = Subject { network: name, owner: holder.owner, container: &holder.name };
    let candidates =
        || candidates(world.key, &subject, subnet, network.derivation()).filter(is_free);
    let unleased = |address: &IpAddr| lease_of(address).is_none_or(|lease| lease.holder == *holder);
    if let Some(address) = candidates().find(unleased) {
        return Ok(address);
    }
    let oldest = candidates().filter_map(|address| lease_of(&address));
    let oldest: Option<&Lease> = oldest.min_by_key(|lease| lease.used);
    oldest.map(|lease| lease.address).ok_or_else(|| PlanError::AddressExhausted {
        subnet: subnet.subnet(),
        network: name.clone(),
    })
}

/// The MAC address of the container's interface.
pub(super) fn mac(
    world: World<'_>,
    holder: &Holder,
    network: &Network,
    asked: &NetworkRequest,
) -> Result<MacAddress, PlanError> {
    let name = network.name();
    let user = |mac| {
        let user = world.ledger.mac_user(name, mac).map(Attachment::holder);
        user.filter(|user| user != holder)
    };
    let bridge = super::bridge::mac(world, name);
    if let Some(mac) = asked.mac {
        let taken = |holder| Err(PlanError::MacTaken { mac, network: name.clone(), holder });
        return match user(mac) {
            Some(other) => taken(known_name(holder, other)),
            None if mac == bridge => taken(None),
            None => Ok(mac),
        };
    }
    let subject = Subject { network: name, owner: holder.owner, container: &holder.name };
    let mut free = mac_candidates(world.key, &subject)
        .filter(|&candidate| candidate != bridge && user(candidate).is_none());
    Ok(free.next().expect("2^46 addresses outnumber all attachments"))
}

/// A name for the host's end that no other attachment has.
pub(super) fn host_link(
    world: World<'_>,
    id: &AttachmentId,
    network: &NetworkName,
) -> InterfaceName {
    let names = (0..).map(|attempt| host_link_name(id, network, attempt));
    let is_free = |name: &InterfaceName| {
        let user = world.ledger.of_host_link(name.as_str());
        user.is_none_or(|attachment| attachment.id() == id)
    };
    names.into_iter().find(is_free).expect("the names do not end")
}

/// An id that no other attachment has.
pub(super) fn attachment_id(world: World<'_>, holder: &Holder) -> AttachmentId {
    let ids = (0..).map(|attempt| AttachmentId::derive(holder.owner, &holder.name, attempt));
    let is_free = |id: &AttachmentId| {
        let user = world.ledger.get(id);
        user.is_none_or(|attachment| attachment.holder() == *holder)
    };
    ids.into_iter().find(is_free).expect("the ids do not end")
}
