//! The networks that exist, checked against each other, and the one that rootful-net comes with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::derivation::{AddressKey, unique_local_subnet};
use crate::name::NetworkName;
use crate::network::{Network, NetworkError};
use crate::observed::Route;

mod creation;
mod removal;

pub use creation::{CreateError, MAX_NETWORKS, create, create_query};
pub use removal::{RemoveError, check_removal};

/// The network that is there without configuration.
pub const DEFAULT_NETWORK: &str = "rootful0";

/// All networks by name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    networks: BTreeMap<NetworkName, Network>,
}

/// Says why two networks cannot both exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The name is taken.
    #[error("network \"{network}\" is defined twice")]
    Twice {
        /// The name.
        network: NetworkName,
    },
    /// The bridge is taken.
    #[error(
        "network \"{network}\": network_interface \"{interface}\" belongs to network \"{other}\""
    )]
    Interface {
        /// The network.
        network: NetworkName,
        /// The bridge.
        interface: String,
        /// Whose it is.
        other: NetworkName,
    },
    /// The subnets overlap.
    #[error("network \"{network}\": subnet {subnet} overlaps with network \"{other}\"")]
    Subnet {
        /// The network.
        network: NetworkName,
        /// The subnet.
        subnet: IpNet,
        /// The other network.
        other: NetworkName,
    },
}

/// Where a network in use is not what is configured, or keeps another from being there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    /// Its file was edited.
    #[error(
        "network \"{network}\" is defined differently now: that takes effect at the first start of the service after its last container is gone"
    )]
    Edited {
        /// The network.
        network: NetworkName,
    },
    /// Its file is gone, or wrong.
    #[error(
        "network \"{network}\" is not defined any more: it stays until the first start of the service after its last container is gone"
    )]
    Removed {
        /// The network.
        network: NetworkName,
    },
    /// A network that is configured cannot be there beside it.
    #[error("network left out until the other one's last container is gone: {0}")]
    LeftOut(#[source] CatalogueError),
}

impl Catalogue {
    /// Has networks that containers are attached to be what they were when the first of them was attached,
    /// whatever is configured now: for all of them at once, before anything is planned. Answers where that
    /// is something else.
    pub fn insert_in_use(&mut self, networks: impl IntoIterator<Item = Network>) -> Vec<InUse> {
        let mut differences = Vec::new();
        let configured = std::mem::take(&mut self.networks);
        for network in networks {
            let name = network.name().clone();
            match configured.get(&name) {
                Some(same) if *same == network => {}
                Some(_) => differences.push(InUse::Edited { network: name }),
                None => differences.push(InUse::Removed { network: name }),
            }
            differences.extend(self.insert(network).err().map(InUse::LeftOut));
        }
        for (name, network) in configured {
            if !self.networks.contains_key(&name) {
                differences.extend(self.insert(network).err().map(InUse::LeftOut));
            }
        }
        differences
    }

    /// Adds a network.
    ///
    /// # Errors
    /// Another network has its name, its bridge or an overlapping subnet.
    pub fn insert(&mut self, network: Network) -> Result<(), CatalogueError> {
        self.check(&network)?;
        self.networks.insert(network.name().clone(), network);
        Ok(())
    }

    /// Takes a network out.
    pub fn remove(&mut self, name: &NetworkName) -> Option<Network> {
        self.networks.remove(name)
    }

    /// Whether the network can be there beside the others.
    fn check(&self, network: &Network) -> Result<(), CatalogueError> {
        for other in self.networks.values() {
            let name = || network.name().clone();
            if other.name() == network.name() {
                return Err(CatalogueError::Twice { network: name() });
            }
            if other.interface() == network.interface() {
                let interface = network.interface().to_string();
                let other = other.name().clone();
                return Err(CatalogueError::Interface { network: name(), interface, other });
            }
            for subnet in network.subnets() {
                let own = subnet.subnet();
                if other.subnets().iter().any(|theirs| overlap(own, theirs.subnet())) {
                    let other = other.name().clone();
                    return Err(CatalogueError::Subnet { network: name(), subnet: own, other });
                }
            }
        }
        Ok(())
    }

    /// The network of this name.
    pub fn get(&self, name: &NetworkName) -> Option<&Network> {
        self.networks.get(name)
    }

    /// All networks by name.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values()
    }
}

/// Whether one prefix lies in the other.
pub(crate) fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Makes [`DEFAULT_NETWORK`]: 10.87.0.0/16, or where the host routes that already the next free one, and an
/// IPv6 subnet of the host's own. It is made once and kept, since addresses depend on it.
///
/// # Errors
/// Every private IPv4 range that could be used is routed already.
pub fn default_network(key: &AddressKey, routes: &[Route]) -> Result<Network, NoFreeSubnet> {
    let is_free = |subnet: &Ipv4Net| {
        !routes.iter().any(|route| overlap(IpNet::V4(*subnet), route.destination))
    };
    let ipv4 = default_subnets().find(is_free).ok_or(NoFreeSubnet)?;
    let ipv6 = unique_local_subnet(key);
    let text = format!(
        r#"{{"name": "{DEFAULT_NETWORK}", "driver": "bridge", "network_interface": "{DEFAULT_NETWORK}",
            "subnets": [{{"subnet": "{ipv4}"}}, {{"subnet": "{ipv6}"}}], "ipv6_enabled": true,
            "dns_enabled": true}}"#
    );
    let network: Result<Network, NetworkError> = Network::from_json(&text);
    Ok(network.expect("the default network is well formed"))
}

/// Says that there is no room for the default network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no private IPv4 range is free for network \"rootful0\"; define it in /etc/rootful-net/networks/rootful0.json"
)]
pub struct NoFreeSubnet;

fn default_subnets() -> impl Iterator<Item = Ipv4Net> {
    let in_10 = (87..=254).chain(1..87).map(|second| (Ipv4Addr::new(10, second, 0, 0), 16));
    let in_172 = (16..=31).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16));
    let in_192 = (0..=255).rev().map(|third| (Ipv4Addr::new(192, 168, third, 0), 24));
    in_10.chain(in_172).chain(in_192).map(|(address, length)| Ipv4Net::new_assert(address, length))
}

/// The route, if any, that leads somewhere else than to `bridge` and overlaps with `subnet`.
pub(crate) fn overlapping_route<'a>(
    subnet: IpNet,
    bridge: &str,
    routes: &'a [Route],
) -> Option<&'a Route> {
    routes.iter().find(|route| {
        let unspecified = match route.destination.addr() {
            IpAddr::V4(address) => address.is_unspecified(),
            IpAddr::V6(address) => address.is_unspecified(),
        };
        route.link != bridge && !unspecified && overlap(subnet, route.destination)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AddressKey {
        AddressKey::from_bytes([7; 32])
    }

    fn route(destination: &str) -> Route {
        Route { destination: destination.parse().unwrap(), link: "eth0".to_owned() }
    }

    fn subnet_with(routes: &[Route]) -> String {
        default_network(&key(), routes).unwrap().subnets()[0].subnet().to_string()
    }

    #[test]
    fn the_default_network_avoids_routed_ranges() {
        assert_eq!(subnet_with(&[]), "10.87.0.0/16");
        assert_eq!(subnet_with(&[route("10.87.3.0/24")]), "10.88.0.0/16");
        assert_eq!(subnet_with(&[route("10.0.0.0/8")]), "172.16.0.0/16");
        assert_eq!(subnet_with(&[route("10.0.0.0/8"), route("172.16.0.0/12")]), "192.168.255.0/24");
        let all = [route("10.0.0.0/8"), route("172.16.0.0/12"), route("192.168.0.0/16")];
        assert_eq!(default_network(&key(), &all).map(|_| ()), Err(NoFreeSubnet));
    }

    #[test]
    fn the_ipv6_subnet_depends_on_the_key() {
        let subnet = |key| default_network(&key, &[]).unwrap().subnets()[1].subnet();
        let one = subnet(key());
        assert_eq!(one, subnet(key()));
        assert_ne!(one, subnet(AddressKey::from_bytes([8; 32])));
        assert!(one.to_string().starts_with("fd") && one.prefix_len() == 64, "{one}");
    }

    fn network(name: &str, interface: &str, subnet: &str) -> Network {
        Network::from_json(&format!(
            r#"{{"name": "{name}", "network_interface": "{interface}", "subnets": [{{"subnet": "{subnet}"}}]}}"#
        ))
        .unwrap()
    }

    fn catalogue(networks: &[Network]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        networks.iter().for_each(|network| catalogue.insert(network.clone()).unwrap());
        catalogue
    }

    #[test]
    fn a_network_in_use_is_what_it_was_whatever_is_configured() {
        let (a, b) = (network("a", "br-a", "10.1.0.0/16"), network("b", "br-b", "10.2.0.0/16"));
        let edited = network("a", "br-a", "10.9.0.0/16");
        // What is configured, what is different and which networks there are then.
        let cases = [
            (vec![a.clone(), b.clone()], vec![], vec![&a, &b]),
            (vec![edited, b.clone()], vec!["\"a\" is defined differently"], vec![&a, &b]),
            (vec![b.clone()], vec!["\"a\" is not defined any more"], vec![&a, &b]),
            (vec![], vec!["\"a\" is not defined any more"], vec![&a]),
            (
                vec![network("c", "br-c", "10.1.7.0/24"), network("d", "br-a", "10.4.0.0/24")],
                vec![
                    "\"a\" is not defined any more",
                    "left out until the other one's last container is gone: network \"c\": subnet 10.1.7.0/24 overlaps",
                    "network \"d\": network_interface \"br-a\" belongs to network \"a\"",
                ],
                vec![&a],
            ),
        ];
        for (configured, differences, expected) in cases {
            let mut catalogue = catalogue(&configured);
            let found = catalogue.insert_in_use([a.clone()]);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), differences.len(), "{found:#?}");
            for (found, expected) in found.iter().zip(differences) {
                assert!(found.contains(expected), "{found}");
            }
            assert!(catalogue.networks().eq(expected), "{configured:#?}");
        }
    }

    #[test]
    fn networks_in_use_can_have_changed_places() {
        let (a, b) = (network("a", "br-a", "10.1.0.0/16"), network("b", "br-b", "10.2.0.0/16"));
        let configured = [network("a", "br-b", "10.2.0.0/16"), network("b", "br-a", "10.1.0.0/16")];
        let mut catalogue = catalogue(&configured);
        let names = [a.name().clone(), b.name().clone()];
        let differences = catalogue.insert_in_use([a.clone(), b.clone()]);
        assert_eq!(differences, names.map(|network| InUse::Edited { network }));
        assert!(catalogue.networks().eq([&a, &b]));
    }

    #[test]
    fn networks_do_not_share_names_bridges_or_subnets() {
        let mut catalogue = Catalogue::default();
        catalogue.insert(network("a", "br-a", "10.1.0.0/16")).unwrap();
        let errors = [
            (network("a", "br-b", "10.2.0.0/16"), "defined twice"),
            (network("b", "br-a", "10.2.0.0/16"), "belongs to network \"a\""),
            (network("b", "br-b", "10.1.9.0/24"), "overlaps with network \"a\""),
        ];
        for (network, expected) in errors {
            let error = catalogue.insert(network).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        catalogue.insert(network("b", "br-b", "10.2.0.0/16")).unwrap();
    }
}
