//! How many connections of one container the host keeps track of.

use std::fs;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::frame::{IPV4, IPV6, UDP, ethernet, ipv4, ipv6, udp};
use rootful_net_tests::lan::Lan;
use rootful_net_tests::packet::PacketSocket;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::ask_tcp;

use super::{ensure_answers, ensure_silent, on, serve};
use crate::guarded::Shared;

pub(super) const TESTS: &[Test] = &[
    ("guard::connections_are_limited", |sandbox| {
        connections_are_limited(sandbox, Lan::CLIENT_IPV4.into())
    }),
    ("guard::connections_over_ipv6_are_limited", |sandbox| {
        connections_are_limited(sandbox, Lan::CLIENT_IPV6.into())
    }),
    ("guard::hundred_thousand_connections_leave_room", hundred_thousand_connections),
    ("guard::connections_are_unlimited_where_the_network_says_so", unlimited_connections),
];

fn tracked() -> Result<u32> {
    Ok(fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?.trim().parse()?)
}

/// Mallory's datagrams to somebody on the LAN, each from and to other ports.
fn flows(shared: &Shared, to: IpAddr, count: u32) -> impl Iterator<Item = Vec<u8>> + use<> {
    let (mallory, gateway) = (shared.stations.mallory, shared.stations.gateway);
    (0..count).map(move |number| {
        let [high, low] = [number / 50_000, number % 50_000];
        let port = |number: u32| u16::try_from(10_000 + number).expect("a port");
        let datagram = udp(port(low), port(high), b"hello");
        let (kind, packet) = match to {
            IpAddr::V4(to) => (IPV4, ipv4(mallory.ipv4, to, UDP, &datagram)),
            IpAddr::V6(to) => (IPV6, ipv6(mallory.ipv6, to, UDP, 64, &datagram)),
        };
        ethernet(gateway.mac, mallory.mac, kind, &packet)
    })
}

/// Sends them, and returns how many connections the host then tracks.
fn flood(shared: &mut Shared, to: IpAddr, count: u32) -> Result<u32> {
    let frames = flows(shared, to, count);
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

fn connections_are_limited(sandbox: &Sandbox, client: IpAddr) -> Result<()> {
    let lan = Lan::join(sandbox)?;
    let mut shared = Shared::with(r#""connection_limit": "50""#)?;
    let _servers = lan.run(|| serve(80))?;
    let before = tracked()?;
    let after = flood(&mut shared, client, 500)?;
    ensure!((40..=60).contains(&(after - before)), "{before} connections became {after}");
    // Others have theirs, and mallory has no more.
    shared.victim.run(|| ask_tcp(on(client, 80)))?;
    shared.mallory.run(|| ensure_silent(on(client, 80)))
}

fn hundred_thousand_connections(sandbox: &Sandbox) -> Result<()> {
    let lan = Lan::join(sandbox)?;
    let mut shared = Shared::new()?;
    let _servers = lan.run(|| serve(80))?;
    let start = Instant::now();
    let tracked = flood(&mut shared, Lan::CLIENT_IPV4.into(), 100_000)?;
    println!("100000 connections asked for, {tracked} tracked, in {:?}", start.elapsed());
    ensure!((4000..=4200).contains(&tracked), "{tracked} connections are tracked");
    shared.victim.run(|| ensure_answers(on(Lan::CLIENT_IPV4, 80)))
}

fn unlimited_connections(sandbox: &Sandbox) -> Result<()> {
    let _lan = Lan::join(sandbox)?;
    let mut shared = Shared::with(r#""connection_limit": "none""#)?;
    let tracked = flood(&mut shared, Lan::CLIENT_IPV4.into(), 6000)?;
    ensure!(tracked >= 6000, "{tracked} connections are tracked");
    Ok(())
}
