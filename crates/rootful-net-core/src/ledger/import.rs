//! Taking over leases from elsewhere: a backup, or another host. Nobody who has an address or a lease here
//! loses it.

use crate::attachment::{Attachment, Holder};
use crate::catalogue::Catalogue;

use super::{AddressOrigin, Lease, Ledger, MAX_IDLE_LEASES_PER_USER};

/// A lease that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedLease {
    /// The lease.
    pub lease: Lease,
    /// Why.
    pub problem: LeaseProblem,
}

/// Says why a lease is not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseProblem {
    /// The network is not there.
    #[error("there is no such network")]
    UnknownNetwork,
    /// The network has other subnets.
    #[error("the address is in no subnet of the network")]
    Outside,
    /// No container can have the address.
    #[error("the address is the gateway, or the first or last one of its subnet")]
    Reserved,
    /// A container has the address now.
    #[error("the address is in use: {holder} has it")]
    InUse {
        /// Whose it is.
        holder: Holder,
    },
    /// The address is kept for another name.
    #[error("the address is kept for {holder}")]
    Leased {
        /// Whose it is.
        holder: Holder,
    },
    /// The user's leases are as many as are kept.
    #[error(
        "the user has {MAX_IDLE_LEASES_PER_USER} leases without a container, and no more are kept"
    )]
    TooMany,
}

impl Ledger {
    /// Takes leases over as the most recent ones, in the order in which they were used; answers with those
    /// that it does not take over. Only a lease of the same holder gives way.
    pub fn import(
        &mut self,
        catalogue: &Catalogue,
        leases: impl IntoIterator<Item = Lease>,
    ) -> Vec<SkippedLease> {
        let mut leases: Vec<Lease> = leases.into_iter().collect();
        leases.sort_by(|one, other| {
            let key = |lease: &Lease| (lease.used, lease.network.clone(), lease.address);
            key(one).cmp(&key(other))
        });
        let mut skipped = Vec::new();
        for lease in leases {
            match self.importable(catalogue, &lease) {
                Ok(origin) => {
                    self.leases.renew(&lease.network, lease.address, lease.holder, origin);
                }
                Err(problem) => skipped.push(SkippedLease { lease, problem }),
            }
        }
        skipped
    }

    /// The origin that the lease will have, where it can be taken over.
    fn importable(
        &self,
        catalogue: &Catalogue,
        lease: &Lease,
    ) -> Result<AddressOrigin, LeaseProblem> {
        let Lease { network, address, holder, origin, used: _ } = lease;
        let definition = catalogue.get(network).ok_or(LeaseProblem::UnknownNetwork)?;
        let mut subnets = definition.subnets().iter();
        let subnet = subnets.find(|subnet| subnet.subnet().contains(address));
        if !subnet.ok_or(LeaseProblem::Outside)?.is_usable(*address) {
            return Err(LeaseProblem::Reserved);
        }
        let user = self.address_user(network, *address).map(Attachment::holder);
        if let Some(holder) = user.filter(|user| user != holder) {
            return Err(LeaseProblem::InUse { holder });
        }
        match self.leases.get(network, *address) {
            Some(other) if other.holder != *holder => {
                Err(LeaseProblem::Leased { holder: other.holder.clone() })
            }
            // What is attached knows best where its address came from.
            Some(own) if self.address_user(network, *address).is_some() => Ok(own.origin),
            Some(_) => Ok(*origin),
            None if self.idle_leases(holder.owner) >= MAX_IDLE_LEASES_PER_USER => {
                Err(LeaseProblem::TooMany)
            }
            None => Ok(*origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Leases;
    use crate::network::Network;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        let text = r#"{"name": "lab", "network_interface": "br-lab", "ipv6_enabled": true,
            "subnets": [{"subnet": "10.9.0.0/20"}, {"subnet": "fd00:9::/64"}]}"#;
        catalogue.insert(Network::from_json(text).unwrap()).unwrap();
        catalogue
    }

    fn lease(network: &str, address: &str, owner: u32, name: &str, used: u64) -> Lease {
        Lease {
            network: network.parse().unwrap(),
            address: address.parse().unwrap(),
            holder: Holder { owner, name: name.parse().unwrap() },
            origin: AddressOrigin::Derived,
            used,
        }
    }

    /// `web` of user 1000 on the network `lab` with this address, asked for.
    fn attachment(address: &str) -> Attachment {
        serde_json::from_value(serde_json::json!({
            "id": "0123456789",
            "owner": 1000,
            "namespace": {"device": 4, "inode": 4_026_532_000_u64},
            "request": {
                "name": "web", "container_id": null, "forwards": [], "dns": [],
                "networks": [{
                    "network": "lab", "addresses": [address], "mac": null, "aliases": [],
                    "interface_name": null,
                }],
            },
            "interfaces": [{
                "network": "lab",
                "veth": {
                    "host_link": "rn0123456789", "host_mac": "02:00:00:00:00:01",
                    "container_link": "eth0", "container_mac": "02:00:00:00:00:02",
                    "mtu": null, "bridge": "br-lab", "alias": "a",
                },
                "setup": {
                    "name": "eth0", "addresses": [format!("{address}/20")], "link_local": null,
                    "default_routers": [],
                },
                "aliases": [],
            }],
            "forwards": [],
        }))
        .unwrap()
    }

    fn order_of_use(leases: &Leases) -> Vec<String> {
        let mut list: Vec<_> = leases.iter().collect();
        list.sort_by_key(|lease| lease.used);
        list.iter().map(|lease| format!("{} {}", lease.holder.name, lease.address)).collect()
    }

    #[test]
    fn leases_are_taken_over_as_the_most_recent_in_their_order_of_use() {
        let own =
            [lease("lab", "10.9.0.5", 1000, "old", 70), lease("lab", "10.9.0.6", 1000, "web", 90)];
        let mut ledger = Ledger::new(Leases::from(own.to_vec()));
        let imported = [
            lease("lab", "10.9.0.9", 1001, "web", 3),
            lease("lab", "fd00:9::7", 1000, "db", 1),
            lease("lab", "10.9.0.5", 1000, "old", 2),
        ];
        assert_eq!(ledger.import(&catalogue(), imported), []);
        assert_eq!(
            order_of_use(ledger.leases()),
            ["web 10.9.0.6", "db fd00:9::7", "old 10.9.0.5", "web 10.9.0.9"]
        );
    }

    #[test]
    fn what_cannot_be_taken_over_is_skipped_with_the_reason() {
        let kept = lease("lab", "10.9.0.8", 1000, "db", 5);
        let mut ledger = Ledger::new(Leases::from(vec![kept.clone()]));
        ledger.insert(attachment("10.9.0.7"));
        let before = ledger.leases().clone();
        let in_use = "the address is in use: \"web\" of user 1000 has it";
        let cases = [
            (lease("other", "10.9.0.9", 1000, "web", 1), "there is no such network"),
            (lease("lab", "10.9.16.1", 1000, "web", 1), "in no subnet"),
            (lease("lab", "fd00:9:0:1::1", 1000, "web", 1), "in no subnet"),
            (lease("lab", "10.9.0.0", 1000, "web", 1), "first or last"),
            (lease("lab", "10.9.15.255", 1000, "web", 1), "first or last"),
            (lease("lab", "10.9.0.1", 1000, "web", 1), "is the gateway"),
            (lease("lab", "fd00:9::", 1000, "web", 1), "first or last"),
            (lease("lab", "fd00:9::1", 1000, "web", 1), "is the gateway"),
            (lease("lab", "10.9.0.7", 1001, "web", 1), in_use),
            (lease("lab", "10.9.0.7", 1000, "db", 1), in_use),
            (lease("lab", "10.9.0.8", 1001, "db", 1), "kept for \"db\" of user 1000"),
            (lease("lab", "10.9.0.8", 1000, "web", 1), "kept for \"db\" of user 1000"),
        ];
        for (lease, expected) in cases {
            let skipped = ledger.import(&catalogue(), [lease.clone()]);
            let [SkippedLease { lease: skipped, problem }] = &skipped[..] else {
                panic!("{lease:?}: {skipped:?}")
            };
            assert_eq!(*skipped, lease);
            assert!(problem.to_string().contains(expected), "{lease:?}: {problem}");
        }
        assert_eq!(*ledger.leases(), before);
    }

    #[test]
    fn of_two_holders_of_one_address_the_first_has_it() {
        let mut ledger = Ledger::default();
        let (first, second) =
            (lease("lab", "10.9.0.7", 1000, "web", 4), lease("lab", "10.9.0.7", 1001, "web", 5));
        let skipped = ledger.import(&catalogue(), [second.clone(), first.clone()]);
        let problem = LeaseProblem::Leased { holder: first.holder };
        assert_eq!(skipped, [SkippedLease { lease: second, problem }]);
    }

    #[test]
    fn what_is_attached_keeps_the_origin_of_its_address() {
        let mut ledger = Ledger::default();
        ledger.insert(attachment("10.9.0.7"));
        assert_eq!(ledger.import(&catalogue(), [lease("lab", "10.9.0.7", 1000, "web", 9)]), []);
        let lease = ledger.leases().iter().next().unwrap();
        assert_eq!((lease.origin, lease.used), (AddressOrigin::Requested, 2));
    }

    /// From 10.9.1.0 on, by use.
    fn leases(owner: u32) -> impl Iterator<Item = Lease> {
        (0..1030_u32).map(move |number| {
            let [.., high, low] = (number + 256).to_be_bytes();
            let address = format!("10.9.{high}.{low}");
            lease("lab", &address, owner, &format!("c{number}"), number.into())
        })
    }

    #[test]
    fn only_leases_without_a_container_are_too_many_and_those_not_used_for_longest_go() {
        let mut ledger = Ledger::default();
        ledger.import(&catalogue(), leases(1000));
        let count = |ledger: &Ledger| ledger.leases().iter().count();
        ledger.insert(attachment("10.9.0.7"));
        assert_eq!((count(&ledger), ledger.idle_leases(1000)), (1025, 1024));
        // The same name at another address leaves one more without a container.
        ledger.insert(attachment("10.9.0.8"));
        assert_eq!((count(&ledger), ledger.idle_leases(1000)), (1025 + 1 - 64, 1024 + 1 - 64));
        let left = order_of_use(ledger.leases());
        assert_eq!(left.first().map(String::as_str), Some("c64 10.9.1.64"));
        assert_eq!(left[left.len() - 2..], ["web 10.9.0.7", "web 10.9.0.8"]);
        ledger.remove(&"0123456789".parse().unwrap());
        assert_eq!(ledger.idle_leases(1000), count(&ledger));
    }

    #[test]
    fn a_use_is_no_revision_and_everything_else_is() {
        let mut ledger = Ledger::default();
        let mut seen = vec![ledger.leases().revision()];
        let mut is_new = |ledger: &Ledger| {
            let revision = ledger.leases().revision();
            let is_new = !seen.contains(&revision);
            seen.push(revision);
            is_new
        };
        ledger.insert(attachment("10.9.0.7"));
        assert!(is_new(&ledger));
        ledger.remove(&"0123456789".parse().unwrap());
        ledger.insert(attachment("10.9.0.7"));
        assert!(!is_new(&ledger));
        let (network, address) = ("lab".parse().unwrap(), "10.9.0.7".parse().unwrap());
        let holder = Holder { owner: 1000, name: "web".parse().unwrap() };
        ledger.leases.renew(&network, address, holder.clone(), AddressOrigin::Derived);
        assert!(is_new(&ledger));
        ledger.leases.renew(&network, address, holder.clone(), AddressOrigin::Derived);
        assert!(!is_new(&ledger));
        let other = Holder { owner: 1001, ..holder };
        ledger.leases.renew(&network, address, other, AddressOrigin::Derived);
        assert!(is_new(&ledger));
        ledger.leases.give_up(&network, address);
        assert!(is_new(&ledger));
    }

    #[test]
    fn a_user_gets_no_more_leases_than_are_kept() {
        let mut ledger = Ledger::default();
        let skipped = ledger.import(&catalogue(), leases(1000));
        assert_eq!(ledger.leases().iter().count(), 1024);
        assert!(skipped.iter().all(|skipped| skipped.problem == LeaseProblem::TooMany));
        let numbers: Vec<_> = skipped.iter().map(|skipped| skipped.lease.used).collect();
        assert_eq!(numbers, (1024..1030).collect::<Vec<_>>());
        // What is there already can be renewed, and another user has room.
        assert_eq!(ledger.import(&catalogue(), leases(1000).take(3)), []);
        assert_eq!(ledger.import(&catalogue(), [lease("lab", "10.9.9.9", 1001, "web", 1)]), []);
    }
}
