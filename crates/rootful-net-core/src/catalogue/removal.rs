//! Which networks can be removed.

use super::{Catalogue, DEFAULT_NETWORK};
use crate::ledger::Ledger;
use crate::name::NetworkName;

/// How many containers are named that keep a network.
const NAMED: usize = 5;

/// Says why a network is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is none.
    #[error("network \"{network}\" does not exist; see 'rootful-net network ls'")]
    Unknown {
        /// The name.
        network: NetworkName,
    },
    /// It is made again wherever it is missing.
    #[error(
        "network \"{network}\" is the default network, which the service makes whenever it is missing; a file /etc/rootful-net/networks/{network}.json can stand in its place"
    )]
    Default {
        /// The name.
        network: NetworkName,
    },
    /// Containers are attached to it.
    #[error("network \"{network}\" is in use by {users}; tear them down first")]
    InUse {
        /// The name.
        network: NetworkName,
        /// Some of the containers, with their owners, and how many more there are.
        users: String,
    },
}

/// Whether the network can be removed, wherever it is defined.
///
/// # Errors
/// It is not there, it is the default network, or containers are attached to it.
pub fn check_removal(
    catalogue: &Catalogue,
    ledger: &Ledger,
    name: &NetworkName,
) -> Result<(), RemoveError> {
    let network = name.clone();
    if catalogue.get(name).is_none() {
        return Err(RemoveError::Unknown { network });
    }
    if name.as_str() == DEFAULT_NETWORK {
        return Err(RemoveError::Default { network });
    }
    let mut users: Vec<String> = ledger
        .attachments_on(name)
        .take(NAMED)
        .map(|attachment| format!("\"{}\" of user {}", attachment.name(), attachment.owner()))
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    if let Some(more @ 1..) = ledger.members(name).checked_sub(NAMED) {
        users.push(format!("{more} more"));
    }
    Err(RemoveError::InUse { network, users: users.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Holder;
    use crate::ledger::{AddressOrigin, Leases};
    use crate::network::Network;

    #[test]
    fn what_is_not_there_or_would_come_back_is_not_removed() {
        let mut catalogue = Catalogue::default();
        for (name, subnet) in [(DEFAULT_NETWORK, "10.87.0.0/16"), ("lab", "10.1.0.0/24")] {
            let text = format!(
                r#"{{"name": "{name}", "network_interface": "{name}", "subnets": [{{"subnet": "{subnet}"}}]}}"#
            );
            catalogue.insert(Network::from_json(&text).unwrap()).unwrap();
        }
        let ledger = Ledger::default();
        let check = |name: &str| {
            let checked = check_removal(&catalogue, &ledger, &name.parse().unwrap());
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check("lab"), Ok(()));
        for (name, expected) in
            [(DEFAULT_NETWORK, "is the default network"), ("none", "does not exist")]
        {
            let error = check(name).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn leases_of_a_network_go_and_others_stay() {
        let names: [NetworkName; 2] = ["lab", "other"].map(|name| name.parse().unwrap());
        let mut leases = Leases::default();
        for (owner, name) in [(1, "a"), (2, "b")] {
            let holder = Holder { owner, name: name.parse().unwrap() };
            for (network, third) in names.iter().zip([1, 2]) {
                let address = format!("10.{third}.0.{}", owner + 1).parse().unwrap();
                leases.renew(network, address, holder.clone(), AddressOrigin::Derived);
            }
        }
        let mut ledger = Ledger::new(leases);
        let revision = ledger.leases().revision();
        assert_eq!(ledger.give_up_leases(&names[0]), 2);
        assert_ne!(ledger.leases().revision(), revision);
        assert_eq!(ledger.leases().iter().filter(|lease| lease.network == names[1]).count(), 2);
        assert_eq!((ledger.leases().iter().count(), ledger.give_up_leases(&names[0])), (2, 0));
    }
}
