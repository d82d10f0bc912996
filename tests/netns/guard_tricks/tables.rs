//! What frames do to the tables of the bridge and the host's of neighbours, and what the bridge does by itself.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::frame::{
    ARP, BROADCAST, ICMPV6, IPV4, IPV6, UDP, arp, ethernet, icmpv6, ipv4, ipv6, link_layer_option,
    solicitation, udp,
};
use rootful_net_tests::namespace::{NetworkNamespace, run, run_json};
use rootful_net_tests::sandbox::Sandbox;

use super::{ensure_answers, on, serve};
use crate::daemon::DEADLINE;
use crate::guarded::Shared;

pub(super) const TESTS: &[Test] = &[
    ("guard::mac_is_checked_without_the_table", mac_without_table),
    ("guard::other_ports_of_the_bridge_are_left_alone", other_ports),
    ("guard::forwarding_database_does_not_grow", forwarding_database),
    ("guard::unknown_destinations_reach_nobody", unknown_destinations),
    ("guard::neighbour_tables_do_not_grow_by_forgery", neighbours_by_forgery),
    ("guard::neighbour_tables_do_not_grow_by_routing", neighbours_by_routing),
    ("guard::answers_to_neighbour_probes_pass", neighbour_probes),
];

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

/// A host that wonders whether a neighbour is still there asks it alone. Linux answers that without its MAC address:
/// ndisc_recv_ns() of the kernel's net/ipv6/ndisc.c.
fn neighbour_probes(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let mallory = shared.stations.mallory;
    let mac = mallory.mac.map(|octet| format!("{octet:02x}")).join(":");
    let shown = |address: IpAddr| run(&format!("ip neighbour show {address} dev shared0"));
    for address in [IpAddr::from(mallory.ipv4), mallory.ipv6.into(), mallory.link_local.into()] {
        run(&format!("ip neighbour replace {address} dev shared0 lladdr {mac} nud probe"))?;
        eventually(DEADLINE, || {
            let shown = shown(address)?;
            ensure!(!shown.contains("PROBE"), "{shown}");
            Ok(())
        })?;
        let shown = shown(address)?;
        ensure!(shown.contains("REACHABLE"), "{shown}");
    }
    Ok(())
}
