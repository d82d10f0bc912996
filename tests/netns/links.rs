//! Bridges, veth pairs and the container's interface: what a plan makes of the kernel, and what is left when
//! it fails.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use rootful_net_core::link::{Bridge, InterfaceSetup, Veth};
use rootful_net_core::plan::Step;
use rootful_net_core::ruleset::{Change, TableName, Transaction, inet_table};
use rootful_net_kernel::{ExecuteError, Kernel, KernelError, Namespace};
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::namespace::{NetworkNamespace, run, run_json};
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_tcp, ask_udp};
use serde_json::{Value, json};

const ALICE: u32 = 1000;

pub(crate) const TESTS: &[Test] = &[
    (
        "links::bridge_has_what_was_asked_for",
        bridge_has_what_was_asked_for,
    ),
    (
        "links::link_with_the_bridges_name_is_left_alone",
        taken_bridge_name,
    ),
    (
        "links::bridge_is_repaired_and_foreign_addresses_stay",
        bridge_is_repaired,
    ),
    (
        "links::bridge_with_an_impossible_address_leaves_no_link",
        impossible_bridge_address,
    ),
    (
        "links::veth_has_what_was_asked_for_on_both_ends",
        veth_has_what_was_asked_for,
    ),
    (
        "links::no_address_is_tentative_when_the_plan_is_done",
        no_address_is_tentative,
    ),
    (
        "links::host_and_container_talk_at_once",
        host_and_container_talk_at_once,
    ),
    (
        "links::taken_interface_name_is_refused_and_leaves_no_link",
        taken_interface_name,
    ),
    (
        "links::second_default_route_is_an_error",
        second_default_route,
    ),
    (
        "links::container_without_ipv6_is_set_up_for_ipv4",
        container_without_ipv6,
    ),
    (
        "links::refused_address_comes_with_the_kernels_reason",
        refused_address,
    ),
    (
        "links::veth_without_its_bridge_names_the_bridge",
        veth_without_bridge,
    ),
    (
        "links::failing_step_in_the_middle_leaves_no_link",
        failing_step_leaves_no_link,
    ),
    (
        "links::failed_undo_is_reported_beside_the_cause",
        failed_undo_is_reported,
    ),
    (
        "links::step_inside_needs_a_namespace",
        step_inside_needs_a_namespace,
    ),
    (
        "links::removing_what_is_gone_is_no_error",
        removing_what_is_gone,
    ),
    ("links::attachments_are_timed", attachments_are_timed),
];

pub(crate) fn bridge() -> Bridge {
    Bridge {
        name: "rootful0".parse().expect("an interface name"),
        alias: "rootful-net network rootful0".to_owned(),
        mac: "02:00:5e:10:00:01".parse().expect("a MAC address"),
        mtu: Some(1400),
        addresses: ["10.87.0.1/16", "fd00:87::1/64"]
            .map(|net| net.parse().expect("a net"))
            .into(),
    }
}

/// The `number`th container's veth pair on [`bridge`].
pub(crate) fn veth(number: u16) -> Veth {
    Veth {
        host_link: format!("rn{number:010x}")
            .parse()
            .expect("an interface name"),
        alias: format!("rootful-net attachment {number}"),
        bridge: bridge().name,
        container_link: "eth0".parse().expect("an interface name"),
        container_mac: [2, 0, 0, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]]
            .try_into()
            .expect("a MAC address"),
        mtu: Some(1400),
    }
}

/// What the `number`th container's interface carries.
pub(crate) fn setup(number: u16) -> InterfaceSetup {
    let [high, low] = number.to_be_bytes();
    let addresses = [
        format!("10.87.{high}.{low}/16"),
        format!("fd00:87::{number:x}/64"),
    ];
    InterfaceSetup {
        name: veth(number).container_link,
        addresses: addresses.map(|net| net.parse().expect("a net")).into(),
        link_local: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number)),
        default_routers: ["10.87.0.1", "fd00:87::1"]
            .map(|ip| ip.parse().expect("an IP"))
            .into(),
    }
}

/// The steps that attach the `number`th container.
pub(crate) fn attach(number: u16) -> Vec<Step> {
    let veth = veth(number);
    let host_link = veth.host_link.clone();
    vec![
        Step::CreateVeth(veth),
        Step::SetUpInterface(setup(number)),
        Step::BringUp(host_link),
    ]
}

pub(crate) fn verify(container: &Container) -> anyhow::Result<Namespace> {
    Ok(Namespace::verify(container.namespace().fd()?)?)
}

/// A bridge with the second container on it.
fn attached() -> anyhow::Result<(Kernel, Container)> {
    let container = Container::of(ALICE)?;
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    kernel.carry_out(&attach(2), Some(&verify(&container)?))?;
    Ok((kernel, container))
}

fn show(link: &str) -> anyhow::Result<Value> {
    Ok(run_json(&format!("ip -details -json address show dev {link}"))?[0].take())
}

/// How the kernel would make a link-local address of its own.
fn generation_mode(link: &str) -> anyhow::Result<Value> {
    let mut links = run_json(&format!("ip -details -json link show dev {link}"))?;
    Ok(links[0]["inet6_addr_gen_mode"].take())
}

fn no_tentative_address() -> anyhow::Result<()> {
    let addresses = run("ip address show")?;
    ensure!(!addresses.contains("tentative"), "{addresses}");
    Ok(())
}

/// Addresses with prefix lengths, in the order in which `ip` shows them.
fn addresses(link: &Value) -> Vec<String> {
    let infos = link["addr_info"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let text = |info: &Value| {
        format!(
            "{}/{}",
            info["local"].as_str().unwrap_or_default(),
            info["prefixlen"]
        )
    };
    infos.iter().map(text).collect()
}

fn is_up(link: &Value) -> bool {
    link["flags"]
        .as_array()
        .is_some_and(|flags| flags.contains(&json!("UP")))
}

/// The names of all links here but the loopback interface.
fn link_names() -> anyhow::Result<Vec<String>> {
    let links = run_json("ip -json link show")?;
    let names = links.as_array().context("a list")?.iter();
    let names = names
        .filter_map(|link| link["ifname"].as_str())
        .filter(|name| *name != "lo");
    Ok(names.map(str::to_owned).collect())
}

fn expect_failure(outcome: Result<(), ExecuteError>) -> anyhow::Result<ExecuteError> {
    outcome.err().context("the steps were carried out")
}

fn bridge_has_what_was_asked_for(_: &Sandbox) -> anyhow::Result<()> {
    Kernel::open()?.carry_out(&[Step::CreateBridge(bridge())], None)?;
    let link = show("rootful0")?;
    ensure!(is_up(&link), "{link:#}");
    ensure!(
        link["ifalias"] == "rootful-net network rootful0",
        "{link:#}"
    );
    ensure!(
        link["address"] == "02:00:5e:10:00:01" && link["mtu"] == 1400,
        "{link:#}"
    );
    ensure!(generation_mode("rootful0")? == "none");
    let info = &link["linkinfo"];
    ensure!(info["info_kind"] == "bridge", "{link:#}");
    ensure!(info["info_data"]["stp_state"] == 0, "{link:#}");
    ensure!(info["info_data"]["mcast_snooping"] == 0, "{link:#}");
    let expected = ["10.87.0.1/16", "fd00:87::1/64", "fe80::5eff:fe10:1/64"];
    ensure!(addresses(&link) == expected, "{link:#}");
    no_tentative_address()
}

fn taken_bridge_name(_: &Sandbox) -> anyhow::Result<()> {
    run("ip link add rootful0 type veth peer name other")?;
    let error = expect_failure(Kernel::open()?.carry_out(&[Step::CreateBridge(bridge())], None))?;
    ensure!(
        matches!(error.source, KernelError::LinkExists { .. }),
        "{error:?}"
    );
    let link = show("rootful0")?;
    ensure!(
        link["linkinfo"]["info_kind"] == "veth" && link["ifalias"].is_null(),
        "{link:#}"
    );
    ensure!(!is_up(&link) && addresses(&link).is_empty(), "{link:#}");
    Ok(())
}

fn bridge_is_repaired(_: &Sandbox) -> anyhow::Result<()> {
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    run("ip address add 203.0.113.1/24 dev rootful0")?;
    run("ip address del 10.87.0.1/16 dev rootful0")?;
    run("ip link set rootful0 down mtu 1300")?;
    kernel.carry_out(&[Step::RepairBridge(bridge())], None)?;
    let link = show("rootful0")?;
    ensure!(is_up(&link) && link["mtu"] == 1400, "{link:#}");
    let mut found = addresses(&link);
    found.sort_unstable();
    let expected = [
        "10.87.0.1/16",
        "203.0.113.1/24",
        "fd00:87::1/64",
        "fe80::5eff:fe10:1/64",
    ];
    ensure!(found == expected, "{link:#}");
    no_tentative_address()?;
    // And again where nothing is to be done.
    kernel.carry_out(&[Step::RepairBridge(bridge())], None)?;
    ensure!(show("rootful0")?["addr_info"] == link["addr_info"]);
    Ok(())
}

fn impossible_bridge_address(_: &Sandbox) -> anyhow::Result<()> {
    let mut impossible = bridge();
    impossible.addresses.push("ff02::1/64".parse()?);
    let error = expect_failure(Kernel::open()?.carry_out(&[Step::CreateBridge(impossible)], None))?;
    ensure!(
        error.source.to_string() == "cannot give rootful0 the address ff02::1/64",
        "{error:?}"
    );
    ensure!(link_names()?.is_empty(), "{:?}", link_names()?);
    Ok(())
}

fn veth_has_what_was_asked_for(_: &Sandbox) -> anyhow::Result<()> {
    let (_kernel, container) = attached()?;
    let host = show("rn0000000002")?;
    ensure!(
        is_up(&host) && host["master"] == "rootful0" && host["mtu"] == 1400,
        "{host:#}"
    );
    ensure!(host["ifalias"] == "rootful-net attachment 2", "{host:#}");
    ensure!(addresses(&host).is_empty(), "{host:#}");
    ensure!(generation_mode("rn0000000002")? == "none");
    container.run(|| {
        let link = show("eth0")?;
        ensure!(is_up(&link) && link["mtu"] == 1400, "{link:#}");
        ensure!(link["address"] == "02:00:00:01:00:02", "{link:#}");
        ensure!(
            link["addr_info"][0]["broadcast"] == "10.87.255.255",
            "{link:#}"
        );
        let expected = ["10.87.0.2/16", "fd00:87::2/64", "fe80::2/64"];
        ensure!(addresses(&link) == expected, "{link:#}");
        ensure!(generation_mode("eth0")? == "none");
        ensure!(is_up(&show("lo")?));
        let route = |family| run_json(&format!("ip -json {family} route show default"));
        let (ipv4, ipv6) = (route("-4")?, route("-6")?);
        ensure!(
            ipv4[0]["gateway"] == "10.87.0.1" && ipv4[0]["dev"] == "eth0",
            "{ipv4:#}"
        );
        ensure!(
            ipv6[0]["gateway"] == "fd00:87::1" && ipv6[0]["dev"] == "eth0",
            "{ipv6:#}"
        );
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

fn taken_interface_name(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    container.run(|| run("ip link add eth0 type veth peer name eth1"))?;
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    let error = expect_failure(kernel.carry_out(&attach(2), Some(&verify(&container)?)))?;
    ensure!(
        matches!(error.source, KernelError::InterfaceExists { .. }),
        "{error:?}"
    );
    ensure!(link_names()? == ["rootful0"], "{:?}", link_names()?);
    Ok(())
}

fn second_default_route(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, container) = attached()?;
    let mut second = veth(3);
    second.container_link = "eth1".parse()?;
    let mut setup = setup(3);
    setup.name = second.container_link.clone();
    let steps = [Step::CreateVeth(second), Step::SetUpInterface(setup)];
    let error = expect_failure(kernel.carry_out(&steps, Some(&verify(&container)?)))?;
    let message = "cannot make 10.87.0.1 the default router of eth1";
    ensure!(error.source.to_string() == message, "{error:?}");
    ensure!(
        link_names()? == ["rootful0", "rn0000000002"],
        "{:?}",
        link_names()?
    );
    Ok(())
}

/// A container whose new interfaces have no IPv6, and a bridge.
fn container_with_ipv6_switched_off() -> anyhow::Result<(Kernel, Container)> {
    let container = Container::of(ALICE)?;
    container.run(|| {
        Ok(std::fs::write(
            "/proc/sys/net/ipv6/conf/default/disable_ipv6",
            "1",
        )?)
    })?;
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    Ok((kernel, container))
}

fn container_without_ipv6(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, container) = container_with_ipv6_switched_off()?;
    let mut steps = attach(2);
    for step in &mut steps {
        if let Step::SetUpInterface(setup) = step {
            setup.addresses.retain(|address| address.addr().is_ipv4());
            setup.default_routers.retain(IpAddr::is_ipv4);
            setup.link_local = None;
        }
    }
    kernel.carry_out(&steps, Some(&verify(&container)?))?;
    let link = container.run(|| show("eth0"))?;
    ensure!(
        is_up(&link) && addresses(&link) == ["10.87.0.2/16"],
        "{link:#}"
    );
    Ok(())
}

fn refused_address(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, container) = container_with_ipv6_switched_off()?;
    let error = expect_failure(kernel.carry_out(&attach(2), Some(&verify(&container)?)))?;
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(
        text.contains("cannot give eth0 the address fd00:87::2/64: "),
        "{text}"
    );
    ensure!(
        text.ends_with(": IPv6 is disabled on this device"),
        "{text}"
    );
    Ok(())
}

fn veth_without_bridge(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    let outcome = Kernel::open()?.carry_out(&attach(2), Some(&verify(&container)?));
    let error = expect_failure(outcome)?;
    ensure!(
        error.source.to_string() == "there is no link named rootful0",
        "{error:?}"
    );
    ensure!(link_names()?.is_empty(), "{:?}", link_names()?);
    Ok(())
}

fn failing_step_leaves_no_link(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    let mut steps = vec![Step::CreateBridge(bridge())];
    steps.extend(attach(2));
    for step in &mut steps {
        if let Step::SetUpInterface(setup) = step {
            setup.default_routers = vec!["192.0.2.1".parse()?];
        }
    }
    let outcome = Kernel::open()?.carry_out(&steps, Some(&verify(&container)?));
    let error = expect_failure(outcome)?;
    ensure!(error.undo_failures.is_empty(), "{error:?}");
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(
        text.starts_with("cannot set up eth0 in the container"),
        "{text}"
    );
    ensure!(
        text.contains("cannot make 192.0.2.1 the default router of eth0: "),
        "{text}"
    );
    ensure!(link_names()?.is_empty(), "{:?}", link_names()?);
    let inside = container.run(link_names)?;
    ensure!(inside.is_empty(), "{inside:?}");
    Ok(())
}

fn failed_undo_is_reported(_: &Sandbox) -> anyhow::Result<()> {
    let rules = |change| Step::ChangeRules(Transaction::new(vec![change]));
    let steps = [
        Step::CreateBridge(bridge()),
        rules(Change::ReplaceTable(inet_table())),
        // Then the first change of the rules cannot be taken back.
        rules(Change::DeleteTable(TableName::INET)),
        Step::BringUp("rn0000000002".parse()?),
    ];
    let error = expect_failure(Kernel::open()?.carry_out(&steps, None))?;
    ensure!(error.undo_failures.len() == 1, "{error:?}");
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(text.starts_with("cannot bring up rn0000000002; "), "{text}");
    ensure!(text.contains("cannot change the ruleset: "), "{text}");
    ensure!(
        text.ends_with("there is no link named rn0000000002"),
        "{text}"
    );
    // The undo that failed did not keep the one before it from being done.
    ensure!(link_names()?.is_empty(), "{:?}", link_names()?);
    Ok(())
}

fn step_inside_needs_a_namespace(_: &Sandbox) -> anyhow::Result<()> {
    let mut kernel = Kernel::open()?;
    for step in [Step::CreateVeth(veth(2)), Step::SetUpInterface(setup(2))] {
        let outcome = kernel.apply(&step, None);
        ensure!(
            matches!(outcome, Err(KernelError::NoNamespace)),
            "{outcome:?}"
        );
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
    let namespaces: Vec<_> = (0..COUNT)
        .map(|_| NetworkNamespace::new())
        .collect::<Result<_, _>>()?;
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
