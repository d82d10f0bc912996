//! The fixed rules at work: real traffic between bare namespaces, with nothing but the ruleset.

use anyhow::{Context as _, Result};
use rootful_net_core::ruleset::{Change, Element, Transaction, inet_table};
use rootful_net_kernel::Rules;
use rootful_net_tests::Test;
use rootful_net_tests::sandbox::Sandbox;

use crate::ruleset::{element, nft};
use crate::topology::{BRIDGE, Namespace, Topology, ask_tcp, ask_udp, serve};

pub(crate) const TESTS: &[Test] = &[
    ("forwarding_published_port_answers_everybody", published_port_answers_everybody),
    ("forwarding_own_address_goes_before_any", own_address_goes_before_any),
    ("forwarding_unpublished_is_out_of_reach", unpublished_is_out_of_reach),
    ("forwarding_containers_do_not_reach_the_loopback", containers_do_not_reach_the_loopback),
    ("forwarding_egress_is_masqueraded", egress_is_masqueraded),
    ("forwarding_internal_network_reaches_nothing", internal_network_reaches_nothing),
];

/// Where a question comes from.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Host,
    Client,
    Container,
    Neighbour,
}

struct Scene {
    topology: Topology,
    rules: Rules,
}

impl Scene {
    fn with(elements: Vec<Element>) -> Result<Self> {
        let topology = Topology::build()?;
        let mut rules = Rules::open()?;
        let table = std::iter::once(Change::ReplaceTable(inet_table()));
        let bridge = [
            element("bridges", &[BRIDGE], &[])?,
            element("same_bridge", &[BRIDGE, BRIDGE], &[])?,
        ];
        let added = bridge.into_iter().chain(elements).map(Change::AddElement);
        rules.apply(&table.chain(added).collect::<Transaction>())?;
        topology.container.run(|| {
            serve("10.87.0.2:80")?;
            serve("[fd87::2]:80")
        })??;
        topology.client.run(|| {
            serve("192.0.2.2:80")?;
            serve("[2001:db8::2]:80")
        })??;
        Ok(Self { topology, rules })
    }

    /// Asks by TCP and UDP; both must see the same.
    fn ask(&self, asker: Asker, address: &'static str) -> Result<Option<String>> {
        let ask = move || -> Result<_> { Ok((ask_tcp(address)?, ask_udp(address)?)) };
        let inside = |namespace: &Namespace| namespace.run(ask)?;
        let (tcp, udp) = match asker {
            Asker::Host => ask(),
            Asker::Client => inside(&self.topology.client),
            Asker::Container => inside(&self.topology.container),
            Asker::Neighbour => inside(&self.topology.neighbour),
        }
        .with_context(|| format!("{asker:?} asks {address}"))?;
        assert_eq!(tcp, udp, "{asker:?} asks {address} by tcp and by udp");
        Ok(tcp)
    }

    /// Checks whom the server sees; `None` where the question gets nowhere.
    fn check(&self, cases: &[(Asker, &'static str, Option<&str>)]) -> Result<()> {
        for &(asker, address, seen) in cases {
            assert_eq!(self.ask(asker, address)?.as_deref(), seen, "{asker:?} asks {address}");
        }
        Ok(())
    }
}

fn published() -> Result<Vec<Element>> {
    Ok(vec![
        element("publish4", &["tcp", "8080"], &["10.87.0.2", "80"])?,
        element("publish4", &["udp", "8080"], &["10.87.0.2", "80"])?,
        element("publish6", &["tcp", "8080"], &["fd87::2", "80"])?,
        element("publish6", &["udp", "8080"], &["fd87::2", "80"])?,
    ])
}

fn published_port_answers_everybody(_: &Sandbox) -> Result<()> {
    let mut scene = Scene::with(published()?)?;
    scene.check(&[
        (Asker::Client, "192.0.2.1:8080", Some("192.0.2.2")),
        (Asker::Client, "[2001:db8::1]:8080", Some("2001:db8::2")),
        (Asker::Host, "127.0.0.1:8080", Some("10.87.0.1")),
        (Asker::Host, "192.0.2.1:8080", Some("192.0.2.1")),
        (Asker::Host, "10.87.0.1:8080", Some("10.87.0.1")),
        (Asker::Host, "[2001:db8::1]:8080", Some("2001:db8::1")),
        (Asker::Host, "[::1]:8080", Some("fd87::1")),
        (Asker::Neighbour, "192.0.2.1:8080", Some("10.87.0.1")),
        (Asker::Neighbour, "10.87.0.1:8080", Some("10.87.0.1")),
        (Asker::Neighbour, "[2001:db8::1]:8080", Some("fd87::1")),
        (Asker::Container, "192.0.2.1:8080", Some("10.87.0.1")),
        (Asker::Container, "[2001:db8::1]:8080", Some("fd87::1")),
        (Asker::Neighbour, "10.87.0.2:80", Some("10.87.0.3")),
    ])?;
    scene.rules.apply(&published()?.into_iter().map(Change::DeleteElement).collect())?;
    scene.check(&[
        (Asker::Client, "192.0.2.1:8080", None),
        (Asker::Host, "127.0.0.1:8080", None),
        (Asker::Neighbour, "192.0.2.1:8080", None),
    ])
}

fn own_address_goes_before_any(_: &Sandbox) -> Result<()> {
    let mut elements = published()?;
    for protocol in ["tcp", "udp"] {
        let key = ["192.0.2.1", protocol, "8080"];
        elements.push(element("publish4_address", &key, &["10.87.0.3", "80"])?);
        let key = ["2001:db8::1", protocol, "8081"];
        elements.push(element("publish6_address", &key, &["fd87::2", "80"])?);
    }
    let scene = Scene::with(elements)?;
    scene.check(&[
        // Nobody listens there.
        (Asker::Client, "192.0.2.1:8080", None),
        (Asker::Client, "10.87.0.1:8080", Some("192.0.2.2")),
        (Asker::Client, "[2001:db8::1]:8081", Some("2001:db8::2")),
        (Asker::Client, "[fd87::1]:8081", None),
    ])
}

fn unpublished_is_out_of_reach(_: &Sandbox) -> Result<()> {
    let scene = Scene::with(published()?)?;
    scene.check(&[
        (Asker::Client, "10.87.0.2:80", None),
        (Asker::Client, "[fd87::2]:80", None),
        (Asker::Client, "192.0.2.1:80", None),
        (Asker::Host, "10.87.0.2:80", Some("10.87.0.1")),
    ])
}

fn containers_do_not_reach_the_loopback(_: &Sandbox) -> Result<()> {
    let scene = Scene::with(Vec::new())?;
    serve("127.0.0.1:99")?;
    // What root of a container can do in its own namespace.
    scene.topology.container.ip(&[
        "rule add pref 2 lookup local",
        "rule del pref 0",
        "rule add pref 1 to 127.0.0.1 lookup 7",
        "route add 127.0.0.1 via 10.87.0.1 table 7",
    ])?;
    scene.topology.container.run(|| {
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1")
    })??;
    scene.check(&[(Asker::Container, "127.0.0.1:99", None)])?;
    // The one rule is what stops them.
    nft(&["flush", "chain", "inet", "rootful_net", "loopback"], "")?;
    scene.check(&[(Asker::Container, "127.0.0.1:99", Some("10.87.0.2"))])
}

fn egress_is_masqueraded(_: &Sandbox) -> Result<()> {
    let scene = Scene::with(Vec::new())?;
    scene.check(&[
        (Asker::Container, "192.0.2.2:80", Some("192.0.2.1")),
        (Asker::Container, "[2001:db8::2]:80", Some("2001:db8::1")),
    ])
}

fn internal_network_reaches_nothing(_: &Sandbox) -> Result<()> {
    let mut elements = published()?;
    elements.push(element("internal", &[BRIDGE], &[])?);
    let scene = Scene::with(elements)?;
    scene.check(&[
        (Asker::Container, "192.0.2.2:80", None),
        (Asker::Container, "[2001:db8::2]:80", None),
        (Asker::Client, "192.0.2.1:8080", None),
        (Asker::Neighbour, "10.87.0.2:80", Some("10.87.0.3")),
        (Asker::Host, "10.87.0.2:80", Some("10.87.0.1")),
    ])
}
