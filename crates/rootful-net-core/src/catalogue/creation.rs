//! Which network is made of what somebody wants one to be: a free bridge and free subnets where they leave that
//! open, and a refusal where what they chose is taken.

use ipnet::{IpNet, Ipv6Net};

use super::{Catalogue, CatalogueError, default_subnets, overlapping_route};
use crate::derivation::{AddressKey, unique_local_subnet};
use crate::name::{InterfaceName, NetworkName};
use crate::network::{Draft, MAX_JSON_BYTES, Network, NetworkError};
use crate::observed::{Observed, Query, Route};
use crate::planner;

/// How many networks there can be for another one to be made.
pub const MAX_NETWORKS: usize = 256;

/// What the bridge is called where nobody says it: this and a number from 1.
const INTERFACE_PREFIX: &str = "rootful";

/// How many such names are looked at.
const INTERFACE_CANDIDATES: usize = 16;

/// Says why a network is not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one of this name.
    #[error("network \"{network}\" exists already; see 'rootful-net network inspect {network}'")]
    Exists {
        /// The name.
        network: NetworkName,
    },
    /// There are too many.
    #[error("there are {MAX_NETWORKS} networks already, which is the limit; remove one")]
    TooMany,
    /// The definition is wrong.
    #[error(transparent)]
    Definition(#[from] NetworkError),
    /// Written out, it is longer than any that is read.
    #[error(
        "network \"{network}\" has {bytes} bytes when it is written out (accepted: up to {MAX_JSON_BYTES}); shorten its labels"
    )]
    TooLong {
        /// The name.
        network: NetworkName,
        /// How long it would be.
        bytes: usize,
    },
    /// Another network is in its way.
    #[error(transparent)]
    Network(#[from] CatalogueError),
    /// A link is in its way.
    #[error(
        "network \"{network}\" needs a bridge {link}, but there is a link of that name which rootful-net did not make; choose another one"
    )]
    LinkTaken {
        /// The network.
        network: NetworkName,
        /// The link.
        link: InterfaceName,
    },
    /// No bridge can be made up.
    #[error(
        "no name for the bridge of network \"{network}\" is free of {INTERFACE_CANDIDATES} that were tried; choose one"
    )]
    NoFreeInterface {
        /// The network.
        network: NetworkName,
    },
    /// A route is in its way.
    #[error(
        "subnet {subnet} of network \"{network}\" overlaps with the host's route to {route} by {link}; choose another subnet"
    )]
    SubnetRouted {
        /// The network.
        network: NetworkName,
        /// The subnet.
        subnet: IpNet,
        /// The route's destination.
        route: IpNet,
        /// The link it leads to.
        link: String,
    },
    /// No subnet can be made up.
    #[error("no {family} subnet is free for network \"{network}\"; choose one")]
    NoFreeSubnet {
        /// The network.
        network: NetworkName,
        /// Which kind of subnet.
        family: &'static str,
    },
}

/// What is to be observed to make the network.
pub fn create_query(catalogue: &Catalogue, draft: &Draft) -> Query {
    let links = match draft.interface() {
        Some(interface) => [interface.clone()].into(),
        None => free_interfaces(catalogue).collect(),
    };
    Query { links, routes: true, ..Query::default() }
}

/// Makes the network. Its bridge, where that is left open, is the first `rootfulN` that no network and no link has. A
/// missing IPv4 subnet is the first that is free of those that the default network is taken from, and no smaller than
/// that one, since addresses are derived from names: the fewer there are, the more often two names want the same. A
/// missing IPv6 subnet is the next free /64 of the host's own /48.
///
/// # Errors
/// It is there already, it is malformed, something is in its way, or there is no room.
pub fn create(
    catalogue: &Catalogue,
    key: &AddressKey,
    draft: Draft,
    observed: &Observed,
) -> Result<Network, CreateError> {
    let name = draft.name().clone();
    if catalogue.get(&name).is_some() {
        return Err(CreateError::Exists { network: name });
    }
    if catalogue.networks().count() >= MAX_NETWORKS {
        return Err(CreateError::TooMany);
    }
    let interface = match draft.interface() {
        Some(interface) => interface.clone(),
        None => free_interfaces(catalogue)
            .find(|name| !observed.links.contains_key(name.as_str()))
            .ok_or_else(|| CreateError::NoFreeInterface { network: name.clone() })?,
    };
    let routes = &observed.routes;
    let bridge = interface.as_str();
    let no_room = |family| CreateError::NoFreeSubnet { network: name.clone(), family };
    let mut further_subnets = Vec::new();
    if draft.lacks_ipv4() {
        let free = default_subnets()
            .map(IpNet::V4)
            .find(|subnet| is_free(*subnet, bridge, catalogue, routes));
        further_subnets.push(free.ok_or_else(|| no_room("private IPv4"))?);
    }
    if draft.lacks_ipv6() {
        let free = free_ipv6(key, bridge, catalogue, routes);
        further_subnets.push(free.ok_or_else(|| no_room("unique local IPv6"))?);
    }
    let network = draft.complete(interface, &further_subnets)?;
    check_length(&network)?;
    catalogue.check(&network)?;
    check_host(&network, observed)?;
    Ok(network)
}

/// Names that bridges are given where nobody says one, as far as no network has them.
fn free_interfaces(catalogue: &Catalogue) -> impl Iterator<Item = InterfaceName> {
    let names = (1..=MAX_NETWORKS + INTERFACE_CANDIDATES).map(|number| {
        let name: InterfaceName =
            format!("{INTERFACE_PREFIX}{number}").parse().expect("a short word and a number");
        name
    });
    let is_taken = |name: &InterfaceName| catalogue.networks().any(|own| own.interface() == name);
    names.filter(move |name| !is_taken(name)).take(INTERFACE_CANDIDATES)
}

fn is_free(subnet: IpNet, bridge: &str, catalogue: &Catalogue, routes: &[Route]) -> bool {
    let networks = catalogue.networks().flat_map(Network::subnets);
    let mut taken = networks.map(|taken| taken.subnet());
    let is_taken = taken.any(|taken| super::overlap(subnet, taken));
    !is_taken && overlapping_route(subnet, bridge, routes).is_none()
}

/// The first /64 behind the default network's.
fn free_ipv6(
    key: &AddressKey,
    bridge: &str,
    catalogue: &Catalogue,
    routes: &[Route],
) -> Option<IpNet> {
    let own = unique_local_subnet(key);
    let site = IpNet::V6(Ipv6Net::new_assert(own.network(), 48));
    let near = routes.iter().filter(|route| super::overlap(site, route.destination));
    let near: Vec<Route> = near.cloned().collect();
    (1..=u16::MAX).find_map(|number| {
        let bits = own.network().to_bits() | u128::from(number) << 64;
        let subnet = IpNet::V6(Ipv6Net::new_assert(bits.into(), 64));
        is_free(subnet, bridge, catalogue, &near).then_some(subnet)
    })
}

/// A file that is too long would not be read again.
fn check_length(network: &Network) -> Result<(), CreateError> {
    let bytes = network.to_json().len();
    if bytes > MAX_JSON_BYTES {
        return Err(CreateError::TooLong { network: network.name().clone(), bytes });
    }
    Ok(())
}

/// What an attachment would be refused for later.
fn check_host(network: &Network, observed: &Observed) -> Result<(), CreateError> {
    let link = network.interface();
    let present = observed.links.get(link.as_str());
    if present.is_some_and(|present| !planner::is_own_bridge(present)) {
        let network = network.name().clone();
        return Err(CreateError::LinkTaken { network, link: link.clone() });
    }
    for subnet in network.subnets() {
        let subnet = subnet.subnet();
        if let Some(route) = overlapping_route(subnet, link.as_str(), &observed.routes) {
            return Err(CreateError::SubnetRouted {
                network: network.name().clone(),
                subnet,
                route: route.destination,
                link: route.link.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::default_network;
    use super::*;
    use crate::observed::{Link, LinkKind};

    fn key() -> AddressKey {
        AddressKey::from_bytes([7; 32])
    }

    fn route(destination: &str, link: &str) -> Route {
        Route { destination: destination.parse().unwrap(), link: link.to_owned() }
    }

    fn link(name: &str, kind: LinkKind, alias: Option<&str>) -> (String, Link) {
        let link = Link {
            index: 7,
            name: name.to_owned(),
            kind,
            alias: alias.map(str::to_owned),
            master: None,
            up: true,
            mac: None,
            mtu: 1500,
            port: None,
        };
        (name.to_owned(), link)
    }

    /// With the default network.
    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        catalogue.insert(default_network(&key(), &[]).unwrap()).unwrap();
        catalogue
    }

    fn draft(more: &str) -> Draft {
        Draft::from_json(&format!(r#"{{"name": "lab"{more}}}"#)).unwrap()
    }

    fn outline(network: &Network) -> String {
        let subnets = network.subnets().iter().map(|subnet| subnet.subnet().to_string());
        let parts: Vec<_> = [network.interface().to_string()].into_iter().chain(subnets).collect();
        parts.join(" ")
    }

    #[test]
    fn what_is_left_open_is_chosen_where_it_is_free() {
        let own = unique_local_subnet(&key()).network().to_string();
        let own = own.trim_end_matches("::").to_owned();
        let mut occupied = catalogue();
        for (name, interface, subnet) in
            [("a", "rootful1", "10.88.0.0/16"), ("b", "rootful3", "10.90.7.0/24")]
        {
            let more = format!(
                r#"{{"name": "{name}", "network_interface": "{interface}", "subnets": [{{"subnet": "{subnet}"}}]}}"#
            );
            occupied.insert(Network::from_json(&more).unwrap()).unwrap();
        }
        let dummy = || LinkKind::Other("dummy".to_owned());
        let host = Observed {
            links: [link("rootful1", dummy(), None)].into(),
            routes: vec![route("10.88.3.0/24", "eth0"), route("10.89.0.0/16", "eth0")],
            ..Observed::default()
        };
        let free = Observed::default();
        let cases = [
            (catalogue(), &free, "", "rootful1 10.88.0.0/16".to_owned()),
            (catalogue(), &host, "", "rootful2 10.90.0.0/16".to_owned()),
            (occupied.clone(), &free, "", "rootful2 10.89.0.0/16".to_owned()),
            (occupied, &host, "", "rootful2 10.91.0.0/16".to_owned()),
            (
                catalogue(),
                &free,
                r#", "ipv6_enabled": true"#,
                format!("rootful1 10.88.0.0/16 {own}:1::/64"),
            ),
            (
                catalogue(),
                &free,
                r#", "network_interface": "lab0", "subnets": [{"subnet": "10.9.0.0/24"}], "ipv6_enabled": true"#,
                format!("lab0 10.9.0.0/24 {own}:1::/64"),
            ),
            (
                catalogue(),
                &free,
                r#", "subnets": [{"subnet": "fd00::/64"}]"#,
                "rootful1 fd00::/64".to_owned(),
            ),
        ];
        for (catalogue, observed, more, expected) in cases {
            let network = create(&catalogue, &key(), draft(more), observed).unwrap();
            assert_eq!(outline(&network), expected, "{more}");
            assert_eq!(Network::from_json(&network.to_json()).unwrap(), network);
        }
    }

    #[test]
    fn everything_that_is_looked_at_is_asked_for() {
        let query = create_query(&catalogue(), &draft(""));
        assert_eq!(query.links.len(), INTERFACE_CANDIDATES);
        assert!(query.routes);
        let given = create_query(&catalogue(), &draft(r#", "network_interface": "lab0""#));
        assert_eq!(given.links, ["lab0".parse().unwrap()].into());
    }

    #[test]
    fn what_is_taken_is_refused_with_who_has_it() {
        let host = Observed {
            links: [
                link("eth0", LinkKind::Other(String::new()), None),
                link("br0", LinkKind::Bridge, None),
                link("lab0", LinkKind::Bridge, Some("rootful-net network lab")),
            ]
            .into(),
            routes: vec![
                route("192.0.2.0/24", "eth0"),
                route("10.50.0.0/16", "lab0"),
                route("0.0.0.0/0", "eth0"),
            ],
            ..Observed::default()
        };
        let subnet = |text: &str| format!(r#", "subnets": [{{"subnet": "{text}"}}]"#);
        let cases = [
            (subnet("10.87.5.0/24"), "overlaps with network \"rootful0\""),
            (subnet("10.0.0.0/8"), "overlaps with network \"rootful0\""),
            (subnet("192.0.2.0/25"), "overlaps with the host's route to 192.0.2.0/24 by eth0"),
            (subnet("10.50.7.0/24"), "the host's route to 10.50.0.0/16 by lab0"),
            (r#", "network_interface": "eth0""#.to_owned(), "a bridge eth0, but there is a link"),
            (r#", "network_interface": "br0""#.to_owned(), "a bridge br0, but there is a link"),
            (
                r#", "network_interface": "rootful0""#.to_owned(),
                "\"rootful0\" belongs to network \"rootful0\"",
            ),
        ];
        for (more, expected) in cases {
            let error = create(&catalogue(), &key(), draft(&more), &host).unwrap_err().to_string();
            assert!(error.contains(expected), "{more}: {error}");
        }
        // What a bridge of ours left behind is in nobody's way.
        let again = format!(r#", "network_interface": "lab0"{}"#, subnet("10.50.0.0/16"));
        assert!(create(&catalogue(), &key(), draft(&again), &host).is_ok());
        let same = Draft::from_json(r#"{"name": "rootful0"}"#).unwrap();
        let error = create(&catalogue(), &key(), same, &host).unwrap_err();
        assert!(matches!(error, CreateError::Exists { .. }), "{error}");
    }

    #[test]
    fn where_there_is_no_room_that_is_said() {
        let everywhere = Observed {
            routes: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
                .map(|destination| route(destination, "eth0"))
                .into(),
            ..Observed::default()
        };
        let ipv6 = r#", "ipv6_enabled": true, "subnets": [{"subnet": "203.0.113.0/24"}]"#;
        for (more, family) in [("", "private IPv4"), (ipv6, "unique local IPv6")] {
            let error = create(&catalogue(), &key(), draft(more), &everywhere).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("no {family} subnet is free for network \"lab\"; choose one")
            );
        }
        let links = (1..=INTERFACE_CANDIDATES)
            .map(|number| link(&format!("rootful{number}"), LinkKind::Bridge, None));
        let crowded = Observed { links: links.collect(), ..Observed::default() };
        let error = create(&catalogue(), &key(), draft(""), &crowded).unwrap_err();
        assert!(matches!(error, CreateError::NoFreeInterface { .. }), "{error}");
    }

    #[test]
    fn as_many_as_there_can_be_find_a_place_and_no_more() {
        let mut catalogue = catalogue();
        let one = |catalogue: &Catalogue, number: usize| {
            let text = format!(r#"{{"name": "n{number}"}}"#);
            create(catalogue, &key(), Draft::from_json(&text).unwrap(), &Observed::default())
        };
        for number in 1..MAX_NETWORKS {
            let network = one(&catalogue, number).unwrap();
            catalogue.insert(network).unwrap();
        }
        let error = one(&catalogue, MAX_NETWORKS).unwrap_err();
        assert!(matches!(error, CreateError::TooMany), "{error}");
    }

    #[test]
    fn what_grows_too_long_when_it_is_written_is_refused() {
        // Each label takes more room on a line of its own.
        let labels: Vec<_> = (0..5000).map(|number| format!(r#""{number}":"""#)).collect();
        let text = format!(r#"{{"name":"lab","labels":{{{}}}}}"#, labels.join(","));
        assert!(text.len() < MAX_JSON_BYTES, "{}", text.len());
        let draft = Draft::from_json(&text).unwrap();
        let error = create(&catalogue(), &key(), draft, &Observed::default()).unwrap_err();
        assert!(matches!(error, CreateError::TooLong { .. }), "{error}");
    }
}
