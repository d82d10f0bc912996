//! Reads what decides which name servers a container is given; core decides.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;

use rootful_net_core::dns::{Resolver, ResolverNetwork};
use rootful_net_dbus::NetworkProperties;

/// The host's own resolver configuration.
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// More is not what a resolver reads, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The text of `/etc/resolv.conf` for a container that asked for the servers `asked` and is on these networks, in
/// this order; none where there is nobody to ask.
pub fn resolv_conf(asked: &[IpAddr], networks: &[NetworkProperties]) -> Option<String> {
    let networks = networks.iter().map(|network| ResolverNetwork {
        // What is no address is of no use to a resolver either.
        name_servers: network.name_servers.iter().filter_map(|text| text.parse().ok()).collect(),
        internal: network.internal,
    });
    let networks: Vec<_> = networks.collect();
    Resolver::of_container(asked, &networks, &host_resolv_conf())
        .map(|resolver| resolver.to_string())
}

/// What cannot be read names no server.
fn host_resolv_conf() -> String {
    let mut text = Vec::new();
    let read =
        File::open(HOST_RESOLV_CONF).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}
