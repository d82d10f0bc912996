//! What the kernel really holds, as far as a decision needs it: the question and the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::mac::MacAddress;
use crate::name::InterfaceName;
use crate::publish::{Port, Protocol, Reservation};
use crate::ruleset::{Element, TableName};

/// What is to be observed. What is not asked for is empty in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Host links of these names.
    pub links: BTreeSet<InterfaceName>,
    /// All host links whose name begins with `rn`, and all bridges.
    pub own_links: bool,
    /// Destinations that the host has a route or an address in.
    pub routes: bool,
    /// Sockets that take what comes in on a port of the host.
    pub listeners: bool,
    /// Which of the two tables of rootful-net are there.
    pub tables: bool,
    /// All that the two tables of rootful-net hold.
    pub ruleset: bool,
    /// The addresses of host links of these names.
    pub addresses: BTreeSet<InterfaceName>,
    /// The stations that bridges know behind their ports.
    pub stations: bool,
    /// Kernel parameters to read.
    pub sysctls: BTreeSet<Sysctl>,
    /// Links that take IPv6 router advertisements only as long as the host does not forward; not looked at where
    /// `sysctls` show that it does.
    pub router_advertisements: bool,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Host links by name.
    pub links: BTreeMap<String, Link>,
    /// Destinations that the host routes, without default routes.
    pub routes: Vec<Route>,
    /// Bound sockets of the host.
    pub listeners: Vec<Listener>,
    /// The tables of rootful-net that are there.
    pub tables: BTreeSet<TableName>,
    /// What they hold.
    pub ruleset: BTreeMap<TableName, TableContents>,
    /// Addresses by the name of the link, with prefix lengths.
    pub addresses: BTreeMap<String, Vec<IpNet>>,
    /// MAC addresses that have a static entry in a bridge's forwarding database, each with the index of the port.
    pub stations: BTreeSet<(u32, MacAddress)>,
    /// Ports of the host that are kept from its own programs now. Always there: nobody else needs to be asked.
    pub reserved: BTreeSet<Reservation>,
    /// Kernel parameters; one that the kernel does not have is missing.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Links whose `accept_ra` is 1, without those whose names rootful-net would not give itself. None where the host is
    /// seen to forward IPv6.
    pub links_accepting_ra: Vec<InterfaceName>,
    /// The links inside the container's namespace, where one was given.
    pub namespace_links: Vec<Link>,
    /// Whether that namespace gives new interfaces no IPv6: `net.ipv6.conf.default.disable_ipv6` is 1 there.
    pub namespace_lacks_ipv6: bool,
}

/// A link, on the host or in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The interface index in its namespace.
    pub index: u32,
    /// The name; not parsed, since others make links too.
    pub name: String,
    /// What kind of link it is.
    pub kind: LinkKind,
    /// The `ifalias`.
    pub alias: Option<String>,
    /// The index of the bridge it is a port of.
    pub master: Option<u32>,
    /// Whether it is administratively up.
    pub up: bool,
    /// The MAC address, where it has one of six bytes.
    pub mac: Option<MacAddress>,
    /// The MTU in bytes.
    pub mtu: u32,
    /// How the bridge treats it, where it is a port of one.
    pub port: Option<PortFlags>,
}

/// How a bridge treats one of its ports: what rootful-net sets on its own, and the kernel otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFlags {
    /// Whether the bridge learns who is behind the port.
    pub learning: bool,
    /// Whether frames to nobody known go out by it.
    pub flood: bool,
    /// Whether only stations that the bridge knows may send by it.
    pub locked: bool,
    /// Whether it is kept from the other isolated ports.
    pub isolated: bool,
    /// Whether frames go back out of it.
    pub hairpin: bool,
    /// Which of the groups 01:80:c2:00:00:0x are forwarded, a bit each.
    pub group_fwd_mask: u16,
}

/// What one of the tables holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableContents {
    /// Whether everything but the elements is as it was when the table was made, by this version of the rules: no
    /// chain, rule or set is missing, none is changed and none was added, and every element could be read.
    pub intact: bool,
    /// The elements of all its sets.
    pub elements: BTreeSet<Element>,
}

/// The kinds of link that decisions tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The loopback interface.
    Loopback,
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// Anything else, by the kernel's word for it; empty for hardware.
    Other(String),
}

/// A destination that the host reaches without a default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub destination: IpNet,
    /// The name of the link it leads to.
    pub link: String,
}

/// A socket of the host that a forward would take traffic from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address it is bound to; unspecified for any.
    pub address: IpAddr,
    /// Whether an IPv6 socket bound to any address takes IPv4 as well.
    pub dual_stack: bool,
    /// The port.
    pub port: Port,
    /// The uid that the socket belongs to.
    pub uid: u32,
}

impl Listener {
    /// Whether a forward from `address` (`None`: any address of that family) would take traffic from it.
    pub fn takes(&self, address: IpAddr) -> bool {
        let any = self.address.is_unspecified();
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(asked)) => any || asked.is_unspecified() || own == asked,
            (IpAddr::V6(own), IpAddr::V6(asked)) => any || asked.is_unspecified() || own == asked,
            (IpAddr::V6(_), IpAddr::V4(_)) => any && self.dual_stack,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

/// A kernel parameter below `net.`, by its path below `/proc/sys/net`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sysctl(String);

impl Sysctl {
    /// `net.ipv4.ip_forward`.
    pub fn ipv4_forwarding() -> Self {
        Self("ipv4/ip_forward".to_owned())
    }

    /// `net.ipv6.conf.all.forwarding`.
    pub fn ipv6_forwarding() -> Self {
        Self("ipv6/conf/all/forwarding".to_owned())
    }

    /// `net.bridge.bridge-nf-call-iptables` and `…-ip6tables`: whether frames that pass a bridge go through
    /// the rules for packets. They exist with br_netfilter.
    pub fn bridge_netfilter() -> [Self; 2] {
        ["iptables", "ip6tables"].map(|family| Self(format!("bridge/bridge-nf-call-{family}")))
    }

    /// `net.ipv6.conf.default.disable_ipv6`: whether new links have no IPv6.
    pub fn new_links_lack_ipv6() -> Self {
        Self("ipv6/conf/default/disable_ipv6".to_owned())
    }

    /// `net.ipv4.conf.LINK.NAME`.
    pub fn ipv4_link(link: &InterfaceName, name: &'static str) -> Self {
        Self(format!("ipv4/conf/{link}/{name}"))
    }

    /// `net.ipv6.conf.LINK.NAME`.
    pub fn ipv6_link(link: &InterfaceName, name: &'static str) -> Self {
        Self(format!("ipv6/conf/{link}/{name}"))
    }

    /// The path below `/proc/sys/net`.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl Display for Sysctl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "net/{}", self.0)
    }
}
