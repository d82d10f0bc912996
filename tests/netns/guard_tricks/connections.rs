//! How many connections of one container the host keeps track of.

use std::fs;
use std::time::Instant;

use anyhow::{Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::frame::{IPV4, UDP, ethernet, ipv4, udp};
use rootful_net_tests::lan::Lan;
use rootful_net_tests::packet::PacketSocket;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::ask_tcp;

use super::{ensure_answers, ensure_silent, on, serve};
use crate::guarded::Shared;

pub(super) const TESTS: &[Test] = &[
    ("guard::connections_are_limited", connections_are_limited),
    ("guard::hundred_thousand_connections_leave_room", hundred_thousand_connections),
    ("guard::connections_are_unlimited_where_the_network_says_so", unlimited_connections),
];

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
