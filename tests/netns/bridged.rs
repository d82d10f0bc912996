//! A LAN on one side of the host and two containers on a bridge on the other, as bare namespaces: what the
//! ruleset is tried on without anything else of the product.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rootful_net_core::ruleset::{Change, Element, Transaction, inet_table};
use rootful_net_kernel::rules::Rules;
use rootful_net_tests::lan::Lan;
use rootful_net_tests::namespace::{NetworkNamespace, run};
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_both_within, ask_tcp, ask_udp};

use crate::ruleset::element;

/// How long a question that may get nowhere waits for an answer.
const PATIENCE: Duration = Duration::from_millis(600);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Host,
    Client,
    Container,
    Neighbour,
}

/// The bridge `rootful0` is 10.87.0.1 and fd87::1; the container is `2` on it and serves TCP and UDP on port
/// 80, the neighbour is `3`. The client serves TCP and UDP on port 80 as well.
pub(crate) struct Bridged {
    pub(crate) container: NetworkNamespace,
    pub(crate) rules: Rules,
    neighbour: NetworkNamespace,
    lan: Lan,
    _servers: Vec<Server>,
}

impl Bridged {
    /// Builds it, with a ruleset in which the bridge is one of ours, and `elements` besides.
    pub(crate) fn with(sandbox: &Sandbox, elements: Vec<Element>) -> Result<Self> {
        let lan = Lan::join(sandbox)?;
        run("ip link add rootful0 type bridge")?;
        set_up("rootful0", "1")?;
        let container = plug("rn0", "2")?;
        let neighbour = plug("rn1", "3")?;
        let on =
            ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/rootful0/route_localnet"];
        for parameter in on {
            std::fs::write(format!("/proc/sys/net/{parameter}"), "1").context(parameter)?;
        }

        let bridge = [
            element("bridges", &["rootful0"], &[])?,
            element("same_bridge", &["rootful0", "rootful0"], &[])?,
            element("members4", &["10.87.0.2", "rootful0"], &[])?,
            element("members4", &["10.87.0.3", "rootful0"], &[])?,
            element("members6", &["fd87::2", "rootful0"], &[])?,
            element("members6", &["fd87::3", "rootful0"], &[])?,
        ];
        let table = std::iter::once(Change::ReplaceTable(inet_table()));
        let added = bridge.into_iter().chain(elements).map(Change::AddElement);
        let mut rules = Rules::open()?;
        rules.apply(&table.chain(added).collect::<Transaction>())?;

        let mut servers = container.run(|| serve(&["10.87.0.2:80", "[fd87::2]:80"]))?;
        servers.extend(lan.run(|| serve(&["192.0.2.100:80", "[2001:db8:1::100]:80"]))?);
        let bridged = Self { container, rules, neighbour, lan, _servers: servers };
        bridged.settle()?;
        Ok(bridged)
    }

    /// Waits until neighbours know each other, so that silence later means a refusal.
    fn settle(&self) -> Result<()> {
        for address in ["10.87.0.2:80", "[fd87::2]:80"] {
            ask_udp(address.parse()?)?;
            self.neighbour.run(|| ask_tcp(address.parse()?))?;
        }
        for address in ["192.0.2.100:80", "[2001:db8:1::100]:80"] {
            ask_udp(address.parse()?)?;
        }
        Ok(())
    }

    /// Does `work` as `asker`.
    pub(crate) fn run<T: Send>(
        &self,
        asker: Asker,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        match asker {
            Asker::Host => work(),
            Asker::Client => self.lan.run(work),
            Asker::Container => self.container.run(work),
            Asker::Neighbour => self.neighbour.run(work),
        }
    }

    /// Asks by TCP and by UDP and checks whom the server sees; `None` where there is to be no answer.
    pub(crate) fn check(&self, cases: &[(Asker, &str, Option<&str>)]) -> Result<()> {
        for &(asker, address, seen) in cases {
            let server = address.parse()?;
            let seen = seen.map(str::parse::<IpAddr>).transpose()?;
            let answers = self.run(asker, || Ok(ask_both_within(server, PATIENCE)))?;
            for (protocol, answer) in ["tcp", "udp"].into_iter().zip(answers) {
                let answer = answer.ok().map(|client| client.ip());
                ensure!(
                    answer == seen,
                    "{asker:?} asks {address} by {protocol}: seen as {answer:?}, not {seen:?}"
                );
            }
        }
        Ok(())
    }
}

/// Makes a namespace that is a station on the bridge.
fn plug(host_link: &str, station: &str) -> Result<NetworkNamespace> {
    let namespace = NetworkNamespace::new()?;
    let inside = namespace.path();
    run(&format!(
        "ip link add {host_link} master rootful0 type veth peer name eth0 netns {}",
        inside.display()
    ))?;
    run(&format!("ip link set {host_link} up"))?;
    namespace.run(|| {
        run("ip link set lo up")?;
        set_up("eth0", station)?;
        run("ip route add default via 10.87.0.1")?;
        run("ip route add default via fd87::1")
    })?;
    Ok(namespace)
}

/// Usable at once: without duplicate detection. A router without a link-local address that is ready asks for
/// no neighbour.
fn set_up(link: &str, station: &str) -> Result<()> {
    run(&format!("ip link set {link} addrgenmode none"))?;
    run(&format!("ip address add 10.87.0.{station}/24 dev {link}"))?;
    run(&format!("ip address add fd87::{station}/64 dev {link} nodad"))?;
    run(&format!("ip address add fe80::{station}/64 dev {link} nodad"))?;
    run(&format!("ip link set {link} up"))?;
    Ok(())
}

/// Serves TCP and UDP on each address.
pub(crate) fn serve(addresses: &[&str]) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for address in addresses {
        servers.push(Server::tcp(address.parse()?)?);
        servers.push(Server::udp(address.parse()?)?);
    }
    Ok(servers)
}
