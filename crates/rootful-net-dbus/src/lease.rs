//! What `ListLeases` answers and `ImportLeases` takes and answers.

use serde::{Deserialize, Serialize};
use zbus::{OwnedVariant, Type};

use rootful_net_core::attachment::Holder;
use rootful_net_core::ledger::{AddressOrigin, Lease, SkippedLease};
use rootful_net_core::name::quoted;

use crate::error::{Error, Result};
use crate::options::{Dictionary, Options};

/// The most leases in one call of `ImportLeases`: as many of the longest as fit into one message.
pub const MAX_IMPORTED_LEASES: usize = 128;
/// The most leases that `ListLeases` answers with.
pub const MAX_LISTED_LEASES: usize = 65_536;

/// A lease as it is exported and imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct LeaseEntry {
    /// The network.
    pub network: String,
    /// The address, without a prefix length.
    pub address: String,
    /// The uid of the user whose container has it.
    pub owner: u32,
    /// The container's name.
    pub name: String,
    /// `derived` or `requested`.
    pub origin: String,
    /// A number that is greater than that of every lease that was used before.
    pub used: u64,
}

/// A lease as it is listed; also the form in which the client prints one as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct LeaseProperties {
    /// The network.
    pub network: String,
    /// The address, without a prefix length.
    pub address: String,
    /// The uid of the user whose container has it.
    pub owner: u32,
    /// The container's name.
    pub name: String,
    /// `derived` or `requested`.
    pub origin: String,
    /// A number that is greater than that of every lease that was used before.
    pub used: u64,
    /// Whether the container is attached with it now.
    pub in_use: bool,
}

/// A lease that was not imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct SkippedLeaseProperties {
    /// The network.
    pub network: String,
    /// The address.
    pub address: String,
    /// The uid.
    pub owner: u32,
    /// The container's name.
    pub name: String,
    /// Why, in words.
    pub reason: String,
}

impl LeaseProperties {
    /// A lease of the service's.
    pub fn new(lease: &Lease, in_use: bool) -> Self {
        Self {
            network: lease.network.to_string(),
            address: lease.address.to_string(),
            owner: lease.holder.owner,
            name: lease.holder.name.to_string(),
            origin: lease.origin.as_str().to_owned(),
            used: lease.used,
            in_use,
        }
    }

    /// What of it is exported.
    pub fn into_entry(self) -> LeaseEntry {
        let Self { network, address, owner, name, origin, used, in_use: _ } = self;
        LeaseEntry { network, address, owner, name, origin, used }
    }
}

impl From<&SkippedLease> for SkippedLeaseProperties {
    fn from(skipped: &SkippedLease) -> Self {
        let lease = &skipped.lease;
        Self {
            network: lease.network.to_string(),
            address: lease.address.to_string(),
            owner: lease.holder.owner,
            name: lease.holder.name.to_string(),
            reason: skipped.problem.to_string(),
        }
    }
}

impl LeaseEntry {
    /// Parses one lease.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with a sentence that says what is accepted.
    pub fn parse(&self) -> Result<Lease> {
        let invalid = |error: &dyn std::fmt::Display| {
            let (name, network) = (quoted(&self.name), quoted(&self.network));
            Error::InvalidArgument(format!("lease of {name} on {network}: {error}"))
        };
        Ok(Lease {
            network: self.network.parse().map_err(|error| invalid(&error))?,
            address: self.address.parse().map_err(|_| {
                invalid(&format!("{} is not an IPv4 or IPv6 address", quoted(&self.address)))
            })?,
            holder: Holder {
                owner: self.owner,
                name: self.name.parse().map_err(|error| invalid(&error))?,
            },
            origin: self.origin.parse::<AddressOrigin>().map_err(|error| invalid(&error))?,
            used: self.used,
        })
    }

    /// Parses the leases of one call.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where there are too many or one is malformed.
    pub fn parse_all(entries: &[Self]) -> Result<Vec<Lease>> {
        if entries.len() > MAX_IMPORTED_LEASES {
            return Err(Error::InvalidArgument(format!(
                "leases has {} elements; accepted are up to {MAX_IMPORTED_LEASES} at a time",
                entries.len()
            )));
        }
        entries.iter().map(Self::parse).collect()
    }
}

/// The options of `ListLeases`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Whose leases; the caller's own where it is missing, for root everybody's. Only root may name another.
    pub owner: Option<u32>,
}

impl LeaseOptions {
    /// The dictionary that says the same.
    pub fn to_dictionary(self) -> Dictionary {
        let owner = self.owner.map(|uid| ("owner".to_owned(), OwnedVariant::from(uid)));
        owner.into_iter().collect()
    }

    /// Reads the dictionary.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unknown option or one of the wrong type.
    pub fn from_wire(options: Dictionary) -> Result<Self> {
        let mut options = Options::new(options);
        let owner = options.take("owner", "u")?;
        options.finish()?;
        Ok(Self { owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> LeaseEntry {
        LeaseEntry {
            network: "rootful0".to_owned(),
            address: "10.87.3.4".to_owned(),
            owner: 1000,
            name: "web".to_owned(),
            origin: "derived".to_owned(),
            used: 7,
        }
    }

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        for origin in ["derived", "requested"] {
            let entry = LeaseEntry { origin: origin.to_owned(), ..entry() };
            let lease = entry.parse().unwrap();
            assert_eq!(LeaseProperties::new(&lease, true).into_entry(), entry);
        }
    }

    #[test]
    fn a_malformed_lease_is_refused_by_name() {
        let cases = [
            (LeaseEntry { network: "a/b".to_owned(), ..entry() }, "lease of \"web\" on \"a/b\": "),
            (
                LeaseEntry { address: "10.87.3.4/16".to_owned(), ..entry() },
                "is not an IPv4 or IPv6",
            ),
            (LeaseEntry { name: String::new(), ..entry() }, "lease of \"\" on \"rootful0\": "),
            (LeaseEntry { origin: "static".to_owned(), ..entry() }, "accepted: derived, requested"),
        ];
        for (entry, expected) in cases {
            let error = entry.parse().unwrap_err().to_string();
            assert!(error.contains(expected), "{entry:?}: {error}");
        }
        let error = LeaseEntry::parse_all(&vec![entry(); 129]).unwrap_err().to_string();
        assert!(error.contains("129 elements; accepted are up to 128"), "{error}");
    }

    #[test]
    fn as_many_of_the_longest_leases_as_are_accepted_fit_into_one_message() {
        let longest = LeaseEntry {
            network: "n".repeat(63),
            address: "fd00:1111:2222:3333:4444:5555:6666:7777".to_owned(),
            owner: u32::MAX,
            name: "c".repeat(128),
            origin: "requested".to_owned(),
            used: u64::MAX,
        };
        assert!(longest.parse().is_ok());
        let context = zbus::wire::serialized::Context::new(zbus::wire::LE, 0);
        let body = zbus::wire::to_bytes(context, &vec![longest; MAX_IMPORTED_LEASES]).unwrap();
        // The service takes 64 KiB with the header.
        assert!(body.len() < 63 << 10, "{}", body.len());
    }
}
