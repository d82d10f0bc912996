//! Names of containers: which of them are served on a network, and what the name server is told. Writing
//! files and running the server are the daemon's business.

mod files;
mod names;
mod records;

pub use files::{Resolver, ResolverNetwork, SEARCH_DOMAIN, hosts};
pub use names::unserved;
pub use records::{PID_FILE, records};

pub(crate) use names::served;

use std::net::IpAddr;

use crate::network::Network;
use crate::publish::{Port, Protocol};

/// The port on which containers ask their network's gateway.
pub const QUERY_PORT: Port = Port::new(53).expect("53 is a port");

/// The port on which the name server listens at the gateways; [`QUERY_PORT`] is redirected to it.
///
/// The name server never takes port 53 itself, so that another resolver of the host can have it on all
/// addresses, whichever starts first. The port is below 53 so that a host which opens the ports from 53 up
/// to its users (`net.ipv4.ip_unprivileged_port_start`) does not let them take the name server's place.
pub const SERVER_PORT: Port = Port::new(52).expect("52 is a port");

/// Where podman's packages have aardvark-dns; the name server's unit says the same in `ExecSearchPath=`.
pub const PROGRAM_DIRS: [&str; 5] = [
    "/usr/libexec/podman",
    "/usr/lib/podman",
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/bin",
];

/// The transport protocols that queries come by.
pub const PROTOCOLS: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];

/// Where containers on the network ask for names: its gateways, if it has names.
pub fn name_servers(network: &Network) -> impl Iterator<Item = IpAddr> + '_ {
    let subnets = network.subnets().iter().filter(|_| has_names(network));
    subnets.map(|subnet| subnet.gateway())
}

/// Whether names are served on the network.
///
/// A network whose name is that of a file which the name server keeps among its records has none.
fn has_names(network: &Network) -> bool {
    network.dns_enabled() && network.name().as_str() != PID_FILE
}

#[cfg(test)]
mod tests;
