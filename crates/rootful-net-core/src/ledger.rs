//! What is attached and who holds what: attachments, the host ports they publish and the addresses they
//! lease. It answers questions about that in constant or logarithmic time and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::attachment::{Attachment, AttachmentId, Forward, Holder, NamespaceId};
use crate::mac::MacAddress;
use crate::name::{Alias, InterfaceName, NetworkName};
use crate::policy::{Amounts, Usage};
use crate::publish::{HostAddress, Port, Protocol};

mod import;
mod leases;

pub use import::{LeaseProblem, SkippedLease};
pub use leases::{AddressOrigin, Lease, Leases, UnknownOrigin};

/// The most leases of one user that outlast their attachments: eight for each container of a user who has as
/// many as the shipped policy grants.
const MAX_IDLE_LEASES_PER_USER: usize = 1024;
/// How many are given up at a time, so that they need not be sorted every time.
const LEASES_GIVEN_UP: usize = 64;

/// All attachments, indexed by what they hold, and all leases.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    attachments: BTreeMap<AttachmentId, Attachment>,
    by_holder: BTreeMap<Holder, AttachmentId>,
    by_namespace: BTreeMap<NamespaceId, AttachmentId>,
    by_host_link: BTreeMap<InterfaceName, AttachmentId>,
    addresses: BTreeMap<(NetworkName, IpAddr), AttachmentId>,
    macs: BTreeMap<(NetworkName, MacAddress), AttachmentId>,
    ports: BTreeMap<(Protocol, Port), Vec<(HostAddress, AttachmentId)>>,
    members: BTreeMap<NetworkName, BTreeSet<AttachmentId>>,
    names: BTreeMap<(NetworkName, Alias), BTreeSet<AttachmentId>>,
    held: BTreeMap<u32, Amounts>,
    held_in_all: Amounts,
    /// How many addresses each user's attachments have.
    addresses_held: BTreeMap<u32, usize>,
    leases: Leases,
}

impl Ledger {
    /// A ledger without attachments.
    pub fn new(leases: Leases) -> Self {
        Self { leases, ..Self::default() }
    }

    /// Enters an attachment in the place of one with the same id; its leases are the ones used last.
    pub fn insert(&mut self, attachment: Attachment) {
        let holder = attachment.holder();
        for interface in attachment.interfaces() {
            for address in interface.addresses() {
                let origin = attachment.origin(&interface.network, address);
                self.leases.renew(&interface.network, address, holder.clone(), origin);
            }
        }
        self.resume(attachment);
    }

    /// Enters an attachment that was there before this ledger: only leases that are missing, or somebody else's, are
    /// entered.
    pub fn resume(&mut self, attachment: Attachment) {
        let id = attachment.id().clone();
        self.remove(&id);
        self.by_holder.insert(attachment.holder(), id.clone());
        self.by_namespace.insert(attachment.namespace(), id.clone());
        for interface in attachment.interfaces() {
            let network = &interface.network;
            self.by_host_link.insert(interface.veth.host_link.clone(), id.clone());
            self.macs.insert((network.clone(), interface.mac()), id.clone());
            for address in interface.addresses() {
                self.addresses.insert((network.clone(), address), id.clone());
                let holder = attachment.holder();
                let lease = self.leases.get(network, address);
                if lease.is_none_or(|lease| lease.holder != holder) {
                    let origin = attachment.origin(network, address);
                    self.leases.renew(network, address, holder, origin);
                }
            }
            self.members.entry(network.clone()).or_default().insert(id.clone());
            for name in &interface.names {
                let key = (network.clone(), name.clone());
                self.names.entry(key).or_default().insert(id.clone());
            }
        }
        for forward in attachment.forwards() {
            let holders = self.ports.entry((forward.protocol, forward.host_port)).or_default();
            holders.push((forward.host_address, id.clone()));
        }
        let amounts = Amounts::from(&attachment);
        *self.held.entry(attachment.owner()).or_default() += amounts;
        self.held_in_all += amounts;
        let owner = attachment.owner();
        *self.addresses_held.entry(owner).or_default() += addresses_of(&attachment);
        self.attachments.insert(id, attachment);
        self.bound_leases(owner);
    }

    /// Strikes an attachment out; its leases stay.
    pub fn remove(&mut self, id: &AttachmentId) -> Option<Attachment> {
        let attachment = self.attachments.remove(id)?;
        self.by_holder.remove(&attachment.holder());
        self.by_namespace.remove(&attachment.namespace());
        for interface in attachment.interfaces() {
            let network = &interface.network;
            self.by_host_link.remove(&interface.veth.host_link);
            self.macs.remove(&(network.clone(), interface.mac()));
            for address in interface.addresses() {
                self.addresses.remove(&(network.clone(), address));
            }
            if let Some(members) = self.members.get_mut(network) {
                members.remove(id);
                if members.is_empty() {
                    self.members.remove(network);
                }
            }
            for name in &interface.names {
                let key = (network.clone(), name.clone());
                if let Some(holders) = self.names.get_mut(&key) {
                    holders.remove(id);
                    if holders.is_empty() {
                        self.names.remove(&key);
                    }
                }
            }
        }
        for forward in attachment.forwards() {
            let key = (forward.protocol, forward.host_port);
            if let Some(holders) = self.ports.get_mut(&key) {
                holders.retain(|(_, holder)| holder != id);
                if holders.is_empty() {
                    self.ports.remove(&key);
                }
            }
        }
        let amounts = Amounts::from(&attachment);
        self.held_in_all -= amounts;
        if let Some(held) = self.held.get_mut(&attachment.owner()) {
            *held -= amounts;
            if *held == Amounts::default() {
                self.held.remove(&attachment.owner());
            }
        }
        if let Some(held) = self.addresses_held.get_mut(&attachment.owner()) {
            *held -= addresses_of(&attachment);
            if *held == 0 {
                self.addresses_held.remove(&attachment.owner());
            }
        }
        Some(attachment)
    }

    /// Gives up the leases of a user that were not used for longest, where there are too many: names cost
    /// nothing, and every lease takes memory and a place on disk.
    fn bound_leases(&mut self, owner: u32) {
        let Some(too_many) = self.idle_leases(owner).checked_sub(MAX_IDLE_LEASES_PER_USER + 1)
        else {
            return;
        };
        let leases = self.leases.of_owner(owner);
        let mut idle: Vec<_> = leases
            .filter(|lease| self.address_user(&lease.network, lease.address).is_none())
            .map(|lease| (lease.used, lease.network.clone(), lease.address))
            .collect();
        idle.sort();
        for (_, network, address) in idle.into_iter().take(too_many + LEASES_GIVEN_UP) {
            self.leases.give_up(&network, address);
        }
    }

    /// Gives up the leases of a network that nothing is attached to, and says how many there were: who comes to a
    /// network that is made later under this name is not bound by them.
    pub fn give_up_leases(&mut self, network: &NetworkName) -> usize {
        self.leases.give_up_all(network)
    }

    /// How many leases of the user have no attachment.
    fn idle_leases(&self, owner: u32) -> usize {
        let held = self.addresses_held.get(&owner).copied().unwrap_or_default();
        self.leases.count_of(owner).saturating_sub(held)
    }

    /// The attachment with this id.
    pub fn get(&self, id: &AttachmentId) -> Option<&Attachment> {
        self.attachments.get(id)
    }

    /// The attachment of this owner and name.
    pub fn of_holder(&self, holder: &Holder) -> Option<&Attachment> {
        self.get(self.by_holder.get(holder)?)
    }

    /// The attachment of this namespace.
    pub fn of_namespace(&self, namespace: NamespaceId) -> Option<&Attachment> {
        self.get(self.by_namespace.get(&namespace)?)
    }

    /// The attachment that has this link as its host end.
    pub fn of_host_link(&self, link: &str) -> Option<&Attachment> {
        self.get(self.by_host_link.get(link)?)
    }

    /// All attachments by id.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.values()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.attachments.is_empty()
    }

    /// What the holder's user and all users have besides this holder's own.
    pub fn usage_beside(&self, holder: &Holder) -> Usage {
        let by_owner = self.held.get(&holder.owner).copied().unwrap_or_default();
        let mut usage = Usage { by_owner, in_all: self.held_in_all };
        if let Some(own) = self.of_holder(holder) {
            usage.by_owner -= Amounts::from(own);
            usage.in_all -= Amounts::from(own);
        }
        usage
    }

    /// What all users have together.
    pub fn in_use(&self) -> Amounts {
        self.held_in_all
    }

    /// How many attachments the network has.
    pub fn members(&self, network: &NetworkName) -> usize {
        self.members.get(network).map_or(0, BTreeSet::len)
    }

    /// The attachments of the network, by id.
    pub fn attachments_on(&self, network: &NetworkName) -> impl Iterator<Item = &Attachment> {
        let ids = self.members.get(network).into_iter().flatten();
        ids.filter_map(|id| self.get(id))
    }

    /// The user whose containers have the name on the network.
    pub fn name_owner(&self, network: &NetworkName, name: &Alias) -> Option<u32> {
        // A name is one user's: any of the holders says whose.
        let holders = self.names.get(&(network.clone(), name.clone()))?;
        self.get(holders.first()?).map(Attachment::owner)
    }

    /// The networks that have attachments.
    pub fn networks(&self) -> impl Iterator<Item = &NetworkName> {
        self.members.keys()
    }

    /// Who has the address on the network now.
    pub fn address_user(&self, network: &NetworkName, address: IpAddr) -> Option<&Attachment> {
        self.get(self.addresses.get(&(network.clone(), address))?)
    }

    /// Who has the MAC address on the network now.
    pub fn mac_user(&self, network: &NetworkName, mac: MacAddress) -> Option<&Attachment> {
        self.get(self.macs.get(&(network.clone(), mac))?)
    }

    /// Who publishes the port on an address that `address` overlaps with.
    pub fn port_user(
        &self,
        protocol: Protocol,
        address: HostAddress,
        port: Port,
    ) -> impl Iterator<Item = (&Attachment, &Forward)> {
        let holders = self.ports.get(&(protocol, port)).into_iter().flatten();
        let overlapping = holders.filter(move |(own, _)| own.overlaps(address));
        overlapping.filter_map(move |(own, id)| {
            let attachment = self.get(id)?;
            let forward = attachment.forwards().iter().find(|forward| {
                (forward.protocol, forward.host_port, forward.host_address)
                    == (protocol, port, *own)
            })?;
            Some((attachment, forward))
        })
    }

    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }
}

fn addresses_of(attachment: &Attachment) -> usize {
    attachment.interfaces().iter().map(|interface| interface.addresses().count()).sum()
}
