//! The links that rootful-net makes, as data: bridges, veth pairs and what the container's end carries.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::mac::MacAddress;
use crate::name::InterfaceName;
use crate::network::Neighbours;
use crate::observed::PortFlags;

/// A network's bridge on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The bridge's name, the network's `network_interface`.
    pub name: InterfaceName,
    /// The `ifalias`, by which a bridge of ours is told from anybody else's.
    pub alias: String,
    /// A fixed MAC address, so that it does not change when ports come and go.
    pub mac: MacAddress,
    /// The MTU; `None` leaves the kernel's default.
    pub mtu: Option<u16>,
    /// The gateway addresses with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
}

impl Bridge {
    /// All addresses with their prefix lengths, the link-local one among them.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpNet> + '_ {
        with_link_local(&self.addresses, self.link_local())
    }

    /// The bridge's one link-local address, made of its MAC address (RFC 4291, appendix A): the host asks
    /// for a container's MAC address with it as the sender. `None` without IPv6.
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        let has_ipv6 = self.addresses.iter().any(|address| matches!(address, IpNet::V6(_)));
        let [a, b, c, d, e, f] = self.mac.octets();
        let identifier = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        has_ipv6.then(|| Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(identifier)))
    }
}

/// The addresses, and behind them the link-local one where there is one.
pub fn with_link_local(
    addresses: &[IpNet],
    link_local: Option<Ipv6Addr>,
) -> impl Iterator<Item = IpNet> + '_ {
    let link_local = link_local
        .map(|address| IpNet::new(address.into(), 64).expect("an IPv6 prefix can be 64 bits long"));
    addresses.iter().copied().chain(link_local)
}

/// A veth pair: one end is a port of a bridge, the other is the container's interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The host end, `rn` and 10 hex digits.
    pub host_link: InterfaceName,
    /// The host end's `ifalias`, which names the attachment.
    pub alias: String,
    /// The bridge that the host end is a port of.
    pub bridge: InterfaceName,
    /// The container's interface.
    pub container_link: InterfaceName,
    /// The MAC address of the container's interface.
    pub container_mac: MacAddress,
    /// The MTU of both ends; `None` leaves the kernel's default.
    pub mtu: Option<u16>,
    /// Whether the port takes part in what goes on between the bridge's other ports.
    #[serde(default)]
    pub neighbours: Neighbours,
    /// Whether the bridge sends frames back out of the port that they came in by.
    #[serde(default)]
    pub hairpin: Hairpin,
}

impl Veth {
    /// How the bridge is to treat the host end. The port's one station is in the forwarding database and nothing else
    /// gets there, nor does a frame from any other address pass. What nobody knows is for nobody here; broadcasts
    /// and multicasts are needed to find neighbours.
    pub fn port_flags(&self) -> PortFlags {
        PortFlags {
            learning: false,
            flood: false,
            locked: true,
            isolated: self.neighbours == Neighbours::Isolated,
            hairpin: self.hairpin == Hairpin::On,
            group_fwd_mask: EVERY_GROUP,
        }
    }
}

/// The bits of the groups 01:80:c2:00:00:0x, of which the bridge hands most to the host's protocols without
/// asking anybody: "forwarded" they go by the guard, which drops them. Pause frames the bridge drops itself.
const EVERY_GROUP: u16 = !(1 << 1);

/// The hairpin mode of a bridge port.
///
/// With br_netfilter a frame to a published port is translated on the bridge and stays there, and where the
/// port is the sender's own it must go back. Elsewhere the host routes it, and nothing need be reflected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hairpin {
    /// Frames do not go back.
    #[default]
    Off,
    /// Frames may go back, broadcasts among them.
    On,
}

/// What an interface inside the namespace is given before it goes up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSetup {
    /// The interface inside the namespace.
    pub name: InterfaceName,
    /// Its addresses with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Its one link-local address; the kernel makes none of its own. `None` without IPv6.
    pub link_local: Option<Ipv6Addr>,
    /// The routers of its default routes; none on an internal network or a second network.
    pub default_routers: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_has_the_link_local_address_of_its_mac_address_with_ipv6_only() {
        let bridge = |address: &str| Bridge {
            name: "rootful0".parse().expect("valid"),
            alias: String::new(),
            mac: "02:00:5e:10:ab:cd".parse().expect("valid"),
            mtu: None,
            addresses: vec![address.parse().expect("valid")],
        };
        let expected = "fe80::5eff:fe10:abcd".parse().ok();
        assert_eq!(bridge("fd00::1/64").link_local(), expected);
        assert_eq!(bridge("10.87.0.1/16").link_local(), None);
    }
}
