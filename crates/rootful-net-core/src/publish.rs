//! Owns the `--publish` argument in podman's grammar and the forwards that it asks for. Choosing a port
//! where none is given, and whether anyone may have it, is decided elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::quoted;

mod endpoint;
mod error;
mod reservation;

pub use endpoint::{HostAddress, Port, Protocol};
pub use error::PublishError;
pub use reservation::Reservation;

/// No valid argument comes near this: two ranges, three protocols and an IPv6 address take 85 bytes.
const MAX_BYTES: usize = 256;

/// One port, or all ports between two ends, which belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    fn span(self) -> u16 {
        self.last.get() - self.first.get()
    }
}

impl FromStr for PortRange {
    type Err = PublishError;

    fn from_str(text: &str) -> Result<Self, PublishError> {
        let Some((first, last)) = text.split_once('-') else {
            let port = text.parse()?;
            return Ok(Self { first: port, last: port });
        };
        if first.is_empty() || last.is_empty() || last.contains('-') {
            return Err(PublishError::Range { found: quoted(text) });
        }
        let (first, last) = (first.parse()?, last.parse()?);
        if last <= first {
            return Err(PublishError::NotAscending { first, last });
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// One `--publish` argument. Its text form is podman's; what it prints parses to the same value.
///
/// Podman's reading is followed, but not where it is lenient by accident: a sign before a port and brackets
/// around an IPv4 address are refused, and so are addresses that no host can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Publish {
    /// In the order written, none twice, at least one.
    protocols: Vec<Protocol>,
    host_address: HostAddress,
    /// As long as `container_ports`.
    host_ports: Option<PortRange>,
    container_ports: PortRange,
}

/// One port of a container that is to be reachable on the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestedForward {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The addresses of the host that take part.
    pub host_address: HostAddress,
    /// The port on the host; a free one is to be chosen where there is none.
    pub host_port: Option<Port>,
    /// The port in the container.
    pub container_port: Port,
}

impl Publish {
    /// The forwards asked for: by protocol in the order written, then by port, ascending.
    pub fn forwards(&self) -> impl Iterator<Item = RequestedForward> + '_ {
        self.protocols.iter().flat_map(move |&protocol| {
            (0..=self.container_ports.span()).map(move |offset| RequestedForward {
                protocol,
                host_address: self.host_address,
                host_port: self.host_ports.map(|ports| ports.first.above(offset)),
                container_port: self.container_ports.first.above(offset),
            })
        })
    }
}

impl FromStr for Publish {
    type Err = PublishError;

    fn from_str(argument: &str) -> Result<Self, PublishError> {
        let malformed = || PublishError::Malformed { argument: quoted(argument) };
        if argument.len() > MAX_BYTES {
            return Err(malformed());
        }
        let (endpoints, protocols) = match argument.split_once('/') {
            Some((endpoints, list)) => (endpoints, parse_protocols(list, argument)?),
            None => (argument, vec![Protocol::Tcp]),
        };
        let (host_address, ports) = split_address(endpoints).ok_or_else(malformed)?;
        let (host, container) = match ports.split_once(':') {
            Some((_, container)) if container.contains(':') => return Err(malformed()),
            Some((host, container)) => (host, container),
            None if host_address.is_some() => {
                return Err(PublishError::AddressWithoutHostPort { argument: quoted(argument) });
            }
            None => ("", ports),
        };
        if container.is_empty() {
            return Err(PublishError::NoContainerPort { argument: quoted(argument) });
        }
        if host_address.is_none() && host.contains('.') {
            return Err(PublishError::AddressWithoutHostPort { argument: quoted(argument) });
        }
        let host_address = match host_address {
            Some(address) => HostAddress::from_publish(address)?,
            None => HostAddress::Any,
        };
        let container_ports: PortRange = container.parse()?;
        let host_ports = match host {
            "" => None,
            host => Some(host.parse::<PortRange>()?),
        };
        match host_ports {
            Some(host) if host.span() != container_ports.span() => {
                Err(PublishError::UnequalRanges {
                    host: host.to_string(),
                    container: container_ports.to_string(),
                })
            }
            Some(_) | None => Ok(Self { protocols, host_address, host_ports, container_ports }),
        }
    }
}

/// Divides what precedes the protocol into the host address as written, brackets included, and the ports.
fn split_address(endpoints: &str) -> Option<(Option<&str>, &str)> {
    if endpoints.starts_with('[') {
        let end = endpoints.find(']')? + 1;
        let (address, rest) = endpoints.split_at(end);
        return Some((Some(address), rest.strip_prefix(':')?));
    }
    match endpoints.split_once(':') {
        Some((address, rest)) if rest.contains(':') => Some((Some(address), rest)),
        Some(_) | None => Some((None, endpoints)),
    }
}

fn parse_protocols(list: &str, argument: &str) -> Result<Vec<Protocol>, PublishError> {
    let mut protocols = Vec::new();
    for text in list.split(',') {
        let protocol = text.parse()?;
        if protocols.contains(&protocol) {
            return Err(PublishError::DuplicateProtocol { protocol, argument: quoted(argument) });
        }
        protocols.push(protocol);
    }
    Ok(protocols)
}

impl TryFrom<String> for Publish {
    type Error = PublishError;

    fn try_from(argument: String) -> Result<Self, PublishError> {
        argument.parse()
    }
}

impl From<Publish> for String {
    fn from(publish: Publish) -> Self {
        publish.to_string()
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host_address, self.host_ports) {
            (HostAddress::Any, None) => {}
            (HostAddress::Any, Some(ports)) => write!(f, "{ports}:")?,
            (address, None) => write!(f, "{address}::")?,
            (address, Some(ports)) => write!(f, "{address}:{ports}:")?,
        }
        write!(f, "{}", self.container_ports)?;
        for (index, protocol) in self.protocols.iter().enumerate() {
            let separator = if index == 0 { '/' } else { ',' };
            write!(f, "{separator}{protocol}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forwards of `text` as lines, for tables.
    fn forwards(text: &str) -> Vec<String> {
        let publish: Publish = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let reparsed: Publish = publish.to_string().parse().expect("canonical form parses");
        assert_eq!(reparsed, publish, "{text}");
        publish
            .forwards()
            .map(|forward| {
                let host = forward.host_port.map_or_else(|| "-".into(), |port| port.to_string());
                format!(
                    "{} {} {host} {}",
                    forward.protocol, forward.host_address, forward.container_port
                )
            })
            .collect()
    }

    #[test]
    fn arguments_give_their_forwards() {
        let cases: &[(&str, &[&str])] = &[
            ("8080", &["tcp * - 8080"]),
            (":80", &["tcp * - 80"]),
            ("8080:80", &["tcp * 8080 80"]),
            ("0080:00080", &["tcp * 80 80"]),
            ("65535:65535/udp", &["udp * 65535 65535"]),
            ("80/TCP", &["tcp * - 80"]),
            ("127.0.0.1::80", &["tcp 127.0.0.1 - 80"]),
            ("127.0.0.1:8080:80/sctp", &["sctp 127.0.0.1 8080 80"]),
            ("0.0.0.0:8080:80", &["tcp 0.0.0.0 8080 80"]),
            ("[::]:8080:80", &["tcp [::] 8080 80"]),
            ("[::1]::80", &["tcp [::1] - 80"]),
            ("[2001:DB8::0:1]:53:5353/udp", &["udp [2001:db8::1] 53 5353"]),
            ("53:53/udp,tcp", &["udp * 53 53", "tcp * 53 53"]),
            ("8000-8002", &["tcp * - 8000", "tcp * - 8001", "tcp * - 8002"]),
            (":8000-8001", &["tcp * - 8000", "tcp * - 8001"]),
            (
                "192.0.2.1:9000-9001:80-81/tcp,udp",
                &[
                    "tcp 192.0.2.1 9000 80",
                    "tcp 192.0.2.1 9001 81",
                    "udp 192.0.2.1 9000 80",
                    "udp 192.0.2.1 9001 81",
                ],
            ),
            ("65534-65535:1-2", &["tcp * 65534 1", "tcp * 65535 2"]),
        ];
        for (text, expected) in cases {
            assert_eq!(&forwards(text), expected, "{text}");
        }
    }

    #[test]
    fn the_widest_range_has_exact_ends() {
        let publish: Publish = "1-65535:1-65535/tcp,udp,sctp".parse().expect("valid");
        assert_eq!(publish.forwards().count(), 3 * 65535);
        let last = publish.forwards().last().expect("not empty");
        assert_eq!((last.protocol, last.container_port.get()), (Protocol::Sctp, 65535));
    }

    #[test]
    fn the_canonical_form_is_printed() {
        let cases = [
            ("08080", "8080/tcp"),
            (":80", "80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("127.0.0.1::80/UDP", "127.0.0.1::80/udp"),
            ("[0::0]:1-2:3-4/sctp,tcp", "[::]:1-2:3-4/sctp,tcp"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Publish>().expect("valid").to_string(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("", "has no container port"),
            ("8080:", "has no container port"),
            ("/tcp", "has no container port"),
            ("1:2:3:4", "is malformed"),
            ("::1:80:80", "is malformed"),
            ("[::1]80", "is malformed"),
            ("[::1]", "is malformed"),
            ("[::1:80:80", "is malformed"),
            ("[::1]:1:2:3", "is malformed"),
            ("a[::1]:80:80", "is malformed"),
            ("127.0.0.1:80", "gives a host address and one port"),
            ("[::1]:80", "gives a host address and one port"),
            ("::80", "\"\" is not a host address"),
            ("[]:80:80", "\"[]\" is not a host address"),
            ("[127.0.0.1]:80:80", "\"[127.0.0.1]\" is not a host address"),
            ("[fe80::1%eth0]:80:80", "\"[fe80::1%eth0]\" is not a host address"),
            ("127.1:80:80", "\"127.1\" is not a host address"),
            ("010.0.0.1:80:80", "\"010.0.0.1\" is not a host address"),
            ("localhost:80:80", "\"localhost\" is not a host address"),
            ("*:80:80", "\"*\" is not a host address"),
            ("224.0.0.1:80:80", "is a multicast address"),
            ("[ff02::1]:80:80", "is a multicast address"),
            ("255.255.255.255:80:80", "is the broadcast address"),
            ("[::ffff:192.0.2.1]:80:80", "is an IPv4-mapped address"),
            ("0", "\"0\" is not a port"),
            ("80:0", "\"0\" is not a port"),
            ("65536", "\"65536\" is not a port"),
            ("99999999999999999999", "is not a port"),
            ("+80", "\"+80\" is not a port"),
            (" 80", "\" 80\" is not a port"),
            ("80 ", "\"80 \" is not a port"),
            ("http", "\"http\" is not a port"),
            ("٨٠", "is not a port"),
            ("-80", "\"-80\" is not a range"),
            ("80-", "\"80-\" is not a range"),
            ("1-2-3", "\"1-2-3\" is not a range"),
            ("80-80", "\"80-80\" does not ascend"),
            ("81-80", "\"81-80\" does not ascend"),
            ("1-2:3", "\"1-2\" and the container ports \"3\" differ in number"),
            ("1:3-4", "\"1\" and the container ports \"3-4\" differ in number"),
            ("1-3:4-5", "differ in number"),
            ("80/", "\"\" is not a protocol"),
            ("80/tcp,", "\"\" is not a protocol"),
            ("80/icmp", "\"icmp\" is not a protocol"),
            ("80/tcp/udp", "\"tcp/udp\" is not a protocol"),
            ("80/tcp,TCP", "protocol tcp is listed more than once"),
        ];
        for (text, expected) in cases {
            let message = text.parse::<Publish>().expect_err(text).to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let long = format!("{}80", "0".repeat(MAX_BYTES)).parse::<Publish>().expect_err("long");
        assert!(long.to_string().len() < 250, "{long}");
    }

    #[test]
    fn serde_reads_and_writes_the_text_form() {
        let publish: Publish = serde_json::from_str("\"8080:80\"").expect("valid");
        assert_eq!(serde_json::to_string(&publish).expect("serializes"), "\"8080:80/tcp\"");
        assert!(serde_json::from_str::<Publish>("\"80-80\"").is_err());
        let forward = publish.forwards().next().expect("one");
        let json = serde_json::to_string(&forward).expect("serializes");
        assert_eq!(
            json,
            r#"{"protocol":"tcp","host_address":"*","host_port":8080,"container_port":80}"#
        );
        assert_eq!(serde_json::from_str::<RequestedForward>(&json).expect("valid"), forward);
        assert!(serde_json::from_str::<RequestedForward>(&json.replace("8080", "0")).is_err());
    }
}
