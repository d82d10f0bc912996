//! A host's network without a kernel: links, addresses, tables, kernel parameters, and containers' namespaces. It takes
//! steps and refuses them as the kernel crate does; what it holds can be looked at, and damaged, from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use rootful_net_core::attachment::NamespaceId;
use rootful_net_core::link::{Bridge, InterfaceSetup, Veth, with_link_local};
use rootful_net_core::mac::MacAddress;
use rootful_net_core::name::InterfaceName;
use rootful_net_core::observed::{Link, LinkKind, Observed, Query, Sysctl, TableContents};
use rootful_net_core::plan::Step;
use rootful_net_core::publish::Reservation;
use rootful_net_core::ruleset::{Change, Element, TableName, Transaction};

pub(crate) const DEFAULT_MTU: u32 = 1500;

/// A host. Indexes of links are given anew when they are free, which is more often than in a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SimulatedHost {
    pub(crate) links: BTreeMap<String, Link>,
    pub(crate) addresses: BTreeMap<String, BTreeSet<IpNet>>,
    pub(crate) stations: BTreeSet<(u32, MacAddress)>,
    pub(crate) tables: BTreeMap<TableName, TableContents>,
    pub(crate) reserved: BTreeSet<Reservation>,
    pub(crate) sysctls: BTreeMap<Sysctl, String>,
    pub(crate) namespaces: BTreeMap<NamespaceId, BTreeMap<String, ContainerEnd>>,
    /// The names of links that are gone, in order: what the kernel tells whoever listens.
    pub(crate) removed: Vec<String>,
}

/// The container's end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerEnd {
    /// The index of the host end.
    pub(crate) peer: u32,
    pub(crate) mac: MacAddress,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) addresses: BTreeSet<IpNet>,
    pub(crate) routers: Vec<IpAddr>,
}

/// Why a step was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

/// A step failed, and those before it were taken back as far as `undo_failures` does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) refused: Refused,
    pub(crate) undo_failures: Vec<Refused>,
}

fn refused<T>(reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(reason.into()))
}

impl SimulatedHost {
    /// Carries out steps as `Kernel::carry_out` does.
    pub(crate) fn carry_out(
        &mut self,
        steps: &[Step],
        namespace: Option<NamespaceId>,
    ) -> Result<(), Failed> {
        self.carry_out_refusing(steps, namespace, None)
    }

    /// Carries out steps, and refuses the one at `position`.
    pub(crate) fn carry_out_refusing(
        &mut self,
        steps: &[Step],
        namespace: Option<NamespaceId>,
        position: Option<usize>,
    ) -> Result<(), Failed> {
        for (done, step) in steps.iter().enumerate() {
            let outcome = match position == Some(done) {
                true => refused("out of memory"),
                false => self.apply(step, namespace),
            };
            if let Err(refused) = outcome {
                let undo = steps[..done].iter().rev().flat_map(Step::undo);
                let undo_failures = undo.filter_map(|step| self.apply(&step, namespace).err());
                return Err(Failed { refused, undo_failures: undo_failures.collect() });
            }
        }
        Ok(())
    }

    /// Carries out one step as `Kernel::apply` does.
    pub(crate) fn apply(
        &mut self,
        step: &Step,
        namespace: Option<NamespaceId>,
    ) -> Result<(), Refused> {
        match step {
            Step::SetSysctl { sysctl, value } => match self.sysctls.get_mut(sysctl) {
                Some(present) => {
                    present.clone_from(value);
                    Ok(())
                }
                None => refused(format!("there is no {sysctl}")),
            },
            Step::CreateBridge(bridge) => self.create_bridge(bridge),
            Step::RepairBridge(bridge) => self.configure_bridge(bridge),
            Step::CreateVeth(veth) => self.create_veth(veth, namespace),
            Step::DeleteLink(link) => {
                self.delete_link(link.as_str());
                Ok(())
            }
            Step::Unplug { veth, setup: _ } => {
                self.delete_link(veth.host_link.as_str());
                Ok(())
            }
            Step::SetUpInterface(setup) => self.set_up(setup, namespace),
            Step::BringUp(link) => {
                self.link(link)?.up = true;
                Ok(())
            }
            Step::PlugIn(veth) => self.plug_in(veth),
            Step::ClaimPorts(ports) => match ports.iter().find(|port| self.is_in_the_way(port)) {
                Some(port) => refused(format!("{port} is in use")),
                None => {
                    self.reserved.extend(ports);
                    Ok(())
                }
            },
            Step::ReservePorts(ports) => {
                for port in ports {
                    if !self.is_in_the_way(port) {
                        self.reserved.insert(*port);
                    }
                }
                Ok(())
            }
            Step::ReleasePorts(ports) => {
                self.reserved.retain(|port| !ports.contains(port));
                Ok(())
            }
            Step::ChangeRules(transaction) => self.change_rules(transaction),
            Step::ForgetFlows(_) | Step::ForgetNeighbours { .. } => Ok(()),
        }
    }

    /// Looks at what `query` asks for as `Kernel::observe` does.
    pub(crate) fn observe(&self, query: &Query, namespace: Option<NamespaceId>) -> Observed {
        let is_asked_for = |link: &Link| {
            let is_own = link.name.starts_with("rn") || link.kind == LinkKind::Bridge;
            query.own_links && is_own || query.links.iter().any(|name| name.as_str() == link.name)
        };
        let links = self.links.iter().filter(|(_, link)| is_asked_for(link));
        let addresses = self.addresses.iter();
        let addresses = addresses
            .filter(|(name, _)| query.addresses.iter().any(|asked| asked.as_str() == *name));
        let ours = |name: &TableName| [TableName::INET, TableName::BRIDGE].contains(name);
        let tables = self.tables.iter().filter(|(name, _)| ours(name));
        let accepting = self.links.keys().filter_map(|name| name.parse().ok());
        let accepting = accepting.filter(|name| self.sysctl(&accept_ra(name)) == Some("1"));
        Observed {
            links: links.map(|(name, link)| (name.clone(), link.clone())).collect(),
            tables: when(query.tables, tables.clone().map(|(name, _)| *name)),
            ruleset: when(query.ruleset, tables.map(|(name, contents)| (*name, contents.clone()))),
            addresses: addresses
                .map(|(name, addresses)| (name.clone(), addresses.iter().copied().collect()))
                .collect(),
            stations: when(query.stations, self.stations.iter().copied()),
            reserved: self.reserved.clone(),
            sysctls: query
                .sysctls
                .iter()
                .filter_map(|name| Some((name.clone(), self.sysctl(name)?.to_owned())))
                .collect(),
            links_accepting_ra: when(query.router_advertisements, accepting),
            namespace_links: namespace.map(|id| self.links_inside(id)).unwrap_or_default(),
            ..Observed::default()
        }
    }

    fn links_inside(&self, namespace: NamespaceId) -> Vec<Link> {
        let link = |index, name: &str, kind, up| Link {
            index,
            name: name.to_owned(),
            kind,
            alias: None,
            master: None,
            up,
            mac: None,
            mtu: DEFAULT_MTU,
            port: None,
        };
        let ends = self.namespaces.get(&namespace).into_iter().flatten();
        let ends = (2..).zip(ends);
        let ends = ends.map(|(index, (name, end))| link(index, name, LinkKind::Veth, end.up));
        [link(1, "lo", LinkKind::Loopback, false)].into_iter().chain(ends).collect()
    }

    pub(crate) fn sysctl(&self, sysctl: &Sysctl) -> Option<&str> {
        self.sysctls.get(sysctl).map(String::as_str)
    }

    /// Adds a link with the kernel parameters that every link has.
    pub(crate) fn add_link(
        &mut self,
        name: &str,
        kind: LinkKind,
        alias: Option<&str>,
    ) -> &mut Link {
        let taken: BTreeSet<u32> = self.links.values().map(|link| link.index).collect();
        let index = (2..).find(|index| !taken.contains(index)).expect("the numbers do not end");
        let interface: InterfaceName = name.parse().unwrap();
        self.sysctls.insert(route_localnet(&interface), "0".to_owned());
        self.sysctls.insert(accept_ra(&interface), "1".to_owned());
        let link = Link {
            index,
            name: name.to_owned(),
            kind,
            alias: alias.map(str::to_owned),
            master: None,
            up: false,
            mac: None,
            mtu: DEFAULT_MTU,
            port: None,
        };
        self.links.insert(name.to_owned(), link);
        self.links.get_mut(name).expect("it was inserted")
    }

    /// Removes a link: a bridge frees its ports, a pair goes with both ends.
    pub(crate) fn delete_link(&mut self, name: &str) {
        let Some(link) = self.links.remove(name) else { return };
        self.addresses.remove(name);
        let interface: InterfaceName = name.parse().unwrap();
        self.sysctls.remove(&route_localnet(&interface));
        self.sysctls.remove(&accept_ra(&interface));
        let ports: Vec<String> = self
            .links
            .values()
            .filter(|port| port.master == Some(link.index))
            .map(|port| port.name.clone())
            .collect();
        ports.iter().for_each(|port| self.unplug(port));
        self.stations.retain(|(port, _)| *port != link.index);
        for inside in self.namespaces.values_mut() {
            inside.retain(|_, end| end.peer != link.index);
        }
        self.removed.push(name.to_owned());
    }

    /// Takes a link off its bridge.
    pub(crate) fn unplug(&mut self, name: &str) {
        let Some(link) = self.links.get_mut(name) else { return };
        (link.master, link.port) = (None, None);
        let index = link.index;
        self.stations.retain(|(port, _)| *port != index);
    }

    /// Takes a link down, which costs it its IPv6 addresses.
    pub(crate) fn take_down(&mut self, name: &str) {
        let Some(link) = self.links.get_mut(name) else { return };
        link.up = false;
        if let Some(addresses) = self.addresses.get_mut(name) {
            addresses.retain(|address| matches!(address, IpNet::V4(_)));
        }
    }

    /// Ends a namespace, and with it the links that lead there.
    pub(crate) fn end(&mut self, namespace: NamespaceId) {
        let Some(inside) = self.namespaces.remove(&namespace) else { return };
        let peers: BTreeSet<u32> = inside.values().map(|end| end.peer).collect();
        let host_ends = self.links.values().filter(|link| peers.contains(&link.index));
        let host_ends: Vec<String> = host_ends.map(|link| link.name.clone()).collect();
        host_ends.iter().for_each(|link| self.delete_link(link));
    }

    fn link(&mut self, name: &InterfaceName) -> Result<&mut Link, Refused> {
        match self.links.get_mut(name.as_str()) {
            Some(link) => Ok(link),
            None => refused(format!("there is no link named {name}")),
        }
    }

    fn create_bridge(&mut self, bridge: &Bridge) -> Result<(), Refused> {
        let name = bridge.name.as_str();
        if self.links.contains_key(name) {
            return refused(format!("a link named {name} exists already"));
        }
        self.add_link(name, LinkKind::Bridge, None);
        self.configure_bridge(bridge)
    }

    fn configure_bridge(&mut self, bridge: &Bridge) -> Result<(), Refused> {
        let link = self.link(&bridge.name)?;
        link.alias = Some(bridge.alias.clone());
        link.mac = Some(bridge.mac);
        link.up = true;
        if let Some(mtu) = bridge.mtu {
            link.mtu = mtu.into();
        }
        let addresses = self.addresses.entry(bridge.name.to_string()).or_default();
        addresses.extend(bridge.all_addresses());
        Ok(())
    }

    fn create_veth(&mut self, veth: &Veth, id: Option<NamespaceId>) -> Result<(), Refused> {
        let Some(id) = id.filter(|id| self.namespaces.contains_key(id)) else {
            return refused("the step needs the container's network namespace");
        };
        self.bridge_index(&veth.bridge)?;
        if self.links.contains_key(veth.host_link.as_str()) {
            return refused(format!("a link named {} exists already", veth.host_link));
        }
        if self.namespaces[&id].contains_key(veth.container_link.as_str()) {
            return refused(format!("the container has a {} already", veth.container_link));
        }
        let link = self.add_link(veth.host_link.as_str(), LinkKind::Veth, None);
        let mtu = veth.mtu.map_or(DEFAULT_MTU, u32::from);
        link.mtu = mtu;
        let end = ContainerEnd {
            peer: link.index,
            mac: veth.container_mac,
            mtu,
            up: false,
            addresses: BTreeSet::new(),
            routers: Vec::new(),
        };
        let inside = self.namespaces.get_mut(&id).expect("it was there above");
        inside.insert(veth.container_link.to_string(), end);
        self.plug_in(veth)
    }

    fn bridge_index(&mut self, name: &InterfaceName) -> Result<u32, Refused> {
        let bridge = self.link(name)?;
        match bridge.kind {
            LinkKind::Bridge => Ok(bridge.index),
            _ => refused(format!("{name} is no bridge")),
        }
    }

    fn plug_in(&mut self, veth: &Veth) -> Result<(), Refused> {
        let bridge = self.bridge_index(&veth.bridge)?;
        if self.link(&veth.host_link)?.master != Some(bridge) {
            self.unplug(veth.host_link.as_str());
        }
        let link = self.link(&veth.host_link)?;
        link.up = false;
        link.master = Some(bridge);
        link.port = Some(veth.port_flags());
        link.alias = Some(veth.alias.clone());
        if let Some(mtu) = veth.mtu {
            link.mtu = mtu.into();
        }
        let station = (link.index, veth.container_mac);
        self.stations.insert(station);
        Ok(())
    }

    fn set_up(&mut self, setup: &InterfaceSetup, id: Option<NamespaceId>) -> Result<(), Refused> {
        let Some(inside) = id.and_then(|id| self.namespaces.get_mut(&id)) else {
            return refused("the step needs the container's network namespace");
        };
        let mut routers = inside.values().flat_map(|end| &end.routers);
        let is_routed = routers.any(|other| {
            setup.default_routers.iter().any(|router| router.is_ipv4() == other.is_ipv4())
        });
        if is_routed {
            return refused(format!("cannot give {} a default route: File exists", setup.name));
        }
        let Some(end) = inside.get_mut(setup.name.as_str()) else {
            return refused(format!("there is no link named {} in the container", setup.name));
        };
        for address in with_link_local(&setup.addresses, setup.link_local) {
            if !end.addresses.insert(address) {
                return refused(format!("{} has {address} already", setup.name));
            }
        }
        end.up = true;
        end.routers.clone_from(&setup.default_routers);
        Ok(())
    }

    fn is_in_the_way(&self, port: &Reservation) -> bool {
        self.reserved.iter().any(|other| other != port && other.overlaps(port))
    }

    fn change_rules(&mut self, transaction: &Transaction) -> Result<(), Refused> {
        let mut tables = self.tables.clone();
        for change in transaction.changes() {
            match change {
                Change::ReplaceTable(table) => {
                    let empty = TableContents { intact: true, elements: BTreeSet::new() };
                    tables.insert(table.name, empty);
                }
                Change::DeleteTable(name) => {
                    if tables.remove(name).is_none() {
                        return refused(format!("there is no table {name}"));
                    }
                }
                Change::AddElement(element) => {
                    let elements = elements(&mut tables, element)?;
                    if elements.iter().any(|present| is_same_key(present, element)) {
                        return refused(format!("{element:?} is there already"));
                    }
                    elements.insert(element.clone());
                }
                Change::DeleteElement(element) => {
                    let elements = elements(&mut tables, element)?;
                    let present = elements.iter().find(|present| is_same_key(present, element));
                    let Some(present) = present.cloned() else {
                        return refused(format!("there is no {element:?}"));
                    };
                    elements.remove(&present);
                }
            }
        }
        self.tables = tables;
        Ok(())
    }
}

fn elements<'a>(
    tables: &'a mut BTreeMap<TableName, TableContents>,
    element: &Element,
) -> Result<&'a mut BTreeSet<Element>, Refused> {
    match tables.get_mut(&element.table) {
        Some(contents) => Ok(&mut contents.elements),
        None => refused(format!("there is no table {}", element.table)),
    }
}

/// Sets find elements by their key alone.
pub(crate) fn is_same_key(one: &Element, other: &Element) -> bool {
    (one.table, one.set, &one.key) == (other.table, other.set, &other.key)
}

pub(crate) fn accept_ra(link: &InterfaceName) -> Sysctl {
    Sysctl::ipv6_link(link, "accept_ra")
}

pub(crate) fn route_localnet(link: &InterfaceName) -> Sysctl {
    Sysctl::ipv4_link(link, "route_localnet")
}

fn when<T, C: FromIterator<T>>(asked: bool, items: impl Iterator<Item = T>) -> C {
    items.filter(|_| asked).collect()
}
