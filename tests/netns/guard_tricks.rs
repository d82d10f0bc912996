//! What else the owner of a namespace can do: to the interface, to the bridge's and the host's tables, and
//! across networks; and what the guard costs.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rootful_net_core::attachment::Attachment;
use rootful_net_core::ruleset::{Change, Element, attachment_elements, guard_elements};
use rootful_net_kernel::rules::Rules;
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::frame::{
    ARP, BROADCAST, ICMPV6, IPV4, IPV6, UDP, arp, ethernet, icmpv6, ipv4, ipv6, link_layer_option,
    solicitation, udp,
};
use rootful_net_tests::lan::Lan;
use rootful_net_tests::namespace::{NetworkNamespace, run, run_json};
use rootful_net_tests::packet::PacketSocket;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_tcp, ask_tcp_within, ask_udp, ask_udp_within};

use crate::guarded::{Host, Shared, Station, leave_frames_alone, station};

pub(crate) const TESTS: &[Test] = &[
    ("guard::neighbours_and_host_talk", neighbours_and_host_talk),
    ("guard::large_datagrams_pass_in_fragments", large_datagrams_pass),
    ("guard::renamed_interface_is_guarded", renamed_interface),
    ("guard::deleted_interface_is_gone", deleted_interface),
    ("guard::changed_mac_is_silent", changed_mac),
    ("guard::interface_in_a_nested_namespace_is_guarded", nested_namespace),
    ("guard::macvlan_on_the_interface_is_silent", macvlan),
    ("guard::vlan_on_the_interface_is_silent", vlan),
    ("guard::bridge_of_ones_own_is_silent", own_bridge),
    ("guard::second_address_is_silent", second_address),
    ("guard::port_is_closed_while_it_is_detached", detached_port),
    ("guard::mac_is_checked_without_the_table", mac_without_table),
    ("guard::other_ports_of_the_bridge_are_left_alone", other_ports),
    ("guard::forwarding_database_does_not_grow", forwarding_database),
    ("guard::unknown_destinations_reach_nobody", unknown_destinations),
    ("guard::neighbour_tables_do_not_grow_by_forgery", neighbours_by_forgery),
    ("guard::neighbour_tables_do_not_grow_by_routing", neighbours_by_routing),
    ("guard::connections_are_limited", connections_are_limited),
    ("guard::hundred_thousand_connections_leave_room", hundred_thousand_connections),
    ("guard::connections_are_unlimited_where_the_network_says_so", unlimited_connections),
    ("guard::isolated_containers_reach_only_the_host", isolated_containers),
    ("guard::host_is_cut_off_by_default_but_for_names", host_access_dns),
    ("guard::host_is_cut_off_with_none", host_access_none),
    ("guard::host_is_reached_with_all", host_access_all),
    ("guard::isolated_networks_are_kept_apart", isolated_networks),
    ("guard::cost_of_the_guard_is_measured", cost),
];

const SILENCE: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(5);
const ALICE: u32 = 10_001;
const BOB: u32 = 10_002;

fn on(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// Fails unless a server answers over TCP and UDP.
fn ensure_answers(server: SocketAddr) -> Result<()> {
    ask_tcp(server)?;
    ask_udp(server)?;
    Ok(())
}

fn ensure_silent(server: SocketAddr) -> Result<()> {
    ensure!(ask_tcp_within(server, SILENCE).is_err(), "{server} answers over TCP");
    ensure!(ask_udp_within(server, SILENCE).is_err(), "{server} answers over UDP");
    Ok(())
}

/// Serves TCP and UDP on all addresses.
fn serve(port: u16) -> Result<[Server; 2]> {
    let any = format!("[::]:{port}").parse()?;
    Ok([Server::tcp(any)?, Server::udp(any)?])
}

/// A datagram as somebody else, to everybody.
fn forged(shared: &Shared) -> Vec<Vec<u8>> {
    let (mallory, victim) = (shared.stations.mallory, shared.stations.victim);
    let packet = ipv4(victim.ipv4, [255; 4].into(), UDP, &udp(1000, 1000, b"hello"));
    vec![ethernet(BROADCAST, mallory.mac, IPV4, &packet)]
}

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

fn renamed_interface(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let frames = forged(&shared);
    shared.mallory.run(|| {
        run("ip link set eth0 down")?;
        run("ip link set eth0 name eth9")?;
        run("ip link set eth9 up")?;
        run("ip link add eth0 type dummy").or_else(|_| run("ip link add eth0 type bridge"))
    })?;
    shared.settle_on("eth9")?;
    shared.ensure_silent_on("eth9", &frames)?;
    shared.drop_guard()?;
    ensure!(shared.reach_from("eth9", &frames)?[0].victim, "the control does not arrive");
    Ok(())
}

fn deleted_interface(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    shared.mallory.run(|| run("ip link delete eth0"))?;
    eventually(DEADLINE, || {
        ensure!(run(&format!("ip link show {}", shared.port)).is_err(), "the port is there");
        Ok(())
    })?;
    // A new one of that name leads nowhere.
    shared.mallory.run(|| {
        run("ip link add eth0 type veth peer name eth1")?;
        run("ip link set eth0 up")
    })?;
    let links = run("ip link show")?;
    ensure!(!links.contains(&shared.port), "{links}");
    Ok(())
}

fn changed_mac(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let victim = shared.stations.victim;
    let _servers = shared.victim.run(|| serve(80))?;
    let own = shared.stations.mallory.mac.map(|octet| format!("{octet:02x}")).join(":");
    shared.mallory.run(|| ask_tcp(on(victim.ipv4, 80)))?;
    shared.mallory.run(|| {
        run("ip link set eth0 address 02:00:00:77:77:77")?;
        ensure_silent(on(victim.ipv4, 80))?;
        ensure_silent(on(victim.ipv6, 80))
    })?;
    shared.mallory.run(|| run(&format!("ip link set eth0 address {own}")))?;
    // Changing it takes routes away, not addresses: neighbours are reached again.
    shared.mallory.run(|| ask_tcp(on(victim.ipv4, 80)))?;
    let frames = forged(&shared);
    shared.ensure_stopped(&frames)
}

fn nested_namespace(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let frames = forged(&shared);
    let inner = shared.mallory.run(NetworkNamespace::new)?;
    let path = inner.path();
    shared.mallory.run(|| run(&format!("ip link set eth0 netns {}", path.display())))?;
    inner.run(|| run("ip link set eth0 up"))?;
    let victim = shared.victim.run(|| PacketSocket::on("eth0"))?;
    let send = |frames: &[Vec<u8>], fence: &[u8]| {
        let own = shared.stations.mallory;
        let packet = ipv4(own.ipv4, [255; 4].into(), UDP, &udp(9, 9, fence));
        inner.run(|| {
            let socket = PacketSocket::on("eth0")?;
            frames.iter().try_for_each(|frame| socket.send(frame))?;
            socket.send(&ethernet(BROADCAST, own.mac, IPV4, &packet))
        })
    };
    eventually(DEADLINE, || {
        send(&[], b"is it ready?")?;
        victim.frames_until(b"is it ready?", Duration::from_millis(100))
    })?;
    let forged = |seen: &[Vec<u8>]| seen.iter().any(|frame| frames.contains(frame));
    send(&frames, b"behind the first")?;
    ensure!(!forged(&victim.frames_until(b"behind the first", DEADLINE)?), "it arrives");
    shared.drop_guard()?;
    send(&frames, b"behind the second")?;
    ensure!(forged(&victim.frames_until(b"behind the second", DEADLINE)?), "the control");
    Ok(())
}

fn macvlan(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let victim = shared.stations.victim;
    let _servers = shared.victim.run(|| serve(80))?;
    let ask = || {
        shared.mallory.run(|| {
            let socket = UdpSocket::bind("10.87.77.77:0")?;
            socket.connect(on(victim.ipv4, 80))?;
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send(b"?")?;
            Ok(socket.recv(&mut [0; 64]).is_ok())
        })
    };
    shared.mallory.run(|| {
        run("ip link add link eth0 name mac0 type macvlan mode bridge")?;
        run("ip address flush dev eth0 scope global")?;
        run("ip address add 10.87.77.77/16 dev mac0")?;
        run("ip link set mac0 up")
    })?;
    ensure!(!ask()?, "a MAC address of one's own choice is answered");
    shared.drop_guard()?;
    eventually(DEADLINE, || {
        ensure!(ask()?, "the control is not answered");
        Ok(())
    })
}

fn vlan(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let made = shared.mallory.run(|| run("ip link add link eth0 name eth0.5 type vlan id 5"));
    if made.is_err() {
        println!("this kernel has no VLAN links; tagged frames are tested as frames");
        return Ok(());
    }
    let frames = [forged(&shared), vec![shared.own_datagram()]].concat();
    shared.mallory.run(|| run("ip link set eth0.5 up"))?;
    shared.ensure_silent_on("eth0.5", &frames)
}

/// Containers in the container, bridged to the network behind mallory's back.
fn own_bridge(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let foreign = [2, 0, 0, 0x55, 0x55, 0x55];
    let packet = ipv4([10, 87, 55, 55].into(), [255; 4].into(), UDP, &udp(9, 9, b"hello"));
    let frames = vec![ethernet(BROADCAST, foreign, IPV4, &packet)];
    shared.mallory.run(|| {
        leave_frames_alone()?;
        run("ip link add br0 type bridge")?;
        run("ip link add inner type veth peer name outer")?;
        for link in ["eth0", "outer"] {
            run(&format!("ip link set {link} master br0"))?;
        }
        for link in ["br0", "inner", "outer"] {
            run(&format!("ip link set {link} up"))?;
        }
        Ok(())
    })?;
    shared.ensure_silent_on("inner", &frames)?;
    shared.drop_guard()?;
    eventually(DEADLINE, || {
        ensure!(shared.reach_from("inner", &frames)?[0].victim, "the control does not arrive");
        Ok(())
    })
}

fn second_address(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let victim = shared.stations.victim;
    let _servers = (shared.victim.run(|| serve(80))?, shared.mallory.run(|| serve(81))?);
    shared.mallory.run(|| {
        run("ip address add 10.87.77.77/16 dev eth0")?;
        run("ip address add fd00:87::7777/64 dev eth0 nodad")
    })?;
    let from = |address: IpAddr| {
        shared.mallory.run(|| {
            let socket = UdpSocket::bind(on(address, 0))?;
            let to = if address.is_ipv4() { on(victim.ipv4, 80) } else { on(victim.ipv6, 80) };
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send_to(b"?", to)?;
            Ok(socket.recv(&mut [0; 64]).is_ok())
        })
    };
    let added: [IpAddr; 2] = ["10.87.77.77".parse()?, "fd00:87::7777".parse()?];
    for address in added {
        ensure!(!from(address)?, "{address} is answered");
        let asked = shared.victim.run(|| Ok(ask_tcp_within(on(address, 81), SILENCE).is_ok()))?;
        ensure!(!asked, "{address} answers");
    }
    shared.drop_guard()?;
    for address in added {
        eventually(DEADLINE, || {
            ensure!(from(address)?, "the control from {address} is not answered");
            shared.victim.run(|| ask_tcp_within(on(address, 81), SILENCE))
        })?;
    }
    Ok(())
}

fn detached_port(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let mut frames = forged(&shared);
    frames.push(shared.own_datagram());
    let attachment = shared.attachment.clone();
    let plan = shared.host.detach(&attachment)?;
    // The link is still up.
    let victim = shared.victim.run(|| PacketSocket::on("eth0"))?;
    shared.mallory.run(|| {
        let socket = PacketSocket::on("eth0")?;
        frames.iter().try_for_each(|frame| socket.send(frame))
    })?;
    let fence = shared.host_datagram()?;
    let seen = victim.frames_until(&fence, DEADLINE)?;
    ensure!(!seen.iter().any(|frame| frames.contains(frame)), "frames pass");
    shared.host.kernel.carry_out(&plan.afterwards, None)?;
    let table = run("nft list table bridge rootful_net")?;
    ensure!(!table.contains(&shared.port), "{table}");
    Ok(())
}

/// Somebody flushes the ruleset: the bridge itself still knows who is behind which port.
fn mac_without_table(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let own = shared.stations.mallory;
    let packet = ipv4(own.ipv4, [255; 4].into(), UDP, &udp(9, 9, b"hello"));
    let frames = [[2, 0, 0, 9, 9, 9], shared.stations.victim.mac, shared.stations.gateway.mac]
        .map(|mac| ethernet(BROADCAST, mac, IPV4, &packet));
    run("nft flush ruleset")?;
    shared.ensure_silent(&frames)
}

fn other_ports(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let _servers = shared.victim.run(|| serve(80))?;
    let guest = NetworkNamespace::new()?;
    let path = guest.path();
    run(&format!("ip link add guest0 type veth peer name eth0 netns {}", path.display()))?;
    run("ip link set guest0 master shared0 up")?;
    guest.run(|| {
        run("ip address add 10.87.66.66/16 dev eth0")?;
        run("ip link set eth0 up")?;
        ensure_answers(on(shared.stations.victim.ipv4, 80))
    })
}

fn forwarding_database(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let entries = || -> Result<usize> {
        let shown = run_json("bridge -json fdb show br shared0")?;
        Ok(shown.as_array().context("a list")?.len())
    };
    let frames = |shared: &Shared| -> Vec<_> {
        let packet = ipv4(shared.stations.mallory.ipv4, [255; 4].into(), UDP, &udp(9, 9, b"hello"));
        let mac = |number: u16| [2, 0x66, 0, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]];
        (0..2000).map(|number| ethernet(BROADCAST, mac(number), IPV4, &packet)).collect()
    };
    let before = entries()?;
    let flood = frames(&shared);
    shared.ensure_silent(&flood)?;
    let after = entries()?;
    ensure!(after == before, "{before} entries became {after}");
    shared.drop_guard()?;
    shared.reach(&flood[..500])?;
    let control = entries()?;
    ensure!(control > before + 400, "the control: {before} entries became {control}");
    Ok(())
}

/// A third party's conversation, or one with somebody who is no more, is not flooded to everybody.
fn unknown_destinations(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let mallory = shared.stations.mallory;
    let packet = ipv4(mallory.ipv4, [10, 87, 88, 88].into(), UDP, &udp(9, 9, b"hello"));
    let frames = [ethernet([2, 0, 0, 0x88, 0x88, 0x88], mallory.mac, IPV4, &packet)];
    shared.ensure_silent(&frames)?;
    let victims = shared.port_of_victim()?;
    run(&format!("bridge link set dev {victims} flood on"))?;
    ensure!(shared.reach(&frames)?[0].victim, "the control does not arrive");
    Ok(())
}

fn neighbour_entries() -> Result<usize> {
    Ok(run("ip neighbour show dev shared0")?.lines().count())
}

fn neighbours_by_forgery(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let (mallory, gateway) = (shared.stations.mallory, shared.stations.gateway);
    let flood = |first: u16, count: u16| -> Vec<_> {
        (first..first + count)
            .flat_map(|number| {
                let [high, low] = number.to_be_bytes();
                let claimed = [10, 87, 100 + high, low].into();
                let asks = arp(1, (mallory.mac, claimed), ([0; 6], gateway.ipv4));
                let claimed = format!("fd00:87::7:{number:x}").parse().expect("an address");
                let body = solicitation(gateway.ipv6, &link_layer_option(1, mallory.mac));
                let message = icmpv6(claimed, gateway.ipv6, 135, &body);
                let solicits = ipv6(claimed, gateway.ipv6, ICMPV6, 255, &message);
                [
                    ethernet(BROADCAST, mallory.mac, ARP, &asks),
                    ethernet(gateway.mac, mallory.mac, IPV6, &solicits),
                ]
            })
            .collect()
    };
    let before = neighbour_entries()?;
    shared.ensure_silent(&flood(0, 500))?;
    let after = neighbour_entries()?;
    ensure!(after <= before + 4, "{before} entries became {after}");
    shared.drop_guard()?;
    shared.reach(&flood(1000, 50))?;
    let control = neighbour_entries()?;
    ensure!(control >= before + 50, "the control: {before} entries became {control}");
    Ok(())
}

/// The host would look for everybody that it is asked to pass something on to.
fn neighbours_by_routing(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let (mallory, gateway) = (shared.stations.mallory, shared.stations.gateway);
    let flood = |count: u16| -> Vec<_> {
        (0..count)
            .flat_map(|number| {
                let [high, low] = number.to_be_bytes();
                let to = [10, 87, 100 + high, low].into();
                let datagram = udp(9, 9, b"hello");
                let to6 = format!("fd00:87::7:{number:x}").parse().expect("an address");
                [
                    ethernet(
                        gateway.mac,
                        mallory.mac,
                        IPV4,
                        &ipv4(mallory.ipv4, to, UDP, &datagram),
                    ),
                    ethernet(
                        gateway.mac,
                        mallory.mac,
                        IPV6,
                        &ipv6(mallory.ipv6, to6, UDP, 64, &datagram),
                    ),
                ]
            })
            .collect()
    };
    let before = neighbour_entries()?;
    shared.reach(&flood(500))?;
    let after = neighbour_entries()?;
    ensure!(after <= before + 4, "{before} entries became {after}");
    run("nft flush chain inet rootful_net within_bridge")?;
    run("nft flush chain inet rootful_net to_member")?;
    shared.reach(&flood(50))?;
    let control = neighbour_entries()?;
    ensure!(control >= before + 50, "the control: {before} entries became {control}");
    Ok(())
}

fn tracked() -> Result<u32> {
    Ok(fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?.trim().parse()?)
}

/// Mallory's datagrams to the LAN, each from and to other ports.
fn flows(shared: &Shared, count: u32) -> impl Iterator<Item = Vec<u8>> + use<> {
    let (mallory, gateway) = (shared.stations.mallory, shared.stations.gateway);
    (0..count).map(move |number| {
        let [high, low] = [number / 50_000, number % 50_000];
        let port = |number: u32| u16::try_from(10_000 + number).expect("a port");
        let datagram = udp(port(low), port(high), b"hello");
        let packet = ipv4(mallory.ipv4, Lan::CLIENT_IPV4, UDP, &datagram);
        ethernet(gateway.mac, mallory.mac, IPV4, &packet)
    })
}

/// Sends them, and returns how many connections the host then tracks.
fn flood(shared: &mut Shared, count: u32) -> Result<u32> {
    let frames = flows(shared, count);
    shared.mallory.run(|| {
        let socket = PacketSocket::on("eth0")?;
        for frame in frames {
            socket.send(&frame)?;
        }
        Ok(())
    })?;
    shared.reach(&[])?;
    tracked()
}

fn connections_are_limited(sandbox: &Sandbox) -> Result<()> {
    let lan = Lan::join(sandbox)?;
    let mut shared = Shared::with(r#""connection_limit": "50""#)?;
    let _servers = lan.run(|| serve(80))?;
    let before = tracked()?;
    let after = flood(&mut shared, 500)?;
    ensure!((40..=60).contains(&(after - before)), "{before} connections became {after}");
    // Others have theirs, and mallory has no more.
    shared.victim.run(|| ask_tcp(on(Lan::CLIENT_IPV4, 80)))?;
    shared.mallory.run(|| ensure_silent(on(Lan::CLIENT_IPV4, 80)))
}

fn hundred_thousand_connections(sandbox: &Sandbox) -> Result<()> {
    let lan = Lan::join(sandbox)?;
    let mut shared = Shared::new()?;
    let _servers = lan.run(|| serve(80))?;
    let start = Instant::now();
    let tracked = flood(&mut shared, 100_000)?;
    println!("100000 connections asked for, {tracked} tracked, in {:?}", start.elapsed());
    ensure!((4000..=4200).contains(&tracked), "{tracked} connections are tracked");
    shared.victim.run(|| ensure_answers(on(Lan::CLIENT_IPV4, 80)))
}

fn unlimited_connections(sandbox: &Sandbox) -> Result<()> {
    let _lan = Lan::join(sandbox)?;
    let mut shared = Shared::with(r#""connection_limit": "none""#)?;
    let tracked = flood(&mut shared, 6000)?;
    ensure!(tracked >= 6000, "{tracked} connections are tracked");
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

/// Measured, not asserted: what the guard costs a bridged packet, and an attachment.
fn cost(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let victim = shared.stations.victim;
    let frames_per_second = || {
        let packet = ipv4(shared.stations.mallory.ipv4, victim.ipv4, UDP, &udp(9, 9, &[0; 64]));
        let frame = ethernet(victim.mac, shared.stations.mallory.mac, IPV4, &packet);
        shared.mallory.run(|| {
            const COUNT: u32 = 200_000;
            let socket = PacketSocket::on("eth0")?;
            let start = Instant::now();
            for _ in 0..COUNT {
                socket.send(&frame)?;
            }
            Ok(f64::from(COUNT) / start.elapsed().as_secs_f64())
        })
    };
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        rates[0].push(frames_per_second()?);
        let rules = run("nft list table bridge rootful_net")?;
        run("nft delete table bridge rootful_net")?;
        rates[1].push(frames_per_second()?);
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), rules)?;
        run(&format!("nft -f {}", file.path().display()))?;
    }
    let [with, without] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!(
        "bridged 106-byte frames a second, median of 5: {with:.0} with the guard, {without:.0} without \
         ({:.0} ns a frame)",
        1e9 / with - 1e9 / without
    );
    let mut host = Host::with(&[("timed", 88, "")])?;
    let containers = (0..40).map(|_| Container::of(ALICE)).collect::<Result<Vec<_>>>()?;
    let mut times = Vec::new();
    let mut last = None;
    for (number, container) in containers.iter().enumerate() {
        let name = format!("timed{number}");
        let start = Instant::now();
        last = Some(host.attach(container, (ALICE, &name), "timed", &["80"])?);
        times.push(start.elapsed().as_micros());
    }
    times.sort_unstable();
    println!("attach, planned and carried out, median of 40: {} µs", times[20]);
    let last = last.context("40 were attached")?;
    let all = [attachment_elements(&last), guard_elements(&last)].concat();
    let published = all.iter().filter(|element| element.set.starts_with("publish"));
    let (all_time, published_time) =
        (change_time(&all)?, change_time(&published.cloned().collect::<Vec<_>>())?);
    println!(
        "elements of an attachment, added, median of 51: {} in {all_time} µs; only its ports: {published_time} µs",
        all.len()
    );
    Ok(())
}

/// How long it takes to add elements that are there, in microseconds.
fn change_time(elements: &[Element]) -> Result<u128> {
    let mut rules = Rules::open()?;
    let elements = || elements.iter().cloned();
    let mut times = Vec::new();
    for _ in 0..51 {
        rules.apply(&elements().map(Change::DeleteElement).collect())?;
        let start = Instant::now();
        rules.apply(&elements().map(Change::AddElement).collect())?;
        times.push(start.elapsed().as_micros());
    }
    times.sort_unstable();
    Ok(times[25])
}
