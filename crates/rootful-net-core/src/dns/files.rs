//! The text of a container's `/etc/resolv.conf` and `/etc/hosts`. Who writes them, and where, is the
//! client's and the hook's business.

use std::net::IpAddr;

/// The domain that podman's name server answers for: a container that looks for `web` may ask for
/// `web.dns.podman` too.
pub const SEARCH_DOMAIN: &str = "dns.podman";

/// As many servers as a resolver asks, resolv.conf(5).
const MAX_SERVERS: usize = 3;

/// The text of `/etc/resolv.conf` for a container whose networks have these name servers.
pub fn resolv_conf(servers: &[IpAddr]) -> String {
    format!("search {SEARCH_DOMAIN}\n{}", foreign_resolv_conf(servers))
}

/// The text of `/etc/resolv.conf` for a container that asks other servers, which know nothing of containers.
pub fn foreign_resolv_conf(servers: &[IpAddr]) -> String {
    let servers = servers.iter().take(MAX_SERVERS);
    servers.map(|server| format!("nameserver {server}\n")).collect()
}

/// The servers in a host's `/etc/resolv.conf` that a container can ask as well: those that are not on the
/// host's loopback interface.
pub fn servers_beyond_host(resolv_conf: &str) -> Vec<IpAddr> {
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
        assert_eq!(resolv_conf(&servers), format!("search dns.podman\n{three}"));
        assert_eq!(foreign_resolv_conf(&servers), three);
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
