use std::collections::BTreeSet;

use expect_test::expect_file;

use super::*;
use crate::attachment::{Attachment, AttachmentId, Holder, Interface, NamespaceId};
use crate::catalogue::Catalogue;
use crate::ledger::{Leases, Ledger};
use crate::name::Alias;
use crate::planner::PlanError;
use crate::request::{AttachRequest, NetworkRequest};

const ALICE: u32 = 1000;
const BOB: u32 = 1001;

/// Networks with what is attached to them, without planner and kernel.
struct Host {
    catalogue: Catalogue,
    ledger: Ledger,
}

impl Host {
    fn new() -> Self {
        let mut catalogue = Catalogue::default();
        for (number, network) in [
            r#""name": "lan", "subnets": [{"subnet": "10.1.0.0/24"}, {"subnet": "fd01::/64"}],
                "ipv6_enabled": true, "dns_enabled": true"#,
            r#""name": "closed", "subnets": [{"subnet": "10.2.0.0/24"}], "internal": true,
                "dns_enabled": true"#,
            r#""name": "nameless", "subnets": [{"subnet": "10.3.0.0/24"}]"#,
            r#""name": "aardvark.pid", "subnets": [{"subnet": "10.4.0.0/24"}], "dns_enabled": true"#,
        ]
        .into_iter()
        .enumerate()
        {
            let text = format!(r#"{{"network_interface": "br{number}", {network}}}"#);
            catalogue.insert(Network::from_json(&text).unwrap()).unwrap();
        }
        Self { catalogue, ledger: Ledger::new(Leases::default()) }
    }

    /// Attaches with addresses that end in `number`, and gives the names of each interface.
    fn attach(
        &mut self,
        (owner, name, number): (u32, &str, u16),
        networks: &[&str],
    ) -> Result<Vec<String>, PlanError> {
        let id = format!("{number:x}").repeat(64)[..64].parse().unwrap();
        let networks: Vec<NetworkRequest> =
            networks.iter().map(|text| text.parse().unwrap()).collect();
        let request =
            AttachRequest::new(name.parse().unwrap(), Some(id), networks, &[], Vec::new());
        let request = request.unwrap();
        let holder = Holder { owner, name: request.name.clone() };
        let mut interfaces = Vec::new();
        for asked in &request.networks {
            let network = self.catalogue.get(&asked.network).unwrap();
            let names = served(&self.ledger, network, &holder, &request, asked)?;
            interfaces.push(interface(network, asked, &names, number));
        }
        let names = |interface: &Interface| {
            interface.names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
        };
        let all = interfaces.iter().map(names).collect();
        self.ledger.insert(Attachment {
            id: AttachmentId::derive(owner, &holder.name, 0),
            owner,
            namespace: NamespaceId { device: 4, inode: number.into() },
            request,
            interfaces,
            forwards: Vec::new(),
        });
        Ok(all)
    }

    fn detach(&mut self, owner: u32, name: &str) {
        let id = AttachmentId::derive(owner, &name.parse().unwrap(), 0);
        self.ledger.remove(&id).unwrap();
    }

    fn records(&self) -> String {
        let records = records(&self.catalogue, &self.ledger);
        records.iter().map(|(name, text)| format!("== {name}\n{text}")).collect()
    }

    fn unserved(&self, owner: u32, name: &str) -> Vec<String> {
        let holder = Holder { owner, name: name.parse().unwrap() };
        let attachment = self.ledger.of_holder(&holder).unwrap();
        unserved(&self.catalogue, attachment)
            .map(|interface| interface.network.to_string())
            .collect()
    }
}

fn interface(
    network: &Network,
    asked: &NetworkRequest,
    names: &BTreeSet<Alias>,
    number: u16,
) -> Interface {
    let addresses = network.subnets().iter().map(|subnet| {
        let address = match subnet.subnet().network() {
            IpAddr::V4(start) => IpAddr::V4((u32::from(start) + u32::from(number)).into()),
            IpAddr::V6(start) => IpAddr::V6((u128::from(start) + u128::from(number)).into()),
        };
        ipnet::IpNet::new(address, subnet.subnet().prefix_len()).unwrap()
    });
    let addresses: Vec<_> = addresses.collect();
    // As it is recorded: what is of no matter here has its default.
    let recorded = serde_json::json!({
        "network": network.name(),
        "veth": {
            "host_link": format!("rn{number}{}", network.interface()),
            "alias": "",
            "bridge": network.interface(),
            "container_link": "eth0",
            "container_mac": format!("02:00:00:00:00:{number:02x}"),
            "mtu": null,
        },
        "setup": {"name": "eth0", "addresses": addresses, "link_local": null, "default_routers": []},
        "aliases": asked.aliases,
        "names": names,
    });
    serde_json::from_value(recorded).unwrap()
}

/// `UPDATE_EXPECT=1 cargo test -p rootful-net-core dns` writes the file.
#[test]
fn records_are_the_golden_ones() {
    let mut host = Host::new();
    host.attach((ALICE, "web", 10), &["lan:alias=www", "closed", "nameless"]).unwrap();
    host.attach((ALICE, "Data.base", 11), &["lan:alias=WWW,alias=store"]).unwrap();
    host.attach((BOB, "web", 12), &["lan"]).unwrap();
    host.attach((BOB, "odd", 13), &["aardvark.pid"]).unwrap();
    expect_file!["../../../../tests/golden/dns-records.txt"].assert_eq(&host.records());
}

#[test]
fn a_line_is_left_for_a_container_without_any_name() {
    let mut host = Host::new();
    host.attach((ALICE, "web", 10), &["lan:alias=bbbbbbbbbbbb"]).unwrap();
    assert_eq!(host.attach((BOB, "web", 11), &["lan"]).unwrap(), [""]);
    let records = host.records();
    let line = records.lines().find(|line| line.contains("10.1.0.11")).unwrap();
    let name = line.rsplit(' ').next().unwrap();
    assert!(name.len() == 64 && name.starts_with("---"), "{line}");
}

#[test]
fn nothing_is_served_where_nothing_is_attached() {
    let mut host = Host::new();
    assert_eq!(host.records(), "");
    host.attach((ALICE, "web", 10), &["lan"]).unwrap();
    host.detach(ALICE, "web");
    assert_eq!(host.records(), "");
}

#[test]
fn a_name_is_the_first_users_until_the_last_of_their_containers_with_it_is_gone() {
    let mut host = Host::new();
    assert_eq!(
        host.attach((ALICE, "db", 10), &["lan:alias=api"]).unwrap(),
        ["aaaaaaaaaaaa api db"]
    );
    assert_eq!(
        host.attach((ALICE, "web", 11), &["lan:alias=api"]).unwrap(),
        ["api bbbbbbbbbbbb web"]
    );
    assert_eq!(host.attach((BOB, "web", 12), &["lan"]).unwrap(), ["cccccccccccc"]);
    assert_eq!(host.unserved(BOB, "web"), ["lan"]);
    assert!(host.unserved(ALICE, "web").is_empty());
    for asked in ["lan:alias=api", "lan:alias=DB", "lan:alias=web"] {
        let error = host.attach((BOB, "shop", 13), &[asked]).unwrap_err();
        assert!(error.to_string().contains("belongs to a container of another user"), "{error}");
    }
    host.detach(ALICE, "db");
    host.attach((BOB, "shop", 13), &["lan:alias=api"]).unwrap_err();
    host.detach(ALICE, "web");
    assert_eq!(
        host.attach((BOB, "shop", 13), &["lan:alias=api"]).unwrap(),
        ["api dddddddddddd shop"]
    );
    host.attach((ALICE, "late", 14), &["lan:alias=api"]).unwrap_err();
}

#[test]
fn a_name_on_one_network_is_free_on_another() {
    let mut host = Host::new();
    host.attach((ALICE, "web", 10), &["lan"]).unwrap();
    assert_eq!(
        host.attach((BOB, "web", 11), &["closed", "lan"]).unwrap(),
        ["bbbbbbbbbbbb web", "bbbbbbbbbbbb"]
    );
    assert_eq!(host.unserved(BOB, "web"), ["lan"]);
}

#[test]
fn a_name_with_a_dot_is_not_served_and_not_accepted_as_an_alias() {
    let mut host = Host::new();
    assert_eq!(host.attach((ALICE, "bank.example", 10), &["lan"]).unwrap(), ["aaaaaaaaaaaa"]);
    assert_eq!(host.unserved(ALICE, "bank.example"), ["lan"]);
    let error = host.attach((ALICE, "x", 11), &["lan:alias=bank.example"]).unwrap_err();
    assert!(matches!(error, PlanError::AliasDotted { .. }), "{error}");
    host.attach((ALICE, "x", 11), &["nameless:alias=bank.example"]).unwrap();
}

#[test]
fn a_network_without_dns_has_no_names_and_no_servers() {
    let mut host = Host::new();
    let networks = ["nameless:alias=www", "aardvark.pid"];
    assert_eq!(host.attach((ALICE, "web", 10), &networks).unwrap(), ["", ""]);
    assert!(host.unserved(ALICE, "web").is_empty());
    let servers = |name: &str| -> Vec<String> {
        let network = host.catalogue.get(&name.parse().unwrap()).unwrap();
        name_servers(network).map(|server| server.to_string()).collect()
    };
    assert_eq!(servers("lan"), ["10.1.0.1", "fd01::1"]);
    assert!(servers("nameless").is_empty() && servers("aardvark.pid").is_empty());
}
