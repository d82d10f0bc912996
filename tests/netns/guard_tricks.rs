//! What else the owner of a namespace can do: to the interface, to the bridge's and the host's tables, and
//! across networks; and what the guard costs.

mod connections;
mod cost;
mod interface;
mod reach;
mod tables;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::frame::{BROADCAST, IPV4, UDP, ethernet, ipv4, udp};
use rootful_net_tests::traffic::{Server, ask_tcp, ask_tcp_within, ask_udp, ask_udp_within};

use crate::guarded::Shared;

/// Those of all parts.
pub(crate) fn tests() -> Vec<Test> {
    [reach::TESTS, interface::TESTS, tables::TESTS, connections::TESTS, cost::TESTS].concat()
}

/// The tests that this kernel cannot run.
pub(crate) fn unavailable() -> Vec<(&'static str, &'static str)> {
    interface::unavailable()
}

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
