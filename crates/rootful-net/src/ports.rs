//! How published ports are written for people: in tables with ranges joined, and as `podman port` does it.

use std::net::Ipv6Addr;

use rootful_net_dbus::{AttachmentProperties, PortProperties};

/// Consecutive ports that lead to consecutive ports.
struct Run<'a> {
    first: &'a PortProperties,
    more: u16,
}

impl Run<'_> {
    fn is_continued_by(&self, port: &PortProperties) -> bool {
        let next = self.more.checked_add(1);
        let follows =
            |first: u16, port: u16| next.and_then(|next| first.checked_add(next)) == Some(port);
        port.protocol == self.first.protocol
            && port.host_address == self.first.host_address
            && follows(self.first.host_port, port.host_port)
            && follows(self.first.container_port, port.container_port)
    }

    fn ports(&self, first: u16) -> String {
        match self.more {
            0 => first.to_string(),
            more => format!("{first}-{}", first.saturating_add(more)),
        }
    }
}

/// The ports in one cell of a table: `8080->80/tcp, 127.0.0.1:9000-9010->9000-9010/udp`.
pub(crate) fn summary(ports: &[PortProperties]) -> String {
    let mut sorted: Vec<_> = ports.iter().collect();
    sorted.sort_by_key(|port| (&port.protocol, &port.host_address, port.host_port));
    let mut runs: Vec<Run<'_>> = Vec::new();
    for port in sorted {
        match runs.last_mut() {
            Some(run) if run.is_continued_by(port) => run.more += 1,
            Some(_) | None => runs.push(Run { first: port, more: 0 }),
        }
    }
    let runs = runs.iter().map(|run| {
        let address = match run.first.host_address.as_str() {
            "" => String::new(),
            address => format!("{}:", bracketed(address)),
        };
        let (host, container) =
            (run.ports(run.first.host_port), run.ports(run.first.container_port));
        format!("{address}{host}->{container}/{}", run.first.protocol)
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// One line for each port and family: `80/tcp -> 0.0.0.0:8080`. A port on any address is listed for the
/// families that the container has addresses of.
pub(crate) fn lines(attachment: &AttachmentProperties) -> Vec<String> {
    let has = |ipv6: bool| {
        let mut addresses = attachment.interfaces.iter().flat_map(|interface| &interface.addresses);
        addresses.any(|address| address.contains(':') == ipv6)
    };
    let any: Vec<_> =
        [(has(false), "0.0.0.0"), (has(true), "::")].into_iter().filter(|(has, _)| *has).collect();
    let mut ports: Vec<_> = attachment.ports.iter().collect();
    ports.sort_by_key(|port| {
        (port.container_port, &port.protocol, &port.host_address, port.host_port)
    });
    let mut lines = Vec::new();
    for port in ports {
        let mut line = |address: &str| {
            let PortProperties { protocol, host_port, container_port, .. } = port;
            lines
                .push(format!("{container_port}/{protocol} -> {}:{host_port}", bracketed(address)));
        };
        match port.host_address.as_str() {
            "" => any.iter().for_each(|(_, address)| line(address)),
            address => line(address),
        }
    }
    lines
}

fn bracketed(address: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rootful_net_dbus::InterfaceProperties;

    use super::*;

    fn port(protocol: &str, address: &str, host_port: u16, container_port: u16) -> PortProperties {
        PortProperties {
            protocol: protocol.to_owned(),
            host_address: address.to_owned(),
            host_port,
            container_port,
        }
    }

    #[test]
    fn ranges_are_joined_where_both_sides_go_up() {
        let cases: &[(&[PortProperties], &str)] = &[
            (&[], ""),
            (&[port("tcp", "", 8080, 80)], "8080->80/tcp"),
            (&[port("tcp", "", 8081, 81), port("tcp", "", 8080, 80)], "8080-8081->80-81/tcp"),
            (&[port("tcp", "", 8080, 80), port("tcp", "", 8081, 80)], "8080->80/tcp, 8081->80/tcp"),
            (&[port("udp", "", 53, 53), port("tcp", "", 53, 53)], "53->53/tcp, 53->53/udp"),
            (
                &[port("tcp", "127.0.0.1", 1, 1), port("tcp", "::1", 2, 2)],
                "127.0.0.1:1->1/tcp, [::1]:2->2/tcp",
            ),
            (
                &[port("tcp", "", 65535, 1), port("tcp", "0.0.0.0", 1, 2)],
                "65535->1/tcp, 0.0.0.0:1->2/tcp",
            ),
        ];
        for (ports, expected) in cases {
            assert_eq!(summary(ports), *expected);
        }
    }

    #[test]
    fn any_address_is_listed_for_the_families_of_the_container() {
        let attachment = |addresses: &[&str], ports: Vec<PortProperties>| AttachmentProperties {
            interfaces: vec![InterfaceProperties {
                addresses: addresses.iter().map(ToString::to_string).collect(),
                ..InterfaceProperties::default()
            }],
            ports,
            ..AttachmentProperties::default()
        };
        let ports = vec![port("udp", "::1", 5353, 53), port("tcp", "", 8080, 80)];
        let single = attachment(&["10.87.0.2/16"], ports.clone());
        assert_eq!(lines(&single), ["53/udp -> [::1]:5353", "80/tcp -> 0.0.0.0:8080"]);
        let dual = attachment(&["10.87.0.2/16", "fd00::2/64"], ports);
        assert_eq!(
            lines(&dual),
            ["53/udp -> [::1]:5353", "80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]
        );
    }
}
