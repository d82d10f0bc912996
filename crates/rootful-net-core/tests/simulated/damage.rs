//! What can become of a host's network behind the service's back, one thing at a time.

use std::collections::BTreeSet;

use rootful_net_core::observed::{LinkKind, Sysctl, TableContents};
use rootful_net_core::publish::{Port, Protocol, Reservation};
use rootful_net_core::ruleset::{Element, TableName, Value};

use crate::host::{DEFAULT_MTU, SimulatedHost, accept_ra, is_same_key, route_localnet};

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    RulesetFlushed,
    TableGone,
    ChainEdited,
    ElementMissing,
    ElementExtra,
    ElementChanged,
    CommentChanged,
    BridgeGone,
    BridgeDown,
    BridgeMac,
    BridgeMtu,
    AddressMissing,
    ForwardingOff,
    RouteLocalnetOff,
    AdvertisementsAccepted,
    PortDown,
    PortUnplugged,
    PortElsewhere,
    PortLearns,
    PortUnlocked,
    PortGroups,
    PortMtu,
    StationMissing,
    ReservationMissing,
    ReservationExtra,
    StrayVeth,
    StrayBridge,
}

impl Damage {
    pub(crate) const ALL: [Self; 27] = [
        Self::RulesetFlushed,
        Self::TableGone,
        Self::ChainEdited,
        Self::ElementMissing,
        Self::ElementExtra,
        Self::ElementChanged,
        Self::CommentChanged,
        Self::BridgeGone,
        Self::BridgeDown,
        Self::BridgeMac,
        Self::BridgeMtu,
        Self::AddressMissing,
        Self::ForwardingOff,
        Self::RouteLocalnetOff,
        Self::AdvertisementsAccepted,
        Self::PortDown,
        Self::PortUnplugged,
        Self::PortElsewhere,
        Self::PortLearns,
        Self::PortUnlocked,
        Self::PortGroups,
        Self::PortMtu,
        Self::StationMissing,
        Self::ReservationMissing,
        Self::ReservationExtra,
        Self::StrayVeth,
        Self::StrayBridge,
    ];

    /// Whether the tables are not what they were.
    pub(crate) fn is_of_rules(self) -> bool {
        matches!(
            self,
            Self::RulesetFlushed
                | Self::TableGone
                | Self::ChainEdited
                | Self::ElementMissing
                | Self::ElementExtra
                | Self::ElementChanged
                | Self::CommentChanged
        )
    }

    /// Does it to the first, second, … thing that it can be done to. Answers with the links that it concerns, `None`
    /// where there is no such thing.
    pub(crate) fn inflict(
        self,
        host: &mut SimulatedHost,
        place: usize,
    ) -> Option<BTreeSet<String>> {
        let nothing = Some(BTreeSet::new());
        match self {
            Self::RulesetFlushed => {
                let before = host.tables.len();
                host.tables.retain(|name, _| !OWN_TABLES.contains(name));
                (place == 0 && host.tables.len() < before).then(BTreeSet::new)
            }
            Self::TableGone => {
                let name = own_tables(host).nth(place)?;
                host.tables.remove(&name);
                nothing
            }
            Self::ChainEdited => {
                let name = own_tables(host).nth(place)?;
                host.tables.get_mut(&name)?.intact = false;
                nothing
            }
            Self::ElementMissing => {
                let element = own_elements(host).nth(place)?;
                contents(host, &element)?.elements.remove(&element);
                nothing
            }
            Self::ElementExtra => {
                let element = own_elements(host).nth(place)?;
                // As an element of a container that is long gone.
                let interface = |value: &Value| match value {
                    Value::Interface(_) => Value::Interface("rngone".parse().unwrap()),
                    Value::Port(_) => Value::Port(Port::new(9).unwrap()),
                    other => other.clone(),
                };
                let key = element.key.iter().map(interface).collect();
                let extra = Element { key, comment: Some("gone".to_owned()), ..element };
                let elements = &mut contents(host, &extra)?.elements;
                if !elements.iter().any(|present| is_same_key(present, &extra)) {
                    elements.insert(extra);
                }
                nothing
            }
            Self::ElementChanged => {
                let element =
                    own_elements(host).filter(|element| !element.data.is_empty()).nth(place)?;
                let changed = |value: &Value| match value {
                    Value::Port(_) => Value::Port(Port::new(9).unwrap()),
                    Value::ConnectionLimit(_) => Value::ConnectionLimit(1),
                    other => other.clone(),
                };
                let data = element.data.iter().map(changed).collect();
                let elements = &mut contents(host, &element)?.elements;
                elements.remove(&element);
                elements.insert(Element { data, ..element });
                nothing
            }
            Self::CommentChanged => {
                let element = own_elements(host).nth(place)?;
                let elements = &mut contents(host, &element)?.elements;
                elements.remove(&element);
                elements.insert(Element { comment: None, ..element });
                nothing
            }
            Self::BridgeGone => {
                let bridge = own_links(host, &LinkKind::Bridge).nth(place)?;
                let index = host.links[&bridge].index;
                let ports = host.links.values().filter(|link| link.master == Some(index));
                let ports: BTreeSet<String> = ports.map(|link| link.name.clone()).collect();
                host.delete_link(&bridge);
                Some(ports.into_iter().chain([bridge]).collect())
            }
            Self::BridgeDown => {
                let bridge = own_links(host, &LinkKind::Bridge).nth(place)?;
                host.take_down(&bridge);
                Some([bridge].into())
            }
            Self::BridgeMac => {
                let bridge = own_links(host, &LinkKind::Bridge).nth(place)?;
                host.links.get_mut(&bridge)?.mac = "02:00:00:00:00:01".parse().ok();
                Some([bridge].into())
            }
            // Where none is configured, any is right.
            Self::BridgeMtu => with_mtu(host, &LinkKind::Bridge, place),
            Self::AddressMissing => {
                let bridges = own_links(host, &LinkKind::Bridge);
                let addresses = bridges.flat_map(|bridge| {
                    let addresses = host.addresses.get(&bridge).into_iter().flatten();
                    addresses.map(move |address| (bridge.clone(), *address)).collect::<Vec<_>>()
                });
                let (bridge, address) = addresses.collect::<Vec<_>>().into_iter().nth(place)?;
                host.addresses.get_mut(&bridge)?.remove(&address);
                Some([bridge].into())
            }
            Self::ForwardingOff => {
                let both = [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()];
                let sysctl = both.get(place)?;
                *host.sysctls.get_mut(sysctl)? = "0".to_owned();
                nothing
            }
            Self::RouteLocalnetOff => {
                let bridge = own_links(host, &LinkKind::Bridge).nth(place)?;
                let sysctl = route_localnet(&bridge.parse().unwrap());
                host.sysctls.insert(sysctl, "0".to_owned());
                nothing
            }
            Self::AdvertisementsAccepted => {
                let bridges = own_links(host, &LinkKind::Bridge);
                let sysctls = bridges.map(|bridge| accept_ra(&bridge.parse().unwrap()));
                // Elsewhere it was never refused.
                let sysctls = sysctls.filter(|sysctl| host.sysctl(sysctl) == Some("0"));
                let sysctl = sysctls.collect::<Vec<_>>().into_iter().nth(place)?;
                host.sysctls.insert(sysctl, "1".to_owned());
                nothing
            }
            Self::PortDown => {
                let port = own_links(host, &LinkKind::Veth).nth(place)?;
                host.take_down(&port);
                Some([port].into())
            }
            Self::PortUnplugged => {
                let port = own_links(host, &LinkKind::Veth).nth(place)?;
                host.unplug(&port);
                Some([port].into())
            }
            // With everything that it had where it was.
            Self::PortElsewhere => {
                let port = own_links(host, &LinkKind::Veth).nth(place)?;
                let bridge = host.links["docker0"].index;
                host.links.get_mut(&port)?.master = Some(bridge);
                Some([port].into())
            }
            Self::PortLearns | Self::PortUnlocked | Self::PortGroups => {
                let port = own_links(host, &LinkKind::Veth).nth(place)?;
                let flags = host.links.get_mut(&port)?.port.as_mut();
                if let Some(flags) = flags {
                    match self {
                        Self::PortLearns => flags.learning = true,
                        Self::PortUnlocked => flags.locked = false,
                        _ => flags.group_fwd_mask = 0,
                    }
                }
                Some([port].into())
            }
            Self::PortMtu => with_mtu(host, &LinkKind::Veth, place),
            Self::StationMissing => {
                let station = *host.stations.iter().nth(place)?;
                host.stations.remove(&station);
                let port = host.links.values().find(|link| link.index == station.0)?;
                Some([port.name.clone()].into())
            }
            Self::ReservationMissing => {
                let port = *host.reserved.iter().nth(place)?;
                host.reserved.remove(&port);
                nothing
            }
            Self::ReservationExtra => {
                let port = Reservation {
                    protocol: Protocol::Udp,
                    address: "192.0.2.9".parse().unwrap(),
                    dual_stack: false,
                    port: Port::new(9).unwrap(),
                };
                host.reserved.insert(port);
                (place == 0).then(BTreeSet::new)
            }
            Self::StrayVeth => {
                let bridge = own_links(host, &LinkKind::Bridge).nth(place)?;
                let master = host.links[&bridge].index;
                let alias = "rootful-net attachment lost of 1000 on rootful0";
                if !host.links.contains_key("rn0123456789") {
                    let link = host.add_link("rn0123456789", LinkKind::Veth, Some(alias));
                    (link.up, link.master) = (true, Some(master));
                }
                Some(["rn0123456789".to_owned()].into())
            }
            Self::StrayBridge => {
                if !host.links.contains_key("old0") {
                    host.add_link("old0", LinkKind::Bridge, Some("rootful-net network old"));
                }
                (place == 0).then(|| ["old0".to_owned()].into())
            }
        }
    }
}

const OWN_TABLES: [TableName; 2] = [TableName::INET, TableName::BRIDGE];

fn own_tables(host: &SimulatedHost) -> impl Iterator<Item = TableName> + use<> {
    let tables: Vec<_> = host.tables.keys().copied().collect();
    tables.into_iter().filter(|name| OWN_TABLES.contains(name))
}

fn own_elements(host: &SimulatedHost) -> impl Iterator<Item = Element> + use<> {
    let tables = host.tables.iter().filter(|(name, _)| OWN_TABLES.contains(name));
    let elements: Vec<_> = tables.flat_map(|(_, table)| table.elements.clone()).collect();
    elements.into_iter()
}

fn contents<'a>(host: &'a mut SimulatedHost, element: &Element) -> Option<&'a mut TableContents> {
    host.tables.get_mut(&element.table)
}

fn own_links(host: &SimulatedHost, kind: &LinkKind) -> impl Iterator<Item = String> + use<> {
    let links = host.links.values().filter(|link| link.kind == *kind);
    let is_own = |alias: &String| alias.starts_with("rootful-net ");
    let own = links.filter(|link| link.alias.as_ref().is_some_and(is_own));
    own.map(|link| link.name.clone()).collect::<Vec<_>>().into_iter()
}

fn with_mtu(host: &mut SimulatedHost, kind: &LinkKind, place: usize) -> Option<BTreeSet<String>> {
    let mut links = own_links(host, kind);
    let link = links.by_ref().filter(|link| host.links[link].mtu != DEFAULT_MTU).nth(place)?;
    host.links.get_mut(&link)?.mtu = 1280;
    Some([link].into())
}
