//! Owns the JSON form of a network, which is podman's and netavark's. The structs here are the table of
//! known fields: a field that is not in them is refused by name.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{
    Draft, LeaseRange, MAX_JSON_BYTES, Network, NetworkError, NetworkProblem, Options, Subnet,
};
use crate::name::quoted;

/// Everything that a struct has no field for.
type Unknown = BTreeMap<String, IgnoredAny>;

/// A struct that knows the names of its fields.
macro_rules! known_fields {
    (
        $(#[$doc:meta])*
        $visibility:vis struct $name:ident ($owner:expr) {
            $($(#[$attribute:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Deserialize, Serialize)]
        $visibility struct $name {
            $($(#[$attribute])* $field: $type,)*
            #[serde(flatten, skip_serializing)]
            unknown: Unknown,
        }

        impl $name {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn check_fields(&self) -> Result<(), NetworkProblem> {
                match self.unknown.keys().next() {
                    None => Ok(()),
                    Some(field) => Err(NetworkProblem::UnknownField {
                        field: quoted(field),
                        owner: $owner,
                        accepted: Self::FIELDS,
                    }),
                }
            }
        }
    };
}

known_fields! {
    /// A network as its file has it.
    pub(super) struct RawNetwork (None) {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        driver: Option<String>,
        network_interface: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<String>,
        subnets: Option<Vec<RawSubnet>>,
        #[serde(default)]
        ipv6_enabled: bool,
        #[serde(default)]
        internal: bool,
        #[serde(default)]
        dns_enabled: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        labels: Option<BTreeMap<String, String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<BTreeMap<String, String>>,
        ipam_options: Option<RawIpam>,
    }
}

known_fields! {
    struct RawSubnet (Some("a subnet")) {
        subnet: String,
        gateway: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease_range: Option<RawLeaseRange>,
    }
}

known_fields! {
    struct RawLeaseRange (Some("a lease_range")) {
        start_ip: Option<String>,
        end_ip: Option<String>,
    }
}

known_fields! {
    struct RawIpam (Some("ipam_options")) {
        driver: Option<String>,
    }
}

pub(super) fn read(text: &str) -> Result<Network, NetworkError> {
    read_raw(text)?.try_into()
}

pub(super) fn read_draft(text: &str) -> Result<Draft, NetworkError> {
    let raw = read_raw(text)?;
    let network = quoted(&raw.name);
    raw.check().map_err(|problem| NetworkError::Unusable { network, problem })
}

fn read_raw(text: &str) -> Result<RawNetwork, NetworkError> {
    if text.len() > MAX_JSON_BYTES {
        return Err(NetworkError::TooLong { bytes: text.len() });
    }
    serde_json::from_str(text).map_err(NetworkError::Json)
}

pub(super) fn write(network: &Network) -> String {
    let mut text = serde_json::to_string_pretty(network).expect("strings, booleans and maps");
    text.push('\n');
    text
}

impl TryFrom<RawNetwork> for Network {
    type Error = NetworkError;

    fn try_from(raw: RawNetwork) -> Result<Self, NetworkError> {
        let network = quoted(&raw.name);
        let checked = raw.check().and_then(Draft::whole);
        checked.map_err(|problem| NetworkError::Unusable { network, problem })
    }
}

impl RawNetwork {
    /// What is wrong with a field by itself is found here.
    fn check(self) -> Result<Draft, NetworkProblem> {
        self.check_fields()?;
        match self.driver.as_deref() {
            None | Some("bridge") => {}
            Some(other) => {
                return Err(NetworkProblem::Driver { found: quoted(other) });
            }
        }
        if let Some(ipam) = &self.ipam_options {
            ipam.check()?;
        }
        if let Some(id) = &self.id
            && !(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(NetworkProblem::Id { found: quoted(id) });
        }
        if let Some(created) = &self.created
            && (created.chars().count() > 64 || created.chars().any(char::is_control))
        {
            return Err(NetworkProblem::Created { found: quoted(created) });
        }
        Ok(Draft {
            name: self.name.try_into()?,
            id: self.id,
            interface: self.network_interface.map(TryInto::try_into).transpose()?,
            created: self.created,
            subnets: self
                .subnets
                .unwrap_or_default()
                .iter()
                .map(RawSubnet::check)
                .collect::<Result<_, _>>()?,
            ipv6_enabled: self.ipv6_enabled,
            internal: self.internal,
            dns_enabled: self.dns_enabled,
            labels: self.labels.unwrap_or_default(),
            options: Options::read(&self.options.unwrap_or_default())?,
        })
    }
}

impl RawSubnet {
    fn check(&self) -> Result<Subnet, NetworkProblem> {
        self.check_fields()?;
        let lease_range = match &self.lease_range {
            None => None,
            Some(range) => {
                range.check_fields()?;
                Some((range.start_ip.as_deref(), range.end_ip.as_deref()))
            }
        };
        Ok(Subnet::parse(&self.subnet, self.gateway.as_deref(), lease_range)?)
    }
}

impl RawIpam {
    fn check(&self) -> Result<(), NetworkProblem> {
        self.check_fields()?;
        match self.driver.as_deref() {
            None | Some("host-local") => Ok(()),
            Some(other) => Err(NetworkProblem::IpamDriver { found: quoted(other) }),
        }
    }
}

impl From<Network> for RawNetwork {
    fn from(network: Network) -> Self {
        let options = network.options.write();
        Self {
            name: network.name.into(),
            id: network.id,
            driver: Some("bridge".into()),
            network_interface: Some(network.interface.into()),
            created: network.created,
            subnets: Some(network.subnets.iter().map(RawSubnet::from).collect()),
            ipv6_enabled: network.ipv6_enabled,
            internal: network.internal,
            dns_enabled: network.dns_enabled,
            labels: Some(network.labels).filter(|labels| !labels.is_empty()),
            options: Some(options).filter(|options| !options.is_empty()),
            ipam_options: Some(RawIpam {
                driver: Some("host-local".into()),
                unknown: Unknown::new(),
            }),
            unknown: Unknown::new(),
        }
    }
}

impl From<&Subnet> for RawSubnet {
    fn from(subnet: &Subnet) -> Self {
        Self {
            subnet: subnet.subnet().to_string(),
            gateway: Some(subnet.gateway().to_string()),
            lease_range: subnet.lease_range().map(RawLeaseRange::from),
            unknown: Unknown::new(),
        }
    }
}

impl From<LeaseRange> for RawLeaseRange {
    fn from(range: LeaseRange) -> Self {
        Self {
            start_ip: Some(range.start().to_string()),
            end_ip: Some(range.end().to_string()),
            unknown: Unknown::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `podman network create` writes it, with everything that is supported.
    const FULL: &str = r#"{
  "name": "lab",
  "id": "5f3c1b6b3c0f1f6e9c1d3a4be0aa5d3f5c3b1a2e4f5d6c7b8a9081726354a1b2",
  "driver": "bridge",
  "network_interface": "podman1",
  "created": "2024-03-01T12:00:00.123456789+01:00",
  "subnets": [
    {
      "subnet": "10.89.0.0/24",
      "gateway": "10.89.0.254",
      "lease_range": {
        "start_ip": "10.89.0.10",
        "end_ip": "10.89.0.20"
      }
    },
    {
      "subnet": "fd00:cafe::/64",
      "gateway": "fd00:cafe::1"
    }
  ],
  "ipv6_enabled": true,
  "internal": true,
  "dns_enabled": true,
  "labels": {
    "app": "lab",
    "zone": "a"
  },
  "options": {
    "address_derivation": "podman-rootful-network",
    "isolate": "strict",
    "mtu": "1400"
  },
  "ipam_options": {
    "driver": "host-local"
  }
}
"#;

    #[test]
    fn a_full_definition_is_written_as_it_was_read() {
        let network = Network::from_json(FULL).expect("valid");
        assert_eq!(network.to_json(), FULL);
        assert_eq!(network.created(), Some("2024-03-01T12:00:00.123456789+01:00"));
        assert_eq!(
            network.subnets()[0].lease_range().expect("present").to_string(),
            "10.89.0.10-10.89.0.20"
        );
    }

    #[test]
    fn defaults_are_spelled_out_and_read_back() {
        let text = r#"{"subnets": [{"subnet": "10.0.0.0/8", "lease_range": {"end_ip": "10.0.0.9"}}], "name": "x", "network_interface": "br0"}"#;
        let network = Network::from_json(text).expect("valid");
        let written = network.to_json();
        assert!(
            written.contains(r#""gateway": "10.0.0.1""#)
                && written.contains(r#""driver": "bridge""#)
        );
        assert!(written.contains(r#""start_ip": "10.0.0.1""#), "{written}");
        assert_eq!(Network::from_json(&written).expect("valid"), network);
    }

    #[test]
    fn serde_goes_through_the_same_checks() {
        let network: Network = serde_json::from_str(FULL).expect("valid");
        assert_eq!(network, Network::from_json(FULL).expect("valid"));
        let error = serde_json::from_str::<Network>(&FULL.replace("\"mtu\"", "\"vlan\""))
            .expect_err("invalid");
        assert!(
            error.to_string().contains("network \"lab\": option \"vlan\" is not supported"),
            "{error}"
        );
    }

    #[test]
    fn texts_that_are_not_a_network_are_refused() {
        let cases = [
            "",
            "[]",
            "{",
            r#"{"network_interface": "br0"}"#,
            r#"{"name": 7, "network_interface": "br0"}"#,
            r#"{"name": "x", "name": "y", "network_interface": "br0"}"#,
            r#"{"name": "x", "network_interface": "br0", "options": {"mtu": 1500}}"#,
            r#"{"name": "x", "network_interface": "br0", "subnets": {"subnet": "10.0.0.0/8"}}"#,
            r#"{"name": "x", "network_interface": "br0", "internal": "yes"}"#,
        ];
        for text in cases {
            let error = Network::from_json(text).expect_err(text);
            assert!(matches!(error, NetworkError::Json(_)), "{text}: {error}");
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[test]
    fn a_definition_of_64_kib_is_read_and_no_more() {
        let padded = |bytes: usize| format!("{FULL}{}", " ".repeat(bytes - FULL.len()));
        assert!(Network::from_json(&padded(MAX_JSON_BYTES)).is_ok());
        let error = Network::from_json(&padded(MAX_JSON_BYTES + 1)).expect_err("too long");
        assert_eq!(
            error.to_string(),
            "the network definition has 65537 bytes (accepted: up to 65536)"
        );
    }

    #[test]
    fn deep_nesting_is_refused_without_harm() {
        let deep =
            format!(r#"{{"name": "x", "network_interface": "br0", "y": {}"#, "[".repeat(60_000));
        assert!(Network::from_json(&deep).is_err());
    }
}
