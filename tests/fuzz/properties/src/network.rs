//! Network files: what is read is written and read back the same, and no address is derived that a naive
//! reading of the subnet does not have.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::net::IpAddr;

use rootful_net_core::catalogue::{self, Catalogue};
use rootful_net_core::derivation::{AddressKey, Subject, candidates};
use rootful_net_core::name::ContainerName;
use rootful_net_core::network::{Draft, MAX_SUBNETS, Network, Subnet};
use rootful_net_core::observed::Observed;

use crate::message::check_message;

/// Subnets with so few addresses are walked to the end.
const SMALL: u128 = 300;

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    check_draft(text);
    let network = match Network::from_json(text) {
        Ok(network) => network,
        Err(error) => {
            check_message(&error);
            // What serde_json says of a value can be as long as the value.
            let said = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(!said.contains(char::is_control), "{said:?}");
            return;
        }
    };
    let written = network.to_json();
    let reread = Network::from_json(&written).expect("what was written is read");
    assert_eq!(reread, network);
    assert_eq!(reread.to_json(), written);
    assert!((1..=MAX_SUBNETS).contains(&network.subnets().len()));
    for (index, subnet) in network.subnets().iter().enumerate() {
        let (first, last) = ends(subnet);
        let apart = network.subnets()[..index].iter().map(ends);
        apart.for_each(|(other_first, other_last)| {
            assert!(last < other_first || other_last < first, "{subnet:?} overlaps");
        });
        check_derived(&network, subnet);
    }
}

/// What a network is made of on request can leave out more, and what is made is read again.
fn check_draft(text: &str) {
    let draft = match Draft::from_json(text) {
        Ok(draft) => draft,
        Err(error) => {
            check_message(&error);
            assert!(Network::from_json(text).is_err(), "a network that is no draft of one");
            return;
        }
    };
    let key = AddressKey::from_bytes([7; AddressKey::BYTES]);
    match catalogue::create(&Catalogue::default(), &key, draft.clone(), &Observed::default()) {
        Ok(network) => {
            let written = network.to_json();
            assert_eq!(Network::from_json(&written).expect("what was made is read"), network);
            let same = draft.interface().is_none_or(|interface| interface == network.interface());
            assert!(same && draft.name() == network.name(), "{written}");
            if let Ok(given) = Network::from_json(text) {
                assert_eq!(given, network, "a network that is whole is made as it is");
            }
        }
        Err(error) => check_message(&error),
    }
}

fn check_derived(network: &Network, subnet: &Subnet) {
    let container: ContainerName = "web".parse().expect("a name");
    let key = AddressKey::from_bytes([7; AddressKey::BYTES]);
    let subject = Subject { network: network.name(), owner: 1000, container: &container };
    let leasable = naive_leasable(subnet);
    let derived = candidates(&key, &subject, subnet, network.derivation());
    let mut seen = BTreeSet::new();
    for address in derived.take(usize::try_from(SMALL).expect("a few")) {
        assert!(is_leasable(subnet, address), "{address} is derived in {subnet:?}");
        assert!(subnet.is_usable(address), "{address} is derived and not usable in {subnet:?}");
        assert!(seen.insert(address), "{address} is derived twice in {subnet:?}");
    }
    let expected = usize::try_from(leasable.min(SMALL)).expect("a few");
    assert_eq!(seen.len(), expected, "{subnet:?}");
    assert!(leasable > 0, "{subnet:?} has nothing to lease");
}

/// The first and the last address, reserved ones included, as numbers.
fn ends(subnet: &Subnet) -> (u128, u128) {
    let prefix = subnet.subnet();
    let first = number(prefix.addr());
    let size = 1_u128 << (prefix.max_prefix_len() - prefix.prefix_len());
    (family(prefix.addr()) | first, family(prefix.addr()) | (first + (size - 1)))
}

/// Keeps the families apart: no subnet in question has IPv6 addresses of so high a number.
fn family(address: IpAddr) -> u128 {
    if address.is_ipv4() { 0xffff << 112 } else { 0 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The addresses between which all that can be leased are, the gateway among them.
fn lease_ends(subnet: &Subnet) -> (u128, u128) {
    let (first, last) = ends(subnet);
    let family = family(subnet.gateway());
    let last = if subnet.gateway().is_ipv4() { last - 1 } else { last };
    match subnet.lease_range() {
        None => (first + 1, last),
        Some(range) => (
            (family | number(range.start())).max(first + 1),
            (family | number(range.end())).min(last),
        ),
    }
}

fn is_leasable(subnet: &Subnet, address: IpAddr) -> bool {
    let (first, last) = lease_ends(subnet);
    let own = family(address) | number(address);
    (first..=last).contains(&own) && address != subnet.gateway()
}

fn naive_leasable(subnet: &Subnet) -> u128 {
    let (first, last) = lease_ends(subnet);
    let gateway =
        u128::from((first..=last).contains(&(family(subnet.gateway()) | number(subnet.gateway()))));
    (last + 1).saturating_sub(first).saturating_sub(gateway)
}
