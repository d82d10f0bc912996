//! The text of a container's `/etc/resolv.conf` and `/etc/hosts`. Who writes them, and where, is the
//! client's and the hook's business.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

/// The domain that podman's name server answers for: a container that looks for `web` may ask for
/// `web.dns.podman` too.
pub const SEARCH_DOMAIN: &str = "dns.podman";

/// As many servers as a resolver asks, resolv.conf(5).
const MAX_SERVERS: usize = 3;

/// Whom a container asks for names. Its text is that of `/etc/resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// The name servers of its networks, which know containers by their names.
    OfNetworks(Vec<IpAddr>),
    /// Others, which know nothing of containers.
    Foreign(Vec<IpAddr>),
}

/// What a container's resolver depends on of a network that it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverNetwork {
    /// Where containers on it ask for names; empty where none are served.
    pub name_servers: Vec<IpAddr>,
    /// Whether it reaches nothing beyond itself.
    pub internal: bool,
}

impl Resolver {
    /// Decides it: the servers that were asked for, else those of the networks, else those of the host if the
    /// container can reach any of them. `host_resolv_conf` is the text of the host's `/etc/resolv.conf`.
    pub fn of_container(
        asked: &[IpAddr],
        networks: &[ResolverNetwork],
        host_resolv_conf: &str,
    ) -> Option<Self> {
        if !asked.is_empty() {
            return Some(Self::Foreign(asked.to_vec()));
        }
        let served = networks.iter().flat_map(|network| &network.name_servers).copied();
        let served: Vec<IpAddr> = served.collect();
        if !served.is_empty() {
            return Some(Self::OfNetworks(served));
        }
        let leads_out = networks.iter().any(|network| !network.internal);
        let of_host = servers_beyond_host(host_resolv_conf);
        (leads_out && !of_host.is_empty()).then_some(Self::Foreign(of_host))
    }
}

impl Display for Resolver {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let servers = match self {
            Self::OfNetworks(servers) => {
                writeln!(f, "search {SEARCH_DOMAIN}")?;
                servers
            }
            Self::Foreign(servers) => servers,
        };
        servers.iter().take(MAX_SERVERS).try_for_each(|server| writeln!(f, "nameserver {server}"))
    }
}

/// The servers in a host's `/etc/resolv.conf` that a container can ask as well: those that are not on the
/// host's loopback interface.
fn servers_beyond_host(resolv_conf: &str) -> Vec<IpAddr> {
    let servers = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    });
    servers.filter(|server: &IpAddr| !server.is_loopback()).collect()
}

/// The text of `/etc/hosts` with the container's own names at its addresses.
///
/// Podman makes the file for a container without a network, with the host name and the container's name at
/// 127.0.0.1. Each line that has one of `own` gives its names to the new lines and goes; all others stay.
pub fn hosts(text: &str, own: &[&str], addresses: &[IpAddr]) -> String {
    let names_in = |line: &str| -> Vec<String> {
        let entry = line.split('#').next().unwrap_or_default();
        entry.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let is_own = |line: &&str| names_in(line).iter().any(|name| own.contains(&name.as_str()));
    let mut names: Vec<String> = Vec::new();
    let replaced = text.lines().filter(is_own).flat_map(names_in);
    for name in replaced.chain(own.iter().map(|name| (*name).to_owned())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = names.join(" ");
    let kept = text.lines().filter(|line| !is_own(line)).map(|line| format!("{line}\n"));
    kept.chain(addresses.iter().map(|address| format!("{address}\t{names}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_resolver_gets_three_servers_and_podmans_domain() {
        let servers = addresses(&["10.87.0.1", "fd00::1", "192.0.2.1", "192.0.2.2"]);
        let three = "nameserver 10.87.0.1\nnameserver fd00::1\nnameserver 192.0.2.1\n";
        let of_networks = Resolver::OfNetworks(servers.clone());
        assert_eq!(of_networks.to_string(), format!("search dns.podman\n{three}"));
        assert_eq!(Resolver::Foreign(servers).to_string(), three);
    }

    #[test]
    fn servers_are_those_asked_for_then_the_networks_then_the_hosts() {
        let network = |servers: &[&str], internal| ResolverNetwork {
            name_servers: addresses(servers),
            internal,
        };
        let (named, second) = (network(&["10.87.0.1"], false), network(&["10.88.0.1"], true));
        let (plain, closed) = (network(&[], false), network(&[], true));
        let of_networks = |list: &[&str]| Some(Resolver::OfNetworks(addresses(list)));
        let foreign = |list: &[&str]| Some(Resolver::Foreign(addresses(list)));
        let host = "nameserver 192.0.2.53\n";
        let loopback = "nameserver 127.0.0.53\n";
        let cases: [(&[&str], Vec<_>, &str, Option<Resolver>); 8] = [
            (&["192.0.2.9"], vec![named.clone()], host, foreign(&["192.0.2.9"])),
            (&["192.0.2.9"], vec![], "", foreign(&["192.0.2.9"])),
            (&[], vec![second, named.clone()], host, of_networks(&["10.88.0.1", "10.87.0.1"])),
            (&[], vec![closed.clone(), named], host, of_networks(&["10.87.0.1"])),
            (&[], vec![closed.clone(), plain.clone()], host, foreign(&["192.0.2.53"])),
            (&[], vec![plain], loopback, None),
            (&[], vec![closed], host, None),
            (&[], vec![], host, None),
        ];
        for (asked, networks, host, expected) in cases {
            let found = Resolver::of_container(&addresses(asked), &networks, host);
            assert_eq!(found, expected, "{asked:?} {networks:?} {host}");
        }
    }

    #[test]
    fn the_hosts_own_loopback_is_no_server_for_a_container() {
        let text = "# nameserver 192.0.2.9\nnameserver 127.0.0.53\nnameserver ::1\nsearch lan\n\
                    nameserver\t192.0.2.53 \nnameserver fe80::1%eth0\nnameserver\n";
        assert_eq!(servers_beyond_host(text), addresses(&["192.0.2.53"]));
    }

    #[test]
    fn own_names_move_to_the_containers_addresses() {
        let podmans = "127.0.0.1\tlocalhost\n192.0.2.1\thost.containers.internal\n\
                       127.0.0.1\t0743b99b0377 web\n";
        let once = hosts(podmans, &["web"], &addresses(&["10.87.0.9", "fd00::9"]));
        let kept = "127.0.0.1\tlocalhost\n192.0.2.1\thost.containers.internal\n";
        let own = "10.87.0.9\t0743b99b0377 web\nfd00::9\t0743b99b0377 web\n";
        assert_eq!(once, format!("{kept}{own}"));
        let moved = hosts(&once, &["web"], &addresses(&["10.87.0.10"]));
        assert_eq!(moved, format!("{kept}10.87.0.10\t0743b99b0377 web\n"));
        assert_eq!(hosts("", &["web"], &addresses(&["10.87.0.9"])), "10.87.0.9\tweb\n");
    }
}
