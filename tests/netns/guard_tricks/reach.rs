//! Who reaches whom: containers of a network, of several, and the host, as the network's options say.

use std::net::{IpAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use rootful_net_core::attachment::Attachment;
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::lan::Lan;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::Server;

use super::{ALICE, BOB, DEADLINE, ensure_answers, ensure_silent, on, serve};
use crate::guarded::{Host, Shared, Station, leave_frames_alone, station};

pub(super) const TESTS: &[Test] = &[
    ("guard::neighbours_and_host_talk", neighbours_and_host_talk),
    ("guard::large_datagrams_pass_in_fragments", large_datagrams_pass),
    ("guard::isolated_containers_reach_only_the_host", isolated_containers),
    ("guard::host_is_cut_off_by_default_but_for_names", host_access_dns),
    ("guard::host_is_cut_off_with_none", host_access_none),
    ("guard::host_is_reached_with_all", host_access_all),
    ("guard::isolated_networks_are_kept_apart", isolated_networks),
];

fn neighbours_and_host_talk(_: &Sandbox) -> Result<()> {
    let shared = Shared::with(r#""host_access": "all""#)?;
    let victim = shared.stations.victim;
    let _servers = (shared.victim.run(|| serve(80))?, serve(99)?);
    shared.mallory.run(|| {
        ensure_answers(on(victim.ipv4, 80))?;
        ensure_answers(on(victim.ipv6, 80))?;
        ensure_answers(on(shared.stations.gateway.ipv4, 99))?;
        ensure_answers(on(shared.stations.gateway.ipv6, 99))
    })?;
    ensure_answers(on(victim.ipv4, 80))?;
    ensure_answers(on(victim.ipv6, 80))
}

fn large_datagrams_pass(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let victim = shared.stations.victim;
    for address in [IpAddr::from(victim.ipv4), victim.ipv6.into()] {
        let server = shared.victim.run(|| Ok(UdpSocket::bind(on(address, 7))?))?;
        server.set_read_timeout(Some(DEADLINE))?;
        shared.mallory.run(|| {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let sent = UdpSocket::bind(any)?.send_to(&[0x55; 9000], on(address, 7))?;
            ensure!(sent == 9000);
            Ok(())
        })?;
        let mut datagram = vec![0; 10_000];
        let (length, _) = server.recv_from(&mut datagram).context("nothing comes")?;
        ensure!(length == 9000, "{length} bytes come");
    }
    Ok(())
}

fn isolated_containers(sandbox: &Sandbox) -> Result<()> {
    let lan = Lan::join(sandbox)?;
    let mut host = Host::with(&[("shared", 87, r#""isolate_containers": "true""#)])?;
    // With br_netfilter what is sent to a published port stays on the bridge, and the bridge keeps it.
    leave_frames_alone()?;
    let containers = [Container::of(ALICE)?, Container::of(BOB)?];
    host.attach(&containers[0], (ALICE, "one"), "shared", &[])?;
    let other = host.attach(&containers[1], (BOB, "two"), "shared", &["8080:80", "8080:80/udp"])?;
    let other = station(&other)?;
    let _servers = (containers[1].run(|| serve(80))?, lan.run(|| serve(80))?);
    // The host reaches both, and both the LAN.
    ensure_answers(on(other.ipv4, 80))?;
    ensure_answers(on(other.ipv6, 80))?;
    containers[0].run(|| {
        ensure_answers(on(Lan::CLIENT_IPV4, 80))?;
        ensure_answers(on(Lan::HOST_IPV4, 8080)).context("a published port")?;
        ensure_silent(on(other.ipv4, 80))?;
        ensure_silent(on(other.ipv6, 80))?;
        // Nor by way of the host.
        run(&format!("ip route add {} via 10.87.0.1", other.ipv4))?;
        run(&format!("ip route add {} via fd00:87::1", other.ipv6))?;
        ensure_silent(on(other.ipv4, 80))?;
        ensure_silent(on(other.ipv6, 80))
    })
}

/// A host with services on every address and a published port, and who may reach what.
struct Services {
    _lan: Lan,
    container: Container,
    gateway: Station,
    _servers: Vec<[Server; 2]>,
    _victim: Container,
}

impl Services {
    fn with(sandbox: &Sandbox, options: &str) -> Result<Self> {
        let lan = Lan::join(sandbox)?;
        let Shared { mallory, victim, stations, .. } = Shared::with(options)?;
        let gateway = stations.gateway;
        let mut servers = vec![victim.run(|| serve(80))?];
        for address in addresses(gateway) {
            // A server on all addresses would answer over UDP from another one.
            for port in [53, 99] {
                servers.push([Server::tcp(on(address, port))?, Server::udp(on(address, port))?]);
            }
        }
        // The published port, whatever else is closed.
        mallory.run(|| {
            ensure_answers(on(Lan::HOST_IPV4, 8080))?;
            ensure_answers(on(stations.gateway.ipv4, 8080))?;
            ensure_answers(on(Lan::HOST_IPV6, 8080))
        })?;
        Ok(Self {
            _lan: lan,
            container: mallory,
            gateway: stations.gateway,
            _servers: servers,
            _victim: victim,
        })
    }

    fn addresses(&self) -> [IpAddr; 4] {
        addresses(self.gateway)
    }
}

/// The host's addresses.
fn addresses(gateway: Station) -> [IpAddr; 4] {
    [gateway.ipv4.into(), gateway.ipv6.into(), Lan::HOST_IPV4.into(), Lan::HOST_IPV6.into()]
}

fn host_access_dns(sandbox: &Sandbox) -> Result<()> {
    let services = Services::with(sandbox, "")?;
    let [gateway, gateway6, lan, lan6] = services.addresses();
    services.container.run(|| {
        for address in services.addresses() {
            ensure_silent(on(address, 99))?;
        }
        ensure_silent(on(lan, 53))?;
        ensure_silent(on(lan6, 53))?;
        ensure_answers(on(gateway, 53))?;
        ensure_answers(on(gateway6, 53))
    })?;
    run("nft flush chain inet rootful_net input")?;
    services.container.run(|| ensure_answers(on(lan, 99)).context("the control"))
}

fn host_access_none(sandbox: &Sandbox) -> Result<()> {
    let services = Services::with(sandbox, r#""host_access": "none""#)?;
    services.container.run(|| {
        for address in services.addresses() {
            ensure_silent(on(address, 99))?;
            ensure_silent(on(address, 53))?;
        }
        Ok(())
    })
}

fn host_access_all(sandbox: &Sandbox) -> Result<()> {
    let services = Services::with(sandbox, r#""host_access": "all""#)?;
    services.container.run(|| {
        for address in services.addresses() {
            ensure_answers(on(address, 99))?;
            ensure_answers(on(address, 53))?;
        }
        Ok(())
    })
}

/// As podman-network-create(1) has it: `true` keeps networks apart that both say so, `strict` from all.
fn isolated_networks(_: &Sandbox) -> Result<()> {
    const NETWORKS: &[(&str, u8, &str)] = &[
        ("open", 87, ""),
        ("free", 88, ""),
        ("kept", 89, r#""isolate": "true""#),
        ("held", 90, r#""isolate": "true""#),
        ("strict", 91, r#""isolate": "strict""#),
        ("severe", 92, r#""isolate": "strict""#),
    ];
    let mut host = Host::with(NETWORKS)?;
    let mut members: Vec<(&str, Container, Attachment, [Server; 2])> = Vec::new();
    for (network, ..) in NETWORKS {
        let container = Container::of(ALICE)?;
        let attachment = host.attach(&container, (ALICE, network), network, &[])?;
        let servers = container.run(|| serve(80))?;
        members.push((network, container, attachment, servers));
    }
    let is_strict = |network: &str| ["strict", "severe"].contains(&network);
    let is_isolated = |network: &str| is_strict(network) || ["kept", "held"].contains(&network);
    for (from, container, ..) in &members {
        for (to, _, attachment, _) in members.iter().filter(|(to, ..)| to != from) {
            let apart = is_strict(from) || is_strict(to) || (is_isolated(from) && is_isolated(to));
            let Station { ipv4, ipv6, .. } = station(attachment)?;
            let asked = container.run(|| {
                let ask = |address: IpAddr| {
                    if apart {
                        ensure_silent(on(address, 80))
                    } else {
                        ensure_answers(on(address, 80))
                    }
                };
                ask(ipv4.into())?;
                ask(ipv6.into())
            });
            asked.with_context(|| format!("from {from} to {to}"))?;
        }
    }
    Ok(())
}
