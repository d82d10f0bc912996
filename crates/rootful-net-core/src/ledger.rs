//! What is attached and who holds what: attachments, the host ports they publish and the addresses they
//! lease. It answers questions about that in constant or logarithmic time and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::attachment::{Attachment, AttachmentId, Forward, Holder, NamespaceId};
use crate::mac::MacAddress;
use crate::name::{InterfaceName, NetworkName};
use crate::publish::{HostAddress, Port, Protocol};

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
    leases: Leases,
}

impl Ledger {
    /// A ledger without attachments.
    pub fn new(leases: Leases) -> Self {
        Self { leases, ..Self::default() }
    }

    /// Enters an attachment in the place of one with the same id.
    pub fn insert(&mut self, attachment: Attachment) {
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
                let origin = attachment.origin(network, address);
                self.leases.renew(network, address, attachment.holder(), origin);
            }
            self.members.entry(network.clone()).or_default().insert(id.clone());
        }
        for forward in attachment.forwards() {
            let holders = self.ports.entry((forward.protocol, forward.host_port)).or_default();
            holders.push((forward.host_address, id.clone()));
        }
        self.attachments.insert(id, attachment);
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
        Some(attachment)
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

    /// How many attachments the holder's user has besides this holder's own.
    pub fn count_beside(&self, holder: &Holder) -> u32 {
        let beside = |other: &&Holder| other.owner == holder.owner && *other != holder;
        u32::try_from(self.by_holder.keys().filter(beside).count()).unwrap_or(u32::MAX)
    }

    /// How many attachments the network has.
    pub fn members(&self, network: &NetworkName) -> usize {
        self.members.get(network).map_or(0, BTreeSet::len)
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
                (forward.protocol, forward.host_port, forward.host_address) == (protocol, port, *own)
            })?;
            Some((attachment, forward))
        })
    }

    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }
}

/// Which name has which address, kept after the attachment is gone so that the same name finds the same
/// address again whatever starts first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Lease>", into = "Vec<Lease>")]
pub struct Leases {
    by_address: BTreeMap<(NetworkName, IpAddr), Lease>,
    by_holder: BTreeMap<Holder, BTreeSet<(NetworkName, IpAddr)>>,
    last_use: u64,
}

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressOrigin {
    /// Derived from the container's name; the name gets it again.
    Derived,
    /// Asked for; reserved for the name, which gets it again when it asks for it again.
    Requested,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The network.
    pub network: NetworkName,
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    #[serde(flatten)]
    pub holder: Holder,
    /// Whether the address was derived or asked for.
    pub origin: AddressOrigin,
    /// When it was used last, as a number that grows with every use of any lease.
    pub used: u64,
}

impl Leases {
    /// Enters or renews a lease.
    pub fn renew(
        &mut self,
        network: &NetworkName,
        address: IpAddr,
        holder: Holder,
        origin: AddressOrigin,
    ) {
        self.last_use += 1;
        let network = network.clone();
        self.insert(Lease { network, address, holder, origin, used: self.last_use });
    }

    fn insert(&mut self, lease: Lease) {
        let key = (lease.network.clone(), lease.address);
        self.last_use = self.last_use.max(lease.used);
        self.by_holder.entry(lease.holder.clone()).or_default().insert(key.clone());
        let new_holder = lease.holder.clone();
        let Some(old) = self.by_address.insert(key.clone(), lease) else { return };
        if old.holder != new_holder
            && let Some(addresses) = self.by_holder.get_mut(&old.holder)
        {
            addresses.remove(&key);
            if addresses.is_empty() {
                self.by_holder.remove(&old.holder);
            }
        }
    }

    /// The lease of the address.
    pub fn get(&self, network: &NetworkName, address: IpAddr) -> Option<&Lease> {
        self.by_address.get(&(network.clone(), address))
    }

    /// The leases of one holder.
    pub fn of_holder(&self, holder: &Holder) -> impl Iterator<Item = &Lease> {
        let keys = self.by_holder.get(holder).into_iter().flatten();
        keys.filter_map(|key| self.by_address.get(key))
    }

    /// All leases, by network and address.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_address.values()
    }
}

impl From<Vec<Lease>> for Leases {
    fn from(list: Vec<Lease>) -> Self {
        let mut leases = Self::default();
        list.into_iter().for_each(|lease| leases.insert(lease));
        leases
    }
}

impl From<Leases> for Vec<Lease> {
    fn from(leases: Leases) -> Self {
        leases.by_address.into_values().collect()
    }
}
