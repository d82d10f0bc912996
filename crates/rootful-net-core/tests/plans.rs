//! What the planner makes of requests, as golden files in `tests/golden/plans`. After a change that is meant,
//! `UPDATE_EXPECT=1 cargo test -p rootful-net-core` writes them anew; review the difference.

#![allow(clippy::unwrap_used, reason = "a test that fails by a panic has done its work")]

use std::collections::BTreeSet;

use expect_test::expect_file;
use rootful_net_core::attachment::NamespaceId;
use rootful_net_core::catalogue::{Catalogue, default_network};
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::{AddressOrigin, Lease, Leases, Ledger};
use rootful_net_core::network::Network;
use rootful_net_core::observed::{Link, LinkKind, Listener, Observed, Route, Sysctl};
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, AttachDecision, Change, PlanError, Scope, World};
use rootful_net_core::policy::{Caller, Consent, Decision, Policy, Usage, authorize};
use rootful_net_core::publish::{Port, Protocol};
use rootful_net_core::request::{AttachRequest, OnConflict};
use rootful_net_core::ruleset::TableName;

/// A host on which containers come and go, without a kernel.
struct Host {
    catalogue: Catalogue,
    ledger: Ledger,
    key: AddressKey,
    observed: Observed,
}

impl Host {
    fn new() -> Self {
        let key = AddressKey::from_bytes([7; 32]);
        let mut catalogue = Catalogue::default();
        catalogue.insert(default_network(&key, &[]).unwrap()).unwrap();
        for text in [
            r#"{"name": "closed", "network_interface": "closed0", "internal": true,
                "subnets": [{"subnet": "10.91.0.0/24"}]}"#,
            r#"{"name": "tiny", "network_interface": "tiny0",
                "subnets": [{"subnet": "10.92.0.0/30"}],
                "options": {"isolate": "strict", "mtu": "1400"}}"#,
        ] {
            catalogue.insert(Network::from_json(text).unwrap()).unwrap();
        }
        let forwarding = [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()];
        let observed = Observed {
            sysctls: forwarding.map(|sysctl| (sysctl, "0".to_owned())).into(),
            links_accepting_ra: vec!["enp1s0".parse().unwrap()],
            ..Observed::default()
        };
        Self { catalogue, ledger: Ledger::new(Leases::default()), key, observed }
    }

    fn world(&self) -> World<'_> {
        World { catalogue: &self.catalogue, ledger: &self.ledger, key: &self.key }
    }

    fn decide(
        &self,
        (owner, name, inode): (u32, &str, u64),
        networks: &[&str],
        publish: &[&str],
        on_conflict: OnConflict,
    ) -> Result<AttachDecision, PlanError> {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        let publish: Vec<_> = publish.iter().map(|text| text.parse().unwrap()).collect();
        let request =
            AttachRequest::new(name.parse().unwrap(), None, networks, &publish, Vec::new())
                .unwrap();
        let root = Caller { uid: 0, user_name: None, groups: Vec::new() };
        planner::attach_query(self.world(), owner, &request)?;
        let (policy, usage) = (Policy::default(), Usage::default());
        let decision = authorize(&policy, &root, owner, usage, request, Consent::NotAsked);
        let Ok(Decision::Allowed(authorized)) = decision else { panic!("root needs no grant") };
        let namespace = NamespaceId { device: 4, inode };
        planner::attach(self.world(), &self.observed, namespace, &authorized, on_conflict)
    }

    fn change(
        &self,
        container: (u32, &str, u64),
        networks: &[&str],
        publish: &[&str],
        on_conflict: OnConflict,
    ) -> Change {
        match self.decide(container, networks, publish, on_conflict).unwrap() {
            AttachDecision::Change(change) => *change,
            AttachDecision::Unchanged(id) => panic!("{id} is attached so already"),
        }
    }

    /// Attaches, and lets the kernel be as it would be then.
    fn attach(
        &mut self,
        container: (u32, &str, u64),
        networks: &[&str],
        publish: &[&str],
    ) -> Change {
        let change = self.change(container, networks, publish, OnConflict::Refuse);
        self.become_so(&change);
        change
    }

    fn become_so(&mut self, change: &Change) {
        let attachment = change.attached.clone().unwrap();
        for interface in attachment.interfaces() {
            let bridge_alias = format!("rootful-net network {}", interface.network);
            self.link(interface.veth.bridge.as_str(), LinkKind::Bridge, &bridge_alias);
            self.link(interface.veth.host_link.as_str(), LinkKind::Veth, &interface.veth.alias);
        }
        self.observed.tables = BTreeSet::from([TableName::INET, TableName::BRIDGE]);
        for value in self.observed.sysctls.values_mut() {
            *value = "1".to_owned();
        }
        self.observed.reserved.extend(attachment.reservations());
        self.ledger.insert(attachment);
    }

    fn link(&mut self, name: &str, kind: LinkKind, alias: &str) {
        let link = Link {
            index: 1,
            name: name.to_owned(),
            kind,
            alias: Some(alias.to_owned()),
            master: None,
            up: true,
            mac: None,
            mtu: 1500,
            port: None,
        };
        self.observed.links.insert(name.to_owned(), link);
    }

    fn error(&self, container: (u32, &str, u64), networks: &[&str], publish: &[&str]) -> String {
        let decision = self.decide(container, networks, publish, OnConflict::Refuse);
        decision.expect_err("it is refused").to_string()
    }
}

const WEB: (u32, &str, u64) = (1000, "web", 100);
const DB: (u32, &str, u64) = (1001, "db", 101);

#[test]
fn the_first_attachment_makes_bridge_rules_and_link() {
    let plan = Host::new()
        .change(WEB, &["rootful0"], &["8080:80", "192.0.2.1:5353:53/udp"], OnConflict::Refuse)
        .plan;
    expect_file!["../../../tests/golden/plans/first.txt"].assert_eq(&plan.to_string());
}

#[test]
fn a_second_attachment_adds_only_its_own() {
    let mut host = Host::new();
    host.attach(WEB, &["rootful0"], &["8080:80"]);
    let plan = host.change(DB, &["rootful0"], &[":5432"], OnConflict::Refuse).plan;
    expect_file!["../../../tests/golden/plans/second.txt"].assert_eq(&plan.to_string());
}

#[test]
fn two_networks_have_one_default_route_and_ports_on_the_first_that_leads_out() {
    let plan = Host::new()
        .change(WEB, &["closed", "tiny", "rootful0"], &["8080:80"], OnConflict::Refuse)
        .plan;
    expect_file!["../../../tests/golden/plans/three-networks.txt"].assert_eq(&plan.to_string());
}

#[test]
fn replacing_ports_leaves_the_link_alone() {
    let mut host = Host::new();
    host.attach(WEB, &["rootful0"], &["8080:80", "8443:443"]);
    let plan = host.change(WEB, &["rootful0"], &["8080:80", "9090:90"], OnConflict::Replace).plan;
    expect_file!["../../../tests/golden/plans/replace-ports.txt"].assert_eq(&plan.to_string());
}

#[test]
fn replacing_the_address_of_a_port_gives_back_first_what_is_in_the_way() {
    let mut host = Host::new();
    host.attach(WEB, &["rootful0"], &["8080:80", "8443:443"]);
    let publish = ["192.0.2.1:8080:80", "192.0.2.1:9090:90"];
    let plan = host.change(WEB, &["rootful0"], &publish, OnConflict::Replace).plan;
    let is_about_ports = |step: &&Step| {
        matches!(step, Step::ClaimPorts(_) | Step::ReservePorts(_) | Step::ReleasePorts(_))
    };
    let steps: Vec<_> = plan.steps.iter().filter(is_about_ports).map(Step::to_string).collect();
    let expected =
        ["release *:8080/tcp", "claim 192.0.2.1:8080/tcp 192.0.2.1:9090/tcp", "release *:8443/tcp"];
    assert_eq!(steps, expected);
}

#[test]
fn a_port_that_was_in_use_is_claimed_by_the_next_change() {
    let mut host = Host::new();
    host.attach(WEB, &["rootful0"], &["8080:80"]);
    host.observed.reserved.clear();
    let change = host.change(WEB, &["rootful0"], &["8080:81"], OnConflict::Replace);
    let first = change.plan.steps.first().unwrap();
    assert_eq!(first.to_string(), "claim *:8080/tcp");
}

#[test]
fn replacing_the_network_unplugs_and_removes_the_idle_bridge() {
    let mut host = Host::new();
    host.attach(WEB, &["rootful0"], &["8080:80"]);
    let plan = host.change(WEB, &["tiny"], &["8080:80"], OnConflict::Replace).plan;
    expect_file!["../../../tests/golden/plans/replace-network.txt"].assert_eq(&plan.to_string());
}

#[test]
fn a_flushed_ruleset_is_made_anew_by_the_next_attachment() {
    let mut host = Host::new();
    host.attach(WEB, &["rootful0"], &["8080:80"]);
    host.observed.tables.clear();
    let plan = host.change(DB, &["rootful0"], &[], OnConflict::Refuse).plan;
    expect_file!["../../../tests/golden/plans/flushed.txt"].assert_eq(&plan.to_string());
}

#[test]
fn detaching_one_of_two_takes_only_its_own() {
    let mut host = Host::new();
    let web = host.attach(WEB, &["rootful0"], &["8080:80", "5353:53/udp"]).attached.unwrap();
    host.attach(DB, &["rootful0"], &[]);
    let plan = planner::detach(host.world(), &host.observed, &web).plan;
    expect_file!["../../../tests/golden/plans/detach.txt"].assert_eq(&plan.to_string());
}

#[test]
fn detaching_the_last_leaves_nothing() {
    let mut host = Host::new();
    let web = host.attach(WEB, &["rootful0"], &["8080:80"]).attached.unwrap();
    let plan = planner::detach(host.world(), &host.observed, &web).plan;
    expect_file!["../../../tests/golden/plans/detach-last.txt"].assert_eq(&plan.to_string());
}

#[test]
fn starting_up_releases_the_dead_and_removes_strays() {
    let mut host = Host::new();
    let web = host.attach(WEB, &["rootful0"], &["8080:80"]).attached.unwrap();
    host.attach(DB, &["rootful0"], &[]);
    host.observed.links.remove(web.interfaces()[0].veth.host_link.as_str());
    host.link("rn0123456789", LinkKind::Veth, "rootful-net attachment lost of 1000 on rootful0");
    host.link("rnforeign", LinkKind::Veth, "somebody else's");
    host.link("docker0", LinkKind::Bridge, "");
    host.link("old0", LinkKind::Bridge, "rootful-net network old");
    let change = planner::reconcile(host.world(), &host.observed, Scope::Everything);
    assert_eq!(change.released, [web.id().clone()]);
    expect_file!["../../../tests/golden/plans/start-up.txt"].assert_eq(&change.plan.to_string());
}

#[test]
fn the_same_request_changes_nothing() {
    let mut host = Host::new();
    let id = host.attach(WEB, &["rootful0"], &[":80"]).attached.unwrap().id().clone();
    let again = host.decide(WEB, &["rootful0"], &[":80"], OnConflict::Refuse).unwrap();
    assert_eq!(again, AttachDecision::Unchanged(id));
}

#[test]
fn the_same_name_has_the_same_address_whatever_started_before() {
    let addresses = |order: &[(u32, &str, u64)]| {
        let mut host = Host::new();
        for &container in order {
            host.attach(container, &["rootful0"], &[]);
        }
        let holder = |(owner, name, _): (u32, &str, u64)| {
            let holder =
                rootful_net_core::attachment::Holder { owner, name: name.parse().unwrap() };
            host.ledger.of_holder(&holder).unwrap().interfaces()[0].setup.addresses.clone()
        };
        (holder(WEB), holder(DB))
    };
    assert_eq!(addresses(&[WEB, DB]), addresses(&[DB, WEB]));
}

#[test]
fn a_collision_is_resolved_the_same_way_after_the_first_is_gone() {
    let mut host = Host::new();
    // A /29 has five addresses for containers: with five names some collide.
    let small = r#"{"name": "small", "network_interface": "small0",
        "subnets": [{"subnet": "10.93.0.0/29"}]}"#;
    host.catalogue.insert(Network::from_json(small).unwrap()).unwrap();
    let names = ["a", "b", "c", "d", "e"];
    let mut attached = Vec::new();
    for (name, inode) in names.iter().zip(200..) {
        attached.push(host.attach((1000, name, inode), &["small"], &[]).attached.unwrap());
    }
    for attachment in &attached {
        host.ledger.remove(attachment.id());
        host.observed.links.remove(attachment.interfaces()[0].veth.host_link.as_str());
    }
    for (before, inode) in attached.iter().rev().zip(300..) {
        let name = before.name().as_str();
        let after = host.attach((1000, name, inode), &["small"], &[]).attached.unwrap();
        assert_eq!(after.interfaces()[0].setup.addresses, before.interfaces()[0].setup.addresses);
    }
}

#[test]
fn a_name_with_several_leases_gets_the_address_that_it_has_or_else_had_last() {
    let mut host = Host::new();
    let (owner, name, _) = WEB;
    let holder = rootful_net_core::attachment::Holder { owner, name: name.parse().unwrap() };
    let lease = |address: &str, used| Lease {
        network: "rootful0".parse().unwrap(),
        address: address.parse().unwrap(),
        holder: holder.clone(),
        origin: AddressOrigin::Derived,
        used,
    };
    let leases = [lease("10.87.0.100", 1), lease("10.87.0.200", 2)];
    assert_eq!(host.ledger.import(&host.catalogue, leases), []);
    let ipv4 = |change: &Change| {
        let attachment = change.attached.as_ref().unwrap();
        attachment.interfaces()[0].setup.addresses[0].addr().to_string()
    };
    let first = host.attach(WEB, &["rootful0"], &[]);
    assert_eq!(ipv4(&first), "10.87.0.200");
    // What is attached stays so, whatever is imported meanwhile.
    assert_eq!(host.ledger.import(&host.catalogue, [lease("10.87.0.100", 1)]), []);
    let again = host.decide(WEB, &["rootful0"], &[], OnConflict::Refuse);
    assert!(matches!(again, Ok(AttachDecision::Unchanged(_))), "{again:?}");
    host.ledger.remove(first.attached.unwrap().id());
    assert_eq!(ipv4(&host.attach(WEB, &["rootful0"], &[])), "10.87.0.100");
}

#[test]
fn a_full_subnet_gives_the_oldest_idle_lease_and_then_says_so() {
    let mut host = Host::new();
    let first = host.attach((1000, "a", 1), &["tiny"], &[]).attached.unwrap();
    let full = host.error((1000, "b", 2), &["tiny"], &[]);
    assert_eq!(full, "every address of 10.92.0.0/30 on network \"tiny\" is taken");
    host.ledger.remove(first.id());
    let second = host.attach((1000, "b", 2), &["tiny"], &[]).attached.unwrap();
    assert_eq!(second.interfaces()[0].setup.addresses, first.interfaces()[0].setup.addresses);
}

#[test]
fn an_idle_lease_gives_way_to_a_request_of_the_same_user_only() {
    let mut host = Host::new();
    let gone = host.attach((1000, "jolly", 1), &["rootful0"], &[]).attached.unwrap();
    let address = gone.interfaces()[0].setup.addresses[0];
    host.ledger.remove(gone.id());
    let asked = format!("rootful0:ip={}", address.addr());
    let error = host.error((1001, "web", 2), &[&asked], &[]);
    assert!(error.ends_with("belongs to a container of another user"), "{error}");
    let web = host.attach((1000, "web", 2), &[&asked], &[]).attached.unwrap();
    assert_eq!(web.interfaces()[0].setup.addresses[0], address);
}

#[test]
fn refusals_say_what_to_do() {
    let mut host = Host::new();
    host.attach(WEB, &["rootful0:ip=10.87.0.9"], &["8080:80"]);
    host.observed.listeners.push(Listener {
        protocol: Protocol::Tcp,
        address: "127.0.0.53".parse().unwrap(),
        dual_stack: false,
        port: Port::new(53).unwrap(),
        uid: 991,
    });
    let own = (1000, "db", 101);
    let other_namespace = (1000, "web", 102);
    type Case<'a> = ((u32, &'a str, u64), &'a [&'a str], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (own, &["nosuch"], &[]),
        (own, &["rootful0"], &["8080:80"]),
        (DB, &["rootful0"], &["192.0.2.1:8080:80"]),
        (own, &["rootful0"], &["53:53"]),
        (own, &["rootful0"], &["10.87.0.1:53:53/udp"]),
        (own, &["rootful0"], &["52:53"]),
        (own, &["rootful0:alias=www.example"], &[]),
        (own, &["rootful0:ip=10.87.0.9"], &[]),
        (DB, &["rootful0:ip=10.87.0.9"], &[]),
        (own, &["rootful0:ip=10.87.0.1"], &[]),
        (own, &["rootful0:ip=10.88.0.2"], &[]),
        (own, &["tiny:ip=10.92.0.3"], &[]),
        (own, &["closed"], &["8081:80"]),
        (own, &["tiny"], &["[::]:8081:80"]),
        ((1000, "shop", 100), &["rootful0"], &[]),
        (WEB, &["rootful0"], &["8081:80"]),
        (other_namespace, &["rootful0"], &[]),
    ];
    let mut text = String::new();
    for (container, networks, publish) in cases {
        let (owner, name, _) = container;
        let asked = format!("{owner}/{name} {} {}", networks.join(" "), publish.join(" "));
        let error = host.error(*container, networks, publish);
        text.push_str(&format!("{}\n    {error}\n", asked.trim()));
    }
    host.observed
        .routes
        .push(Route { destination: "10.92.0.0/16".parse().unwrap(), link: "enp1s0".to_owned() });
    text.push_str(&format!("a route\n    {}\n", host.error(own, &["tiny"], &[])));
    host.link("tiny0", LinkKind::Bridge, "somebody else's");
    text.push_str(&format!("a bridge\n    {}\n", host.error(own, &["tiny"], &[])));
    host.observed.namespace_links.push(Link {
        index: 2,
        name: "tap0".to_owned(),
        kind: LinkKind::Other("tun".to_owned()),
        alias: None,
        master: None,
        up: true,
        mac: None,
        mtu: 1500,
        port: None,
    });
    text.push_str(&format!("an interface\n    {}\n", host.error(own, &["rootful0"], &[])));
    expect_file!["../../../tests/golden/plans/refusals.txt"].assert_eq(&text);
}
