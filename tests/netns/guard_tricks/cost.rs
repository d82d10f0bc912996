//! What the guard costs a bridged packet, and an attachment. Measured, not asserted.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rootful_net_core::ruleset::{Change, Element, attachment_elements, guard_elements};
use rootful_net_kernel::rules::Rules;
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::frame::{IPV4, UDP, ethernet, ipv4, udp};
use rootful_net_tests::namespace::run;
use rootful_net_tests::packet::PacketSocket;
use rootful_net_tests::sandbox::Sandbox;

use super::ALICE;
use crate::guarded::{Host, Shared};

pub(super) const TESTS: &[Test] = &[("guard::cost_of_the_guard_is_measured", cost)];

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
