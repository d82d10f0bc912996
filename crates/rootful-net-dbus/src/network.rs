//! The properties of `io.rootful_net1.Network`.

use serde::{Deserialize, Serialize};
use zbus::{OwnedVariant, Type, Variant};

use rootful_net_core::dns::name_servers;
use rootful_net_core::network::{Isolate, Network, Subnet};

use crate::error::Result;
use crate::options::{Dictionary, Options, property};

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

/// The options of `CreateNetwork` and `RemoveNetwork`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Whether it is no error that the network is there already, or is not there.
    pub ignore: bool,
}

impl NetworkOptions {
    /// The dictionary that says the same.
    pub fn to_dictionary(self) -> Dictionary {
        let ignore = self.ignore.then(|| ("ignore".to_owned(), OwnedVariant::from(true)));
        ignore.into_iter().collect()
    }

    /// Reads the dictionary.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an unknown option or one of the wrong type.
    pub fn from_wire(options: Dictionary) -> Result<Self> {
        let mut options = Options::new(options);
        let ignore = options.take("ignore", "b")?.unwrap_or_default();
        options.finish()?;
        Ok(Self { ignore })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_were_written() {
        for ignore in [false, true] {
            let options = NetworkOptions { ignore };
            assert_eq!(NetworkOptions::from_wire(options.to_dictionary()).unwrap(), options);
        }
        let wrong = [("ignore", OwnedVariant::from(1_u32)), ("force", OwnedVariant::from(true))];
        for (key, value) in wrong {
            let error = NetworkOptions::from_wire([(key.to_owned(), value)].into()).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
