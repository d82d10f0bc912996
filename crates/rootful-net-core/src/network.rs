//! Owns the definition of a network: what a network file of podman or netavark says, checked. Reading
//! files, and whether a subnet is free on this host, belong elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::derivation::Derivation;
use crate::name::{InterfaceName, NetworkName};

mod draft;
mod error;
mod json;
mod options;
mod subnet;

pub use draft::Draft;
pub use error::{NetworkError, NetworkProblem, SubnetError};
pub use options::{DEFAULT_CONNECTION_LIMIT, HostAccess, Isolate, Neighbours};
pub use subnet::{LeaseRange, Subnet};

pub(crate) use subnet::Leasable;

use options::Options;

/// The longest network file that is read, in bytes.
pub const MAX_JSON_BYTES: usize = 64 * 1024;

/// The most subnets that a network can have.
pub const MAX_SUBNETS: usize = 8;

/// The smallest MTU over which IPv6 works, RFC 8200.
const IPV6_MIN_MTU: u16 = 1280;

/// A bridge network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "json::RawNetwork", into = "json::RawNetwork")]
pub struct Network {
    name: NetworkName,
    id: Option<String>,
    interface: InterfaceName,
    created: Option<String>,
    subnets: Vec<Subnet>,
    ipv6_enabled: bool,
    internal: bool,
    dns_enabled: bool,
    labels: BTreeMap<String, String>,
    options: Options,
}

impl Network {
    /// Reads a network file.
    ///
    /// # Errors
    ///
    /// Says what in it is wrong or not supported. At most 64 KiB are read.
    pub fn from_json(text: &str) -> Result<Self, NetworkError> {
        json::read(text)
    }

    /// Writes the network file: defaults spelled out, fields always in the same order.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// Podman's id of it: 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The bridge.
    #[must_use]
    pub fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// When it was created, as the file has it.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// Its subnets, at least one, in the order of the file.
    #[must_use]
    pub fn subnets(&self) -> &[Subnet] {
        &self.subnets
    }

    /// Whether it has an IPv6 subnet.
    #[must_use]
    pub fn ipv6_enabled(&self) -> bool {
        self.ipv6_enabled
    }

    /// Whether its containers reach nothing beyond it.
    #[must_use]
    pub fn internal(&self) -> bool {
        self.internal
    }

    /// Whether names of containers are resolved on it.
    #[must_use]
    pub fn dns_enabled(&self) -> bool {
        self.dns_enabled
    }

    /// Labels, which mean nothing here.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The MTU of its interfaces, in bytes; the kernel's choice where there is none.
    #[must_use]
    pub fn mtu(&self) -> Option<u16> {
        self.options.mtu
    }

    /// How far it is kept apart from other networks.
    #[must_use]
    pub fn isolate(&self) -> Isolate {
        self.options.isolate
    }

    /// Whether its containers reach each other.
    #[must_use]
    pub fn neighbours(&self) -> Neighbours {
        self.options.neighbours
    }

    /// Which services of the host its containers reach.
    #[must_use]
    pub fn host_access(&self) -> HostAccess {
        self.options.host_access
    }

    /// How many connections each address of a container may have; `None` for any number.
    #[must_use]
    pub fn connection_limit(&self) -> Option<u32> {
        self.options.connection_limit
    }

    /// How the addresses of its containers are derived.
    #[must_use]
    pub fn derivation(&self) -> Derivation {
        self.options.derivation
    }

    /// What holds between the fields, and not within one.
    fn check(self) -> Result<Self, NetworkProblem> {
        if self.subnets.is_empty() {
            return Err(NetworkProblem::NoSubnet);
        }
        if self.subnets.len() > MAX_SUBNETS {
            return Err(NetworkProblem::TooManySubnets { count: self.subnets.len() });
        }
        for (index, later) in self.subnets.iter().enumerate() {
            for earlier in &self.subnets[..index] {
                if subnet::overlap(earlier.subnet(), later.subnet()) {
                    return Err(NetworkProblem::Overlap {
                        one: earlier.subnet(),
                        other: later.subnet(),
                    });
                }
            }
        }
        let ipv6 = self.subnets.iter().find(|subnet| subnet.subnet().addr().is_ipv6());
        match (ipv6, self.ipv6_enabled, self.options.mtu) {
            (Some(subnet), false, _) => {
                Err(NetworkProblem::Ipv6NotEnabled { subnet: subnet.subnet() })
            }
            (None, true, _) => Err(NetworkProblem::NoIpv6Subnet),
            (Some(subnet), true, Some(mtu)) if mtu < IPV6_MIN_MTU => {
                Err(NetworkProblem::Ipv6Mtu { mtu, subnet: subnet.subnet() })
            }
            (Some(_), true, _) | (None, false, _) => Ok(self),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A valid network file with `more` before its closing brace.
    fn network(more: &str) -> Result<Network, NetworkError> {
        Network::from_json(&format!(r#"{{"name": "x", "network_interface": "br0", {more}}}"#))
    }

    fn v4(more: &str) -> Result<Network, NetworkError> {
        network(&format!(r#""subnets": [{{"subnet": "10.89.0.0/24"}}]{more}"#))
    }

    #[test]
    fn defaults_are_those_of_a_plain_bridge() {
        let network = v4("").expect("valid");
        assert_eq!(network.name().as_str(), "x");
        assert_eq!(network.interface().as_str(), "br0");
        assert_eq!((network.id(), network.created()), (None, None));
        assert!(!network.ipv6_enabled() && !network.internal() && !network.dns_enabled());
        assert_eq!((network.mtu(), network.isolate()), (None, Isolate::Off));
        assert_eq!(network.derivation(), Derivation::HmacSha512);
        assert_eq!(
            (network.neighbours(), network.host_access(), network.connection_limit()),
            (Neighbours::Reachable, HostAccess::Dns, Some(DEFAULT_CONNECTION_LIMIT))
        );
        assert_eq!(network.subnets()[0].gateway().to_string(), "10.89.0.1");
        assert!(network.labels().is_empty());
    }

    #[test]
    fn options_are_read() {
        let options = |text: &str| v4(&format!(r#", "options": {{{text}}}"#)).expect(text);
        assert_eq!(options(r#""mtu": "68""#).mtu(), Some(68));
        assert_eq!(options(r#""mtu": "65535""#).mtu(), Some(65535));
        let words = [
            ("true", Isolate::On),
            ("1", Isolate::On),
            ("false", Isolate::Off),
            ("0", Isolate::Off),
            ("strict", Isolate::Strict),
        ];
        for (word, expected) in words {
            assert_eq!(options(&format!(r#""isolate": "{word}""#)).isolate(), expected);
        }
        let access =
            [("all", HostAccess::All), ("dns", HostAccess::Dns), ("none", HostAccess::None)];
        for (word, expected) in access {
            let network = options(&format!(r#""host_access": "{word}""#));
            assert_eq!(network.host_access(), expected);
        }
        let isolated = options(r#""isolate_containers": "true""#);
        assert_eq!(isolated.neighbours(), Neighbours::Isolated);
        let limit = |text: &str| {
            let network = options(&format!(r#""connection_limit": "{text}""#));
            network.connection_limit()
        };
        assert_eq!((limit("1"), limit("none")), (Some(1), None));
        assert_eq!(
            options(r#""address_derivation": "podman-rootful-network""#).derivation(),
            Derivation::PodmanRootfulNetwork
        );
    }

    #[test]
    fn what_is_wrong_with_a_network_is_said() {
        let cases = [
            (r#""subnets": []"#, "network \"x\": it has no subnet"),
            (r#""subnets": null"#, "it has no subnet"),
            (r#""driver": "bridge""#, "it has no subnet"),
            (
                r#""subnets": [{"subnet": "10.0.0.1/24"}]"#,
                "network \"x\": subnet \"10.0.0.1/24\" has host bits",
            ),
            (
                r#""subnets": [{"subnet": "10.0.0.0/16"}, {"subnet": "10.0.3.0/24"}]"#,
                "subnets \"10.0.0.0/16\" and \"10.0.3.0/24\" overlap",
            ),
            (r#""subnets": [{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/24"}]"#, "overlap"),
            (
                r#""subnets": [{"subnet": "fd00::/64"}]"#,
                "subnet \"fd00::/64\" needs \"ipv6_enabled\": true",
            ),
            (
                r#""subnets": [{"subnet": "10.0.0.0/24"}], "ipv6_enabled": true"#,
                "ipv6_enabled is true, but no subnet is an IPv6 one",
            ),
            (
                r#""subnets": [{"subnet": "fd00::/64"}], "ipv6_enabled": true, "options": {"mtu": "1279"}"#,
                "option \"mtu\" is 1279, but IPv6 subnet \"fd00::/64\" needs at least 1280",
            ),
            (
                r#""subnets": [{"subnet": "10.0.0.0/24", "vlan": 3}]"#,
                "field \"vlan\" of a subnet is not supported (accepted: subnet, gateway, lease_range)",
            ),
            (
                r#""subnets": [{"subnet": "10.0.0.0/24", "lease_range": {"first": "10.0.0.9"}}]"#,
                "field \"first\" of a lease_range is not supported (accepted: start_ip, end_ip)",
            ),
        ];
        for (text, expected) in cases {
            let message = network(text).expect_err(text).to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let cases = [
            (r#", "driver": "macvlan""#, "driver \"macvlan\" is not supported (accepted: bridge)"),
            (
                r#", "routes": []"#,
                "network \"x\": field \"routes\" is not supported (accepted: name, id, driver, ",
            ),
            (
                r#", "options": {"vlan": "7"}"#,
                "network \"x\": option \"vlan\" is not supported (accepted: mtu, isolate, isolate_containers, host_access, connection_limit, address_derivation)",
            ),
            (r#", "options": {"mtu": "67"}"#, "option \"mtu\" is \"67\" (accepted: 68 to 65535)"),
            (r#", "options": {"mtu": "65536"}"#, "option \"mtu\" is \"65536\""),
            (r#", "options": {"mtu": "+99"}"#, "option \"mtu\" is \"+99\""),
            (
                r#", "options": {"isolate": "yes"}"#,
                "option \"isolate\" is \"yes\" (accepted: true, false, strict)",
            ),
            (
                r#", "options": {"connection_limit": "0"}"#,
                "option \"connection_limit\" is \"0\" (accepted: 1 to 1000000, or none)",
            ),
            (
                r#", "options": {"host_access": "ssh"}"#,
                "option \"host_access\" is \"ssh\" (accepted: all, dns, none)",
            ),
            (
                r#", "options": {"address_derivation": "md5"}"#,
                "option \"address_derivation\" is \"md5\" (accepted: hmac-sha512, podman-rootful-network)",
            ),
            (
                r#", "ipam_options": {"driver": "dhcp"}"#,
                "ipam_options driver \"dhcp\" is not supported (accepted: host-local)",
            ),
            (
                r#", "ipam_options": {"range": "x"}"#,
                "field \"range\" of ipam_options is not supported (accepted: driver)",
            ),
            (r#", "id": "x""#, "id \"x\" is not an id (accepted: 64 hexadecimal digits, or none)"),
            (r#", "created": "\n""#, "created \"\\n\" is not a time"),
        ];
        for (text, expected) in cases {
            let message = v4(text).expect_err(text).to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn the_network_itself_is_named_safely_when_its_name_is_wrong() {
        let text = r#"{"name": "a\u001bb", "network_interface": "br0", "subnets": []}"#;
        let message = Network::from_json(text).expect_err("invalid").to_string();
        assert!(
            message.starts_with("network \"a\\u{1b}b\": network name \"a\\u{1b}b\" contains"),
            "{message}"
        );
        let text = r#"{"name": "x", "network_interface": "all", "subnets": []}"#;
        let message = Network::from_json(text).expect_err("invalid").to_string();
        assert!(
            message.starts_with("network \"x\": interface name \"all\" is reserved"),
            "{message}"
        );
    }

    #[test]
    fn nine_subnets_are_too_many() {
        let subnets = |count: usize| {
            let list: Vec<_> =
                (0..count).map(|n| format!(r#"{{"subnet": "10.0.{n}.0/24"}}"#)).collect();
            network(&format!(r#""subnets": [{}]"#, list.join(",")))
        };
        assert_eq!(subnets(8).expect("valid").subnets().len(), 8);
        let message = subnets(9).expect_err("too many").to_string();
        assert_eq!(message, "network \"x\": it has 9 subnets (accepted: 1 to 8)");
    }
}
