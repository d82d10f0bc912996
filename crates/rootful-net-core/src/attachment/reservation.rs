//! Which ports of the host are kept from its own programs for an attachment.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Attachment, Forward};
use crate::publish::{HostAddress, Reservation};

impl Attachment {
    /// The ports that are kept from the host's programs while this is attached: one reservation a published port.
    ///
    /// Where a port is published on a link-local IPv6 address there is none: that address is another one on each link,
    /// and no socket is bound to all of them.
    pub fn reservations(&self) -> BTreeSet<Reservation> {
        self.forwards().iter().flat_map(of_forward).collect()
    }
}

fn of_forward(forward: &Forward) -> Option<Reservation> {
    let any_ipv4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let any_ipv6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (ipv4, ipv6) = (forward.ipv4_target.is_some(), forward.ipv6_target.is_some());
    let (address, dual_stack) = match forward.host_address {
        HostAddress::Any if ipv6 => (any_ipv6, ipv4),
        HostAddress::Any | HostAddress::AnyIpv4 => (any_ipv4, false),
        HostAddress::AnyIpv6 => (any_ipv6, false),
        HostAddress::Ipv4(address) => (address.into(), false),
        HostAddress::Ipv6(address) if address.is_unicast_link_local() => return None,
        HostAddress::Ipv6(address) => (address.into(), false),
    };
    let (protocol, port) = (forward.protocol, forward.host_port);
    Some(Reservation { protocol, address, dual_stack, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{Port, Protocol};

    #[test]
    fn a_published_port_is_reserved_where_it_leads_somewhere() {
        let cases = [
            ("*", true, true, Some("*:80/udp")),
            ("*", true, false, Some("0.0.0.0:80/udp")),
            ("*", false, true, Some("[::]:80/udp")),
            ("0.0.0.0", true, false, Some("0.0.0.0:80/udp")),
            ("[::]", false, true, Some("[::]:80/udp")),
            ("192.0.2.1", true, false, Some("192.0.2.1:80/udp")),
            ("[2001:db8::1]", false, true, Some("[2001:db8::1]:80/udp")),
            ("[fe80::1]", false, true, None),
        ];
        for (host_address, ipv4, ipv6, expected) in cases {
            let forward = Forward {
                protocol: Protocol::Udp,
                host_address: host_address.parse().expect("a host address"),
                host_port: Port::new(80).expect("not 0"),
                container_port: Port::new(8080).expect("not 0"),
                ipv4_target: ipv4.then_some(Ipv4Addr::new(10, 87, 0, 2)),
                ipv6_target: ipv6.then_some(Ipv6Addr::LOCALHOST),
            };
            let reserved = of_forward(&forward).map(|reservation| reservation.to_string());
            assert_eq!(reserved.as_deref(), expected, "{host_address} {ipv4} {ipv6}");
        }
    }
}
