//! The vectors of docs/addressing.md, and that every address is visited.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;

use super::*;

const GOLDEN: &str = include_str!("../../../../tests/golden/addressing.json");
const PAGE: &str = include_str!("../../../../docs/addressing.md");

#[derive(Deserialize)]
struct Golden {
    key: String,
    addresses: Vec<AddressVector>,
    macs: Vec<MacVector>,
    ports: Vec<PortVector>,
}

#[derive(Deserialize)]
struct AddressVector {
    derivation: String,
    network: NetworkName,
    owner: u32,
    container: ContainerName,
    subnet: String,
    gateway: String,
    lease_range: Option<[String; 2]>,
    addresses: Vec<IpAddr>,
}

#[derive(Deserialize)]
struct MacVector {
    network: NetworkName,
    owner: u32,
    container: ContainerName,
    macs: Vec<MacAddress>,
    link_local: Ipv6Addr,
}

#[derive(Deserialize)]
struct PortVector {
    network: NetworkName,
    owner: u32,
    container: ContainerName,
    protocol: Protocol,
    container_port: Port,
    ports: Vec<Port>,
}

fn golden() -> (Golden, AddressKey) {
    let golden: Golden = serde_json::from_str(GOLDEN).expect("the golden file is readable");
    let bytes: Vec<u8> = (0..golden.key.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&golden.key[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    let key = AddressKey::try_from(bytes.as_slice()).expect("32 bytes");
    (golden, key)
}

fn words<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// The page has the vector as a line of a table.
fn assert_documented(cells: &[String]) {
    let line = format!("\n| {} |\n", cells.join(" | "));
    assert!(PAGE.contains(&line), "docs/addressing.md lacks {line}");
}

/// How many lines the table of the page that starts with `head` has.
fn documented_rows(head: &str) -> usize {
    let (_, table) = PAGE.split_once(head).expect("the page has the table");
    table.lines().skip(2).take_while(|line| line.starts_with('|')).count()
}

#[test]
fn addresses_are_those_of_the_frozen_vectors() {
    let (golden, key) = golden();
    for vector in &golden.addresses {
        let lease_range = vector.lease_range.as_ref();
        let subnet = Subnet::parse(
            &vector.subnet,
            Some(&vector.gateway),
            lease_range.map(|[start, end]| (Some(start.as_str()), Some(end.as_str()))),
        )
        .expect("valid");
        let subject =
            Subject { network: &vector.network, owner: vector.owner, container: &vector.container };
        let derivation = vector.derivation.parse().expect("known");
        let found: Vec<_> = candidates(&key, &subject, &subnet, derivation).take(4).collect();
        assert_eq!(found, vector.addresses, "{} {subject:?}", vector.subnet);
        assert_documented(&[
            vector.derivation.clone(),
            vector.network.to_string(),
            vector.owner.to_string(),
            vector.container.to_string(),
            vector.subnet.clone(),
            vector.gateway.clone(),
            lease_range.map_or_else(|| "none".into(), |ends| ends.join("-")),
            words(&vector.addresses),
        ]);
    }
    assert_eq!(documented_rows("| derivation | network "), golden.addresses.len());
}

#[test]
fn mac_and_link_local_addresses_are_those_of_the_frozen_vectors() {
    let (golden, key) = golden();
    for vector in &golden.macs {
        let subject =
            Subject { network: &vector.network, owner: vector.owner, container: &vector.container };
        let found: Vec<_> = mac_candidates(&key, &subject).take(4).collect();
        assert_eq!(found, vector.macs, "{subject:?}");
        assert_eq!(mac_address(&key, &subject), vector.macs[0]);
        assert_eq!(link_local(vector.macs[0]), vector.link_local);
        assert_documented(&[
            vector.network.to_string(),
            vector.owner.to_string(),
            vector.container.to_string(),
            words(&vector.macs),
            vector.link_local.to_string(),
        ]);
    }
    assert_eq!(documented_rows("| network | owner | container | first MAC "), golden.macs.len());
}

#[test]
fn ports_are_those_of_the_frozen_vectors() {
    let (golden, key) = golden();
    for vector in &golden.ports {
        let subject =
            Subject { network: &vector.network, owner: vector.owner, container: &vector.container };
        let (protocol, port) = (vector.protocol, vector.container_port);
        let found: Vec<_> = port_candidates(&key, &subject, protocol, port).take(4).collect();
        assert_eq!(found, vector.ports, "{subject:?}");
        assert_eq!(port_start(&key, &subject, protocol, port), vector.ports[0]);
        assert_documented(&[
            vector.network.to_string(),
            vector.owner.to_string(),
            vector.container.to_string(),
            format!("{port}/{protocol}"),
            words(&vector.ports),
        ]);
    }
    assert_eq!(
        documented_rows("| network | owner | container | container port "),
        golden.ports.len()
    );
}

/// Checks, for a handful of containers and both derivations, that the candidates are the usable addresses
/// that lie in the lease range, each once.
fn assert_all_visited(subnet: &Subnet) {
    let key = AddressKey::from_bytes([7; 32]);
    let network: NetworkName = "lab".parse().expect("valid");
    let in_range = |address: IpAddr| {
        subnet.lease_range().is_none_or(|range| (range.start()..=range.end()).contains(&address))
    };
    let addresses: Vec<IpAddr> = match subnet.subnet() {
        IpNet::V4(net) => (net.network().to_bits()..=net.broadcast().to_bits())
            .map(|bits| std::net::Ipv4Addr::from_bits(bits).into())
            .collect(),
        IpNet::V6(net) => (net.network().to_bits()..=net.broadcast().to_bits())
            .map(|bits| Ipv6Addr::from_bits(bits).into())
            .collect(),
    };
    let expected: BTreeSet<_> = addresses
        .into_iter()
        .filter(|address| subnet.is_usable(*address) && in_range(*address))
        .collect();
    for name in ["web", "db", "a", "b"] {
        let container: ContainerName = name.parse().expect("valid");
        let subject = Subject { network: &network, owner: 1000, container: &container };
        for derivation in Derivation::ALL {
            let found: Vec<_> = candidates(&key, &subject, subnet, derivation).collect();
            assert_eq!(found.len(), expected.len(), "{subnet:?} {derivation}");
            assert!(expected.iter().eq(&found.into_iter().collect::<BTreeSet<_>>()), "{subnet:?}");
        }
    }
}

#[test]
fn every_usable_address_of_small_subnets_is_visited_once() {
    for length in 24..=30 {
        assert_all_visited(
            &Subnet::parse(&format!("10.1.2.0/{length}"), None, None).expect("valid"),
        );
    }
    for length in 120..=126 {
        assert_all_visited(
            &Subnet::parse(&format!("fd00::7:0/{length}"), None, None).expect("valid"),
        );
    }
}

#[test]
fn every_usable_address_is_visited_wherever_the_gateway_is() {
    for host in 1..=6 {
        let gateway = format!("10.1.2.{host}");
        assert_all_visited(&Subnet::parse("10.1.2.0/29", Some(&gateway), None).expect("valid"));
    }
    for host in 1..=7 {
        let gateway = format!("fd00::{host}");
        assert_all_visited(&Subnet::parse("fd00::/125", Some(&gateway), None).expect("valid"));
    }
}

#[test]
fn every_usable_address_of_every_lease_range_is_visited_once() {
    for start in 0..32 {
        for end in start..32 {
            let v4 = (format!("10.1.2.{start}"), format!("10.1.2.{end}"));
            let v6 = (format!("fd00::{start:x}"), format!("fd00::{end:x}"));
            for (subnet, gateway, (start, end)) in
                [("10.1.2.0/27", "10.1.2.9", v4), ("fd00::/123", "fd00::9", v6)]
            {
                let range = (Some(start.as_str()), Some(end.as_str()));
                // A range of nothing but the gateway or the network address is refused.
                if let Ok(subnet) = Subnet::parse(subnet, Some(gateway), Some(range)) {
                    assert_all_visited(&subnet);
                }
            }
        }
    }
}

#[test]
fn a_small_lease_range_in_a_large_subnet_takes_no_search() {
    let key = AddressKey::from_bytes([7; 32]);
    let network: NetworkName = "lab".parse().expect("valid");
    let container: ContainerName = "web".parse().expect("valid");
    let subject = Subject { network: &network, owner: 1000, container: &container };
    let cases = [
        ("10.0.0.0/8", "10.200.0.7", "10.200.0.9", 3),
        ("fd00::/48", "fd00::8000:0:0:0:0", "fd00::8000:0:0:0:1", 2),
        ("fd00::/64", "fd00::ffff:ffff:ffff:fffe", "fd00::ffff:ffff:ffff:ffff", 2),
    ];
    for (subnet, start, end, count) in cases {
        let subnet = Subnet::parse(subnet, None, Some((Some(start), Some(end)))).expect("valid");
        for derivation in Derivation::ALL {
            let found: BTreeSet<_> = candidates(&key, &subject, &subnet, derivation).collect();
            assert_eq!(found.len(), count, "{subnet:?} {derivation}");
        }
    }
}

#[test]
fn the_largest_subnets_are_walked_without_overflow() {
    let key = AddressKey::from_bytes([0xff; 32]);
    let network: NetworkName = "lab".parse().expect("valid");
    let container: ContainerName = "web".parse().expect("valid");
    let subject = Subject { network: &network, owner: u32::MAX, container: &container };
    for text in ["10.0.0.0/8", "fd00:ffff:ffff::/48", "fd00::/64"] {
        let subnet = Subnet::parse(text, None, None).expect("valid");
        for derivation in Derivation::ALL {
            let found: Vec<_> =
                candidates(&key, &subject, &subnet, derivation).take(10_000).collect();
            assert!(found.iter().all(|address| subnet.is_usable(*address)), "{text}");
            assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 10_000, "{text}");
        }
    }
}

#[test]
fn keys_of_another_length_are_refused() {
    for length in [0, 31, 33, 64] {
        let error = AddressKey::try_from(vec![0; length].as_slice()).err().expect("refused");
        assert!(error.to_string().starts_with(&format!("the address key has {length} bytes (")));
    }
}

#[test]
fn derivations_print_what_parses_to_them() {
    for derivation in Derivation::ALL {
        assert_eq!(derivation.to_string().parse(), Ok(derivation));
    }
    let message = "MD5\n".parse::<Derivation>().expect_err("unknown").to_string();
    assert!(
        message.starts_with("address derivation \"MD5\\n\" is unknown (accepted: hmac-sha512, ")
    );
}
