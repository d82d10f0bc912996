//! Owns one subnet of a network and which of its addresses a container can have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::SubnetError;
use crate::name::quoted;
use crate::prefix;

/// The addresses that are given to containers that ask for none; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseRange {
    start: IpAddr,
    end: IpAddr,
}

impl LeaseRange {
    /// The lowest address.
    #[must_use]
    pub fn start(&self) -> IpAddr {
        self.start
    }

    /// The highest address.
    #[must_use]
    pub fn end(&self) -> IpAddr {
        self.end
    }
}

impl fmt::Display for LeaseRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl FromStr for LeaseRange {
    type Err = SubnetError;

    /// Reads `START-END`, or a prefix, which stands for all its addresses.
    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let range = match text.split_once('-') {
            Some((start, end)) => {
                start.parse().ok().zip(end.parse().ok()).map(|(start, end)| Self { start, end })
            }
            None => prefix::parse(text).map(|prefix| {
                let prefix = prefix.trunc();
                Self { start: prefix.network(), end: prefix.broadcast() }
            }),
        };
        // Which subnet it is to lie in, and so whether it ascends, is not known yet.
        range
            .filter(|range| range.start.is_ipv4() == range.end.is_ipv4())
            .ok_or_else(|| SubnetError::Range { found: quoted(text) })
    }
}

/// One subnet of a network: IPv4 of /8 to /30 or IPv6 of /48 to /126, with a gateway inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    subnet: IpNet,
    gateway: IpAddr,
    lease_range: Option<LeaseRange>,
}

impl Subnet {
    /// The subnet from its parts as text, as a network file has them. Without a gateway it is the first
    /// usable address; a missing end of the lease range is that end of the subnet.
    ///
    /// # Errors
    ///
    /// Says which part cannot be used.
    pub fn parse(
        subnet: &str,
        gateway: Option<&str>,
        lease_range: Option<(Option<&str>, Option<&str>)>,
    ) -> Result<Self, SubnetError> {
        let subnet = prefix::parse(subnet)
            .ok_or_else(|| SubnetError::Malformed { found: quoted(subnet) })?;
        check_prefix(subnet)?;
        let address = |role, text: &str| -> Result<IpAddr, SubnetError> {
            let address = text.parse().map_err(|_| SubnetError::Address {
                role,
                found: quoted(text),
                subnet,
            })?;
            if subnet.contains(&address) {
                Ok(address)
            } else {
                Err(SubnetError::Outside { role, address, subnet })
            }
        };
        let gateway = match gateway {
            Some(text) => address("gateway", text)?,
            None => address_at(subnet, 1),
        };
        if let Some(what) = reserved(subnet, gateway) {
            return Err(SubnetError::Gateway { gateway, what, subnet });
        }
        let lease_range = match lease_range {
            None => None,
            Some((start, end)) => Some(LeaseRange {
                start: match start {
                    Some(text) => address("start_ip", text)?,
                    None => address_at(subnet, 1),
                },
                end: match end {
                    Some(text) => address("end_ip", text)?,
                    None => address_at(subnet, highest_host(subnet)),
                },
            }),
        };
        let result = Self { subnet, gateway, lease_range };
        match lease_range {
            Some(range) if range.start > range.end => {
                Err(SubnetError::NotAscending { range, subnet })
            }
            Some(range) if result.leasable().count() == 0 => {
                Err(SubnetError::NothingToLease { range, subnet })
            }
            Some(_) | None => Ok(result),
        }
    }

    /// The prefix.
    #[must_use]
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The address of the bridge.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Where addresses are leased from, if not from the whole subnet.
    #[must_use]
    pub fn lease_range(&self) -> Option<LeaseRange> {
        self.lease_range
    }

    /// Whether a container can have this address if it asks for it: it is in the subnet and neither the
    /// network address (in IPv6 the subnet-router anycast address), the broadcast address nor the gateway.
    /// The lease range does not matter.
    #[must_use]
    pub fn is_usable(&self, address: IpAddr) -> bool {
        self.subnet.contains(&address)
            && address != self.gateway
            && reserved(self.subnet, address).is_none()
    }

    /// The usable addresses that the lease range lets through.
    pub(crate) fn leasable(&self) -> Leasable {
        let (start, end) = match self.lease_range {
            Some(range) => (host_part(self.subnet, range.start), host_part(self.subnet, range.end)),
            None => (0, highest_host(self.subnet)),
        };
        Leasable {
            first: start.max(1),
            last: end.min(highest_host(self.subnet)),
            gateway: host_part(self.subnet, self.gateway),
            subnet: self.subnet,
        }
    }
}

/// The addresses of a subnet that can be leased, as host parts: the number behind the prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leasable {
    subnet: IpNet,
    first: u128,
    last: u128,
    gateway: u128,
}

impl Leasable {
    /// The lowest host part that could be leased, were it not the gateway.
    pub(crate) fn first(&self) -> u128 {
        self.first
    }

    /// The highest host part that could be leased, were it not the gateway.
    pub(crate) fn last(&self) -> u128 {
        self.last
    }

    /// Whether the host part belongs to a leasable address.
    pub(crate) fn contains(&self, host: u128) -> bool {
        (self.first..=self.last).contains(&host) && host != self.gateway
    }

    /// How many there are: fewer than 2^80.
    pub(crate) fn count(&self) -> u128 {
        match (self.last + 1).checked_sub(self.first) {
            Some(count) if (self.first..=self.last).contains(&self.gateway) => count - 1,
            Some(count) => count,
            None => 0,
        }
    }

    /// The leasable address number `index`, ascending from 0, of fewer than `count`.
    pub(crate) fn nth(&self, index: u128) -> IpAddr {
        let host = self.first + index;
        let beyond_gateway = self.first <= self.gateway && self.gateway <= host;
        self.address(host + u128::from(beyond_gateway))
    }

    /// The address with this host part.
    pub(crate) fn address(&self, host: u128) -> IpAddr {
        address_at(self.subnet, host)
    }

    /// How many bits a host part has.
    pub(crate) fn host_bits(&self) -> u8 {
        host_bits(self.subnet)
    }
}

fn host_bits(subnet: IpNet) -> u8 {
    subnet.max_prefix_len() - subnet.prefix_len()
}

/// The highest host part that a host can have.
fn highest_host(subnet: IpNet) -> u128 {
    let all_ones = (1 << host_bits(subnet)) - 1;
    match subnet {
        IpNet::V4(_) => all_ones - 1,
        IpNet::V6(_) => all_ones,
    }
}

fn host_part(subnet: IpNet, address: IpAddr) -> u128 {
    let bits = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    bits & ((1 << host_bits(subnet)) - 1)
}

fn address_at(subnet: IpNet, host: u128) -> IpAddr {
    match subnet {
        IpNet::V4(net) => {
            let host = u32::try_from(host).expect("a host part of an IPv4 subnet has 24 bits");
            Ipv4Addr::from_bits(net.addr().to_bits() | host).into()
        }
        IpNet::V6(net) => Ipv6Addr::from_bits(net.addr().to_bits() | host).into(),
    }
}

/// What the address means where no host can have it.
fn reserved(subnet: IpNet, address: IpAddr) -> Option<&'static str> {
    match (subnet, address) {
        (IpNet::V4(net), IpAddr::V4(v4)) if v4 == net.network() => Some("network"),
        (IpNet::V4(net), IpAddr::V4(v4)) if v4 == net.broadcast() => Some("broadcast"),
        // RFC 4291, 2.6.1
        (IpNet::V6(net), IpAddr::V6(v6)) if v6 == net.network() => Some("subnet-router anycast"),
        (IpNet::V4(_) | IpNet::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => None,
    }
}

fn check_prefix(subnet: IpNet) -> Result<(), SubnetError> {
    if subnet != subnet.trunc() {
        return Err(SubnetError::HostBits { subnet });
    }
    let (lengths, accepted) = match subnet {
        IpNet::V4(_) => (8..=30, "/8 to /30 for IPv4"),
        IpNet::V6(_) => (48..=126, "/48 to /126 for IPv6"),
    };
    if !lengths.contains(&subnet.prefix_len()) {
        return Err(SubnetError::Size { subnet, accepted });
    }
    let v4 = |a, b, length| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length).into();
    let v6 = |a, length| Ipv6Net::new_assert(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0), length).into();
    let mapped = Ipv6Net::new_assert(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96).into();
    // IANA's registries of special-purpose addresses, as far as they are not unicast on a bridge.
    let special: [(IpNet, &str); 10] = [
        (v4(0, 0, 8), "unspecified"),
        (v4(127, 0, 8), "loopback"),
        (v4(169, 254, 16), "link-local"),
        (v4(224, 0, 4), "multicast"),
        (Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32).into(), "broadcast"),
        (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128).into(), "unspecified"),
        (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(), "loopback"),
        (mapped, "IPv4-mapped"),
        (v6(0xfe80, 10), "link-local"),
        (v6(0xff00, 8), "multicast"),
    ];
    match special.iter().find(|(block, _)| overlap(subnet, *block)) {
        Some((_, what)) => Err(SubnetError::Special { subnet, what }),
        None => Ok(()),
    }
}

/// Whether two prefixes have an address in common.
pub(super) fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Result<Subnet, SubnetError> {
        Subnet::parse(text, None, None)
    }

    fn message(result: Result<Subnet, SubnetError>) -> String {
        result.expect_err("invalid").to_string()
    }

    #[test]
    fn the_gateway_is_the_first_usable_address_by_default() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.1"),
            ("192.0.2.252/30", "192.0.2.253"),
            ("fd00:1::/48", "fd00:1::1"),
            ("fd00::4/126", "fd00::5"),
        ];
        for (text, gateway) in cases {
            assert_eq!(subnet(text).expect("valid").gateway().to_string(), gateway);
        }
    }

    #[test]
    fn unusable_subnets_are_refused_with_the_reason() {
        let cases = [
            ("", "subnet \"\" is malformed"),
            ("10.0.0.0", "subnet \"10.0.0.0\" is malformed"),
            ("10.0.0.0/33", "is malformed"),
            (
                "096.0.2.0/24",
                "is malformed (accepted: ADDRESS/LENGTH without leading zeros, as in \"10.89.0.0/24\")",
            ),
            ("10.89.0.0/024", "is malformed"),
            ("10.0.0.0/255.0.0.0", "is malformed"),
            ("10.89.0.1/24", "has host bits set (write \"10.89.0.0/24\")"),
            ("fd00::1/64", "has host bits set (write \"fd00::/64\")"),
            ("11.0.0.0/7", "host bits"),
            ("12.0.0.0/7", "unsupported size (accepted: /8 to /30 for IPv4)"),
            ("10.0.0.0/31", "unsupported size"),
            ("10.0.0.0/32", "unsupported size"),
            ("fd00::/47", "unsupported size (accepted: /48 to /126 for IPv6)"),
            ("fd00::/127", "unsupported size"),
            ("0.0.0.0/8", "unspecified"),
            ("127.1.0.0/16", "loopback"),
            ("169.254.0.0/16", "link-local"),
            ("169.254.7.0/24", "link-local"),
            ("169.0.0.0/8", "link-local"),
            ("239.1.0.0/16", "multicast"),
            ("255.255.255.0/24", "broadcast"),
            ("::/64", "unspecified"),
            ("::/126", "unspecified"),
            ("::ffff:0:0/96", "IPv4-mapped"),
            ("::ffff:10.0.0.0/120", "IPv4-mapped"),
            ("fe80::/64", "link-local"),
            ("ff05::/64", "multicast"),
        ];
        for (text, expected) in cases {
            let found = message(subnet(text));
            assert!(found.contains(expected), "{text}: {found}");
        }
    }

    #[test]
    fn gateways_that_no_host_can_have_are_refused() {
        let cases = [
            ("10.0.0.0/24", "10.0.1.1", "gateway \"10.0.1.1\" is not in subnet \"10.0.0.0/24\""),
            ("10.0.0.0/24", "fd00::1", "is not in subnet"),
            ("10.0.0.0/24", "10.0.0.0", "is the network address"),
            ("10.0.0.0/24", "10.0.0.255", "is the broadcast address"),
            ("fd00::/64", "fd00::", "is the subnet-router anycast address"),
            ("10.0.0.0/24", "gw", "gateway \"gw\" of subnet \"10.0.0.0/24\" is not an IP address"),
        ];
        for (text, gateway, expected) in cases {
            let found = message(Subnet::parse(text, Some(gateway), None));
            assert!(found.contains(expected), "{gateway}: {found}");
        }
        let last = Subnet::parse("fd00::/64", Some("fd00::ffff:ffff:ffff:ffff"), None);
        assert!(last.is_ok());
    }

    #[test]
    fn lease_ranges_are_checked() {
        let parse = |start, end| Subnet::parse("10.0.0.0/24", None, Some((start, end)));
        let range = |start, end| {
            parse(start, end).expect("valid").lease_range().expect("present").to_string()
        };
        assert_eq!(range(None, None), "10.0.0.1-10.0.0.254");
        assert_eq!(range(Some("10.0.0.9"), None), "10.0.0.9-10.0.0.254");
        assert_eq!(range(None, Some("10.0.0.9")), "10.0.0.1-10.0.0.9");
        assert_eq!(range(Some("10.0.0.9"), Some("10.0.0.9")), "10.0.0.9-10.0.0.9");
        // Podman writes the whole of the range it is given, ends included.
        assert_eq!(range(Some("10.0.0.0"), Some("10.0.0.255")), "10.0.0.0-10.0.0.255");
        let cases = [
            (
                Some("10.0.0.9"),
                Some("10.0.0.8"),
                "\"10.0.0.9-10.0.0.8\" of subnet \"10.0.0.0/24\" does not ascend",
            ),
            (Some("10.0.1.0"), None, "start_ip \"10.0.1.0\" is not in subnet"),
            (None, Some("fd00::1"), "end_ip \"fd00::1\" is not in subnet"),
            (None, Some("x"), "end_ip \"x\" of subnet"),
            (Some("10.0.0.0"), Some("10.0.0.1"), "has no address for a container"),
            (Some("10.0.0.255"), Some("10.0.0.255"), "has no address for a container"),
        ];
        for (start, end, expected) in cases {
            let found = message(parse(start, end));
            assert!(found.contains(expected), "{start:?} {end:?}: {found}");
        }
    }

    #[test]
    fn a_range_is_two_addresses_or_a_prefix() {
        let cases = [
            ("10.0.0.9-10.0.0.20", "10.0.0.9-10.0.0.20"),
            ("10.0.0.16/28", "10.0.0.16-10.0.0.31"),
            ("10.0.0.17/28", "10.0.0.16-10.0.0.31"),
            ("fd00::10-fd00::20", "fd00::10-fd00::20"),
            ("fd00::100/120", "fd00::100-fd00::1ff"),
        ];
        for (text, expected) in cases {
            let range: LeaseRange = text.parse().expect(text);
            assert_eq!(range.to_string(), expected, "{text}");
        }
        for text in
            ["", "-", "10.0.0.9", "10.0.0.9-", "10.0.0.9-x", "10.0.0.9-fd00::1", "10.0.0.0/33"]
        {
            let error = text.parse::<LeaseRange>().expect_err(text).to_string();
            assert!(error.contains("accepted: START-END or ADDRESS/LENGTH"), "{text}: {error}");
        }
    }

    #[test]
    fn usable_means_a_container_can_have_it() {
        let v4 = Subnet::parse("10.0.0.0/30", Some("10.0.0.2"), None).expect("valid");
        let v6 = subnet("fd00::/126").expect("valid");
        let cases = [
            (v4, "10.0.0.0", false),
            (v4, "10.0.0.1", true),
            (v4, "10.0.0.2", false),
            (v4, "10.0.0.3", false),
            (v4, "10.0.0.4", false),
            (v4, "fd00::2", false),
            (v6, "fd00::", false),
            (v6, "fd00::1", false),
            (v6, "fd00::2", true),
            (v6, "fd00::3", true),
            (v6, "10.0.0.1", false),
        ];
        for (subnet, address, expected) in cases {
            assert_eq!(subnet.is_usable(address.parse().expect("address")), expected, "{address}");
        }
    }
}
