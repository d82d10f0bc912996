//! Policy files: what a file allows one user is what a naive reading of its TOML allows.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rootful_net_core::policy::{Caller, Consent, Decision, Group, Policy, Usage, authorize};
use rootful_net_core::request::AttachRequest;
use toml::{Table, Value};

const FILE_NAME: &str = "50-test.toml";
const NETWORKS: [&str; 2] = ["rootful0", "app-web"];
const PORTS: [u16; 4] = [80, 1023, 1024, 65535];
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];
/// As in a publish argument; the empty one is all addresses.
const ADDRESSES: [&str; 4] = ["", "0.0.0.0", "192.0.2.7", "2001:db8::7"];

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let mut policy = Policy::default();
    if policy.add_file(FILE_NAME, text).is_err() {
        assert_eq!(policy, Policy::default(), "a bad file adds something");
        return;
    }
    let file: Table = text.parse().expect("it was read");
    let alice = alice();
    let grants: Vec<&Table> = grants(&file).filter(|grant| is_for_alice(grant)).collect();
    for network in NETWORKS {
        let asks = Asks { network, forward: None };
        check_request(&policy, &alice, &grants, &file, asks);
        for port in PORTS {
            for protocol in PROTOCOLS {
                for address in ADDRESSES {
                    let forward = Some((address, port, protocol));
                    check_request(&policy, &alice, &grants, &file, Asks { network, forward });
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Asks {
    network: &'static str,
    forward: Option<(&'static str, u16, &'static str)>,
}

impl Asks {
    fn request(self) -> AttachRequest {
        let publish = self.forward.map(|(address, port, protocol)| match address {
            "" => format!("{port}:80/{protocol}"),
            ipv6 if ipv6.contains(':') => format!("[{ipv6}]:{port}:80/{protocol}"),
            ipv4 => format!("{ipv4}:{port}:80/{protocol}"),
        });
        let publish: Vec<_> = publish.iter().map(|text| text.parse().expect("valid")).collect();
        let network = self.network.parse().expect("valid");
        let name = "web".parse().expect("a name");
        AttachRequest::new(name, None, vec![network], &publish, Vec::new()).expect("valid")
    }
}

fn check_request(policy: &Policy, alice: &Caller, grants: &[&Table], file: &Table, asks: Asks) {
    let decide =
        |consent| authorize(policy, alice, alice.uid, Usage::default(), asks.request(), consent);
    let by_any = allows(grants.iter().copied(), asks);
    let by_grant_alone = allows(grants.iter().copied().filter(|grant| !asks_polkit(grant)), asks);
    // Limits can only take away; they have tests of their own.
    let limited =
        file.contains_key("limits") || grants.iter().any(|grant| grant.contains_key("quota"));
    match decide(Consent::Given) {
        Ok(Decision::Allowed(authorized)) => {
            assert!(by_any, "{asks:?} is allowed");
            assert!(authorized.sources().iter().all(|source| source.starts_with(FILE_NAME)));
        }
        Ok(Decision::AskPolkit(_)) => panic!("polkit is asked again about {asks:?}"),
        Err(_) => assert!(!by_any || limited, "{asks:?} is denied"),
    }
    match decide(Consent::NotAsked) {
        Ok(Decision::Allowed(_)) => assert!(by_grant_alone, "{asks:?} is allowed without polkit"),
        Ok(Decision::AskPolkit(sources)) => {
            assert!(by_any && !sources.is_empty(), "polkit is asked about {asks:?}");
            assert!(!by_grant_alone || limited, "polkit is asked in vain about {asks:?}");
        }
        Err(_) => assert!(!by_any || limited, "{asks:?} is denied"),
    }
}

fn alice() -> Caller {
    let group = |gid, name: &str| Group { gid, name: Some(name.to_owned()) };
    let groups = vec![group(100, "users"), group(990, "rootful-net")];
    Caller { uid: 1000, user_name: Some("alice".to_owned()), groups }
}

fn is_for_alice(grant: &Table) -> bool {
    let named = |key: &str, ids: &[i64], names: &[&str]| {
        list(grant, key).any(|value| match value {
            Value::Integer(id) => ids.contains(id),
            Value::String(name) => names.contains(&name.as_str()),
            _ => false,
        })
    };
    named("users", &[1000], &["alice"]) || named("groups", &[100, 990], &["users", "rootful-net"])
}

fn asks_polkit(grant: &Table) -> bool {
    grant.get("authorize").and_then(Value::as_str) == Some("polkit")
}

/// Whether one grant has the network, and one the network, the port and the address.
fn allows<'a>(grants: impl Iterator<Item = &'a Table>, asks: Asks) -> bool {
    let on_network: Vec<_> = grants.filter(|grant| has_network(grant, asks.network)).collect();
    match asks.forward {
        None => !on_network.is_empty(),
        Some((address, port, protocol)) => on_network
            .iter()
            .any(|grant| has_port(grant, protocol, port) && has_address(grant, address)),
    }
}

fn has_network(grant: &Table, network: &str) -> bool {
    texts(grant, "networks").any(|pattern| glob(pattern.as_bytes(), network.as_bytes()))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // What several stars in a row match is what one does; this keeps the recursion short.
    match (pattern, text) {
        ([b'*', b'*', ..], _) => glob(&pattern[1..], text),
        ([b'*'], _) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        ([first, rest @ ..], [own, others @ ..]) => first == own && glob(rest, others),
        (_, _) => pattern.is_empty() && text.is_empty(),
    }
}

fn has_port(grant: &Table, protocol: &str, port: u16) -> bool {
    let Some(ports) = grant.get("ports").and_then(Value::as_table) else {
        return false;
    };
    texts(ports, protocol).any(|span| {
        let ends: Vec<u16> = span.split('-').map(|end| end.parse().expect("a port")).collect();
        (ends[0]..=ends[ends.len() - 1]).contains(&port)
    })
}

fn has_address(grant: &Table, address: &str) -> bool {
    texts(grant, "host_addresses").any(|pattern| match (pattern, address) {
        ("*", _) => true,
        (_, "") => false,
        (pattern, address) => {
            let alone = || IpNet::from(pattern.parse::<IpAddr>().expect("an address or a prefix"));
            let prefix = pattern.parse().unwrap_or_else(|_| alone());
            let length = u32::from(prefix.prefix_len());
            match (prefix.addr(), address.parse().expect("an address")) {
                // All addresses of the family are not only those in some prefix of it.
                (IpAddr::V4(_), IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => length == 0,
                (IpAddr::V4(prefix), IpAddr::V4(address)) => {
                    same_bits(prefix.to_bits().into(), address.to_bits().into(), length, 32)
                }
                (IpAddr::V6(prefix), IpAddr::V6(address)) => {
                    same_bits(prefix.to_bits(), address.to_bits(), length, 128)
                }
                (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
            }
        }
    })
}

fn same_bits(one: u128, other: u128, length: u32, bits: u32) -> bool {
    (0..length).all(|index| (one ^ other) >> (bits - 1 - index) & 1 == 0)
}

fn grants(file: &Table) -> impl Iterator<Item = &Table> {
    list(file, "grant").filter_map(Value::as_table)
}

fn list<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Value> {
    table.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn texts<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a str> {
    list(table, key).filter_map(Value::as_str)
}
