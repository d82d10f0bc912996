//! Owns what somebody wants a network to be: a network file that may leave out the bridge and the subnets. Which
//! of them are free belongs elsewhere.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Network, NetworkError, NetworkProblem, Options, Subnet, json};
use crate::name::{InterfaceName, NetworkName};

/// A network of which the bridge or subnets may still be missing. Each field is right by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub(super) name: NetworkName,
    pub(super) id: Option<String>,
    pub(super) interface: Option<InterfaceName>,
    pub(super) created: Option<String>,
    pub(super) subnets: Vec<Subnet>,
    pub(super) ipv6_enabled: bool,
    pub(super) internal: bool,
    pub(super) dns_enabled: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) options: Options,
}

impl Draft {
    /// Reads a network file that may leave out `network_interface` and `subnets`. An IPv6 subnet enables IPv6.
    ///
    /// # Errors
    /// Says what in it is wrong or not supported. At most 64 KiB are read.
    pub fn from_json(text: &str) -> Result<Self, NetworkError> {
        let mut draft = json::read_draft(text)?;
        draft.ipv6_enabled |= draft.subnets.iter().any(|subnet| subnet.subnet().addr().is_ipv6());
        Ok(draft)
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// The bridge, where it is given.
    #[must_use]
    pub fn interface(&self) -> Option<&InterfaceName> {
        self.interface.as_ref()
    }

    /// Whether it needs an IPv4 subnet: it has none at all.
    #[must_use]
    pub fn lacks_ipv4(&self) -> bool {
        self.subnets.is_empty()
    }

    /// Whether it needs an IPv6 subnet: IPv6 is enabled, and none is given.
    #[must_use]
    pub fn lacks_ipv6(&self) -> bool {
        let has_ipv6 = self.subnets.iter().any(|subnet| subnet.subnet().addr().is_ipv6());
        self.ipv6_enabled && !has_ipv6
    }

    /// The network with this bridge, and with these subnets behind those that are given.
    ///
    /// # Errors
    /// The fields do not go together, or a subnet cannot be used.
    pub fn complete(
        mut self,
        interface: InterfaceName,
        further_subnets: &[IpNet],
    ) -> Result<Network, NetworkError> {
        let network = format!("\"{}\"", self.name);
        let completed = (|| {
            for subnet in further_subnets {
                self.subnets.push(Subnet::parse(&subnet.to_string(), None, None)?);
            }
            self.interface = Some(interface);
            self.whole()
        })();
        completed.map_err(|problem| NetworkError::Unusable { network, problem })
    }

    /// The network, where nothing is missing and its fields go together.
    pub(super) fn whole(self) -> Result<Network, NetworkProblem> {
        let network = Network {
            name: self.name,
            id: self.id,
            interface: self.interface.ok_or(NetworkProblem::NoInterface)?,
            created: self.created,
            subnets: self.subnets,
            ipv6_enabled: self.ipv6_enabled,
            internal: self.internal,
            dns_enabled: self.dns_enabled,
            labels: self.labels,
            options: self.options,
        };
        network.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(more: &str) -> Result<Draft, NetworkError> {
        Draft::from_json(&format!(r#"{{"name": "lab"{more}}}"#))
    }

    #[test]
    fn what_is_missing_is_told_and_filled_in() {
        // What is given, and whether an IPv4 and an IPv6 subnet are missing.
        let cases = [
            ("", true, false),
            (r#", "ipv6_enabled": true"#, true, true),
            (r#", "subnets": [{"subnet": "10.1.0.0/24"}]"#, false, false),
            (r#", "subnets": [{"subnet": "10.1.0.0/24"}], "ipv6_enabled": true"#, false, true),
            (r#", "subnets": [{"subnet": "fd00::/64"}]"#, false, false),
        ];
        let subnets: [IpNet; 2] = ["10.9.0.0/16".parse().unwrap(), "fd00:9::/64".parse().unwrap()];
        for (more, lacks_ipv4, lacks_ipv6) in cases {
            let draft = draft(more).expect(more);
            assert_eq!(
                (draft.lacks_ipv4(), draft.lacks_ipv6()),
                (lacks_ipv4, lacks_ipv6),
                "{more}"
            );
            let lacks = [lacks_ipv4, lacks_ipv6];
            let missing: Vec<_> = subnets
                .into_iter()
                .zip(lacks)
                .filter(|(_, lacks)| *lacks)
                .map(|(net, _)| net)
                .collect();
            let network = draft.complete("lab0".parse().unwrap(), &missing).expect(more);
            assert_eq!(network.interface().as_str(), "lab0");
            let own: Vec<_> = network.subnets().iter().map(Subnet::subnet).collect();
            assert!(missing.iter().all(|subnet| own.contains(subnet)), "{more}: {own:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_networks_name() {
        let cases = [
            (r#", "network_interface": "a/b""#, "network \"lab\": interface name \"a/b\""),
            (r#", "vlan": 7"#, "network \"lab\": field \"vlan\" is not supported"),
            (r#", "subnets": [{"subnet": "10.1.0.1/24"}]"#, "network \"lab\": subnet"),
        ];
        for (more, expected) in cases {
            let error = draft(more).expect_err(more).to_string();
            assert!(error.starts_with(expected), "{more}: {error}");
        }
        let overlapping =
            draft(r#", "subnets": [{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/16"}]"#);
        let error = overlapping.unwrap().complete("lab0".parse().unwrap(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("network \"lab\": subnets"), "{error}");
    }

    #[test]
    fn a_network_file_without_a_bridge_is_no_network() {
        let text = r#"{"name": "lab", "subnets": [{"subnet": "10.1.0.0/24"}]}"#;
        let error = Network::from_json(text).unwrap_err().to_string();
        assert!(error.starts_with("network \"lab\": it has no network_interface"), "{error}");
    }
}
