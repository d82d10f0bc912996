//! The LAN that other tests use, and the servers and clients on it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::ensure;
use rootful_net_tests::Test;
use rootful_net_tests::lan::Lan;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_tcp, ask_tcp_within, ask_udp, ask_udp_within};

pub(crate) const TESTS: &[Test] = &[
    ("lan::client_and_host_talk_and_see_each_others_addresses", client_and_host_talk),
    ("lan::nobody_answers_where_nobody_listens", nobody_answers),
];

const HOST: [IpAddr; 2] = [IpAddr::V4(Lan::HOST_IPV4), IpAddr::V6(Lan::HOST_IPV6)];
const CLIENT: [IpAddr; 2] = [IpAddr::V4(Lan::CLIENT_IPV4), IpAddr::V6(Lan::CLIENT_IPV6)];

fn client_and_host_talk(sandbox: &Sandbox) -> anyhow::Result<()> {
    let lan = Lan::join(sandbox)?;
    for (host, client) in HOST.into_iter().zip(CLIENT) {
        let server = Server::tcp(SocketAddr::new(host, 0))?;
        ensure!(lan.run(|| ask_tcp(server.address()))?.ip() == client);
        let server = lan.run(|| Server::udp(SocketAddr::new(client, 0)))?;
        ensure!(ask_udp(server.address())?.ip() == host);
    }
    Ok(())
}

fn nobody_answers(sandbox: &Sandbox) -> anyhow::Result<()> {
    let lan = Lan::join(sandbox)?;
    let (address, deadline) = (SocketAddr::new(HOST[0], 9), Duration::from_millis(200));
    lan.run(|| {
        ensure!(ask_tcp_within(address, deadline).is_err());
        ensure!(ask_udp_within(address, deadline).is_err());
        Ok(())
    })
}
