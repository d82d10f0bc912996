//! Which ports of the host are kept from its own programs for an attachment.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Attachment, Forward};
use crate::publish::{HostAddress, Reservation};

impl Attachment {
    /// The ports that are kept from the host's programs while this is attached: one reservation a published port and
    /// address family, or one for both families where the port is published on any address of both.
    pub fn reservations(&self) -> BTreeSet<Reservation> {
        self.forwards().iter().flat_map(of_forward).collect()
    }
}

fn of_forward(forward: &Forward) -> impl Iterator<Item = Reservation> + use<> {
    let any_ipv4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let any_ipv6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (ipv4, ipv6) = (forward.ipv4_target.is_some(), forward.ipv6_target.is_some());
    let (address, dual_stack) = match forward.host_address {
        HostAddress::Any if ipv4 && ipv6 => (Some(any_ipv6), true),
        HostAddress::Any | HostAddress::AnyIpv4 if ipv4 => (Some(any_ipv4), false),
        HostAddress::Any | HostAddress::AnyIpv6 if ipv6 => (Some(any_ipv6), false),
        HostAddress::Ipv4(address) if ipv4 => (Some(address.into()), false),
        HostAddress::Ipv6(address) if ipv6 => (Some(address.into()), false),
        _ => (None, false),
    };
    let (protocol, port) = (forward.protocol, forward.host_port);
    address.into_iter().map(move |address| Reservation { protocol, address, dual_stack, port })
}
