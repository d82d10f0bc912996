//! Which name has which address. Leases outlast their attachments; who has an address now is the ledger's
//! business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::attachment::Holder;
use crate::name::{NetworkName, quoted};

/// Which name has which address, kept after the attachment is gone so that the same name finds the same
/// address again whatever starts first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<Lease>")]
pub struct Leases {
    by_address: BTreeMap<(NetworkName, IpAddr), Lease>,
    by_holder: BTreeMap<Holder, BTreeSet<(NetworkName, IpAddr)>>,
    /// How many each user has.
    counts: BTreeMap<u32, usize>,
    last_use: u64,
    revision: u64,
}

impl PartialEq for Leases {
    fn eq(&self, other: &Self) -> bool {
        (&self.by_address, self.last_use) == (&other.by_address, other.last_use)
    }
}

impl Eq for Leases {}

impl Serialize for Leases {
    /// As the list of leases.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressOrigin {
    /// Derived from the container's name; the name gets it again.
    Derived,
    /// Asked for; kept from other users, and the name gets it again when it asks for it again.
    Requested,
}

impl AddressOrigin {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Derived => "derived",
            Self::Requested => "requested",
        }
    }
}

/// Says that a text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("origin {found} is unknown (accepted: derived, requested)")]
pub struct UnknownOrigin {
    found: String,
}

impl FromStr for AddressOrigin {
    type Err = UnknownOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "derived" => Ok(Self::Derived),
            "requested" => Ok(Self::Requested),
            other => Err(UnknownOrigin { found: quoted(other) }),
        }
    }
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
        // What is read from disk can have any number.
        self.last_use = self.last_use.saturating_add(1);
        let network = network.clone();
        self.insert(Lease { network, address, holder, origin, used: self.last_use });
    }

    fn insert(&mut self, lease: Lease) {
        let key = (lease.network.clone(), lease.address);
        self.last_use = self.last_use.max(lease.used);
        let present = self.by_address.get(&key);
        let is_same =
            present.is_some_and(|own| (&own.holder, own.origin) == (&lease.holder, lease.origin));
        if !is_same {
            self.revision += 1;
        }
        if present.is_none_or(|present| present.holder != lease.holder) {
            self.remove(&key);
            self.by_holder.entry(lease.holder.clone()).or_default().insert(key.clone());
            *self.counts.entry(lease.holder.owner).or_default() += 1;
        }
        self.by_address.insert(key, lease);
    }

    fn remove(&mut self, key: &(NetworkName, IpAddr)) {
        let Some(lease) = self.by_address.remove(key) else { return };
        self.revision += 1;
        if let Some(addresses) = self.by_holder.get_mut(&lease.holder) {
            addresses.remove(key);
            if addresses.is_empty() {
                self.by_holder.remove(&lease.holder);
            }
        }
        let owner = lease.holder.owner;
        if let Some(count) = self.counts.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&owner);
            }
        }
    }

    /// A number that is another one after each change but of when a lease was used.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many leases one user has.
    pub(super) fn count_of(&self, owner: u32) -> usize {
        self.counts.get(&owner).copied().unwrap_or_default()
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

    /// The leases of one user's containers.
    pub(super) fn of_owner(&self, owner: u32) -> impl Iterator<Item = &Lease> {
        let name = "0".parse().expect("a digit is the least of all names");
        let holders = self.by_holder.range(Holder { owner, name }..);
        let keys = holders.take_while(move |(holder, _)| holder.owner == owner);
        let keys = keys.flat_map(|(_, keys)| keys);
        keys.filter_map(|key| self.by_address.get(key))
    }

    pub(super) fn give_up(&mut self, network: &NetworkName, address: IpAddr) {
        self.remove(&(network.clone(), address));
    }

    /// Gives up all leases of addresses of the network, and says how many there were.
    pub(super) fn give_up_all(&mut self, network: &NetworkName) -> usize {
        let keys = self.by_address.keys().filter(|(own, _)| own == network);
        let keys: Vec<_> = keys.cloned().collect();
        keys.iter().for_each(|key| self.remove(key));
        keys.len()
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
