//! What a plan makes of a veth pair and of the container's interface.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::ensure;
use rootful_net_core::plan::Step;
use rootful_net_kernel::{Kernel, Namespace};
use rootful_net_tests::Test;
use rootful_net_tests::namespace::{NetworkNamespace, run_json};
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_tcp, ask_udp};

use crate::attaching::{
    addresses, attach, attached, bridge, generation_mode, is_up, link_names, no_tentative_address,
    show, veth,
};

pub(crate) const TESTS: &[Test] = &[
    ("links::veth_has_what_was_asked_for_on_both_ends", veth_has_what_was_asked_for),
    ("links::no_address_is_tentative_when_the_plan_is_done", no_address_is_tentative),
    ("links::host_and_container_talk_at_once", host_and_container_talk_at_once),
    ("links::removing_what_is_gone_is_no_error", removing_what_is_gone),
    ("links::attachments_are_timed", attachments_are_timed),
];

fn veth_has_what_was_asked_for(_: &Sandbox) -> anyhow::Result<()> {
    let (_kernel, container) = attached()?;
    let host = show("rn0000000002")?;
    ensure!(is_up(&host) && host["master"] == "rootful0" && host["mtu"] == 1400, "{host:#}");
    ensure!(host["ifalias"] == "rootful-net attachment 2", "{host:#}");
    ensure!(addresses(&host).is_empty(), "{host:#}");
    ensure!(generation_mode("rn0000000002")? == "none");
    container.run(|| {
        let link = show("eth0")?;
        ensure!(is_up(&link) && link["mtu"] == 1400, "{link:#}");
        ensure!(link["address"] == "02:00:00:01:00:02", "{link:#}");
        ensure!(link["addr_info"][0]["broadcast"] == "10.87.255.255", "{link:#}");
        let expected = ["10.87.0.2/16", "fd00:87::2/64", "fe80::2/64"];
        ensure!(addresses(&link) == expected, "{link:#}");
        ensure!(generation_mode("eth0")? == "none");
        ensure!(is_up(&show("lo")?));
        let route = |family| run_json(&format!("ip -json {family} route show default"));
        let (ipv4, ipv6) = (route("-4")?, route("-6")?);
        ensure!(ipv4[0]["gateway"] == "10.87.0.1" && ipv4[0]["dev"] == "eth0", "{ipv4:#}");
        ensure!(ipv6[0]["gateway"] == "fd00:87::1" && ipv6[0]["dev"] == "eth0", "{ipv6:#}");
        // /proc/sys/net is that of the reading thread.
        let accept_ra = std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra")?;
        ensure!(accept_ra == "0\n", "{accept_ra}");
        Ok(())
    })
}

fn no_address_is_tentative(_: &Sandbox) -> anyhow::Result<()> {
    let (_kernel, container) = attached()?;
    no_tentative_address()?;
    container.run(no_tentative_address)
}

fn host_and_container_talk_at_once(_: &Sandbox) -> anyhow::Result<()> {
    let (_kernel, container) = attached()?;
    let address = |ip: &str| -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(ip.parse::<IpAddr>()?, 8080))
    };
    for (host, inside) in [("10.87.0.1", "10.87.0.2"), ("fd00:87::1", "fd00:87::2")] {
        let (host, inside) = (address(host)?, address(inside)?);
        let _server = container.run(|| Server::tcp(inside))?;
        let seen = ask_tcp(inside)?;
        ensure!(seen.ip() == host.ip(), "{seen}");
        let _server = Server::udp(host)?;
        let seen = container.run(|| ask_udp(host))?;
        ensure!(seen.ip() == inside.ip(), "{seen}");
    }
    Ok(())
}

fn removing_what_is_gone(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, container) = attached()?;
    let link = veth(2).host_link;
    kernel.apply(&Step::DeleteLink(link.clone()), None)?;
    ensure!(container.run(link_names)?.is_empty());
    kernel.apply(&Step::DeleteLink(link), None)?;
    Ok(())
}

fn attachments_are_timed(_: &Sandbox) -> anyhow::Result<()> {
    const COUNT: u16 = 60;
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    let namespaces: Vec<_> =
        (0..COUNT).map(|_| NetworkNamespace::new()).collect::<Result<_, _>>()?;
    let mut steps: [Vec<u128>; 3] = Default::default();
    let mut whole = Vec::new();
    for (number, namespace) in (2..).zip(&namespaces) {
        let namespace = Namespace::verify(namespace.fd()?)?;
        let begin = Instant::now();
        for (times, step) in steps.iter_mut().zip(attach(number)) {
            let begin = Instant::now();
            kernel.apply(&step, Some(&namespace))?;
            times.push(begin.elapsed().as_micros());
        }
        whole.push(begin.elapsed().as_micros());
    }
    let begin = Instant::now();
    kernel.apply(&Step::DeleteLink(veth(2).host_link), None)?;
    let delete = begin.elapsed().as_micros();
    let [create, set_up, bring_up] = steps.map(median);
    let whole = median(whole);
    println!(
        "attach, median of {COUNT}: {whole} µs (veth {create}, interface {set_up}, up {bring_up}); \
         delete {delete} µs"
    );
    // An alarm and not a benchmark: ten times what it takes on a slow machine.
    ensure!(whole < 50_000, "an attachment takes {whole} µs");
    Ok(())
}

fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}
