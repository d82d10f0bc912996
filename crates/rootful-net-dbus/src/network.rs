//! The properties of `io.rootful_net1.Network`.

use serde::{Deserialize, Serialize};
use zbus::{OwnedVariant, Type, Variant};

use rootful_net_core::dns::name_servers;
use rootful_net_core::network::{Isolate, Network, Subnet};

use crate::error::Result;
use crate::options::{Dictionary, property};

/// One subnet of a network, an element of the property `Subnets`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type, Variant, OwnedVariant,
)]
pub struct SubnetProperties {
    /// The subnet, as address and prefix length.
    pub subnet: String,
    /// The host's address in it.
    pub gateway: String,
}

/// All properties of a network; also the form in which the client prints one as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkProperties {
    /// The network's name.
    pub name: String,
    /// The bridge on the host.
    pub interface: String,
    /// Its subnets.
    pub subnets: Vec<SubnetProperties>,
    /// Whether it reaches nothing beyond itself.
    pub internal: bool,
    /// `false`, `true` or `strict`.
    pub isolate: String,
    /// The MTU; 0 for the kernel's default.
    pub mtu: u16,
    /// Where containers on it ask for names; empty where none are served.
    pub name_servers: Vec<String>,
}

impl NetworkProperties {
    /// Reads what `GetAll` answered for a network.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) where the service did not answer as the contract says.
    pub fn from_dictionary(mut properties: Dictionary) -> Result<Self> {
        Ok(Self {
            name: property(&mut properties, "Name")?,
            interface: property(&mut properties, "Interface")?,
            subnets: property(&mut properties, "Subnets")?,
            internal: property(&mut properties, "Internal")?,
            isolate: property(&mut properties, "Isolate")?,
            mtu: property(&mut properties, "Mtu")?,
            name_servers: property(&mut properties, "NameServers")?,
        })
    }
}

impl From<&Network> for NetworkProperties {
    fn from(network: &Network) -> Self {
        let isolate = match network.isolate() {
            Isolate::Off => "false",
            Isolate::On => "true",
            Isolate::Strict => "strict",
        };
        Self {
            name: network.name().to_string(),
            interface: network.interface().to_string(),
            subnets: network.subnets().iter().map(SubnetProperties::from).collect(),
            internal: network.internal(),
            isolate: isolate.to_owned(),
            mtu: network.mtu().unwrap_or_default(),
            name_servers: name_servers(network).map(|server| server.to_string()).collect(),
        }
    }
}

impl From<&Subnet> for SubnetProperties {
    fn from(subnet: &Subnet) -> Self {
        Self { subnet: subnet.subnet().to_string(), gateway: subnet.gateway().to_string() }
    }
}
