//! The network, the containers and the steps that tests attach by, and a look at what came of it.

use std::net::Ipv6Addr;

use anyhow::{Context as _, ensure};
use rootful_net_core::link::{Bridge, Hairpin, InterfaceSetup, Veth};
use rootful_net_core::network::Neighbours;
use rootful_net_core::plan::Step;
use rootful_net_kernel::{ExecuteError, Kernel, Namespace};
use rootful_net_tests::container::Container;
use rootful_net_tests::namespace::{run, run_json};
use serde_json::{Value, json};

pub(crate) const ALICE: u32 = 1000;

pub(crate) fn bridge() -> Bridge {
    Bridge {
        name: "rootful0".parse().expect("an interface name"),
        alias: "rootful-net network rootful0".to_owned(),
        mac: "02:00:5e:10:00:01".parse().expect("a MAC address"),
        mtu: Some(1400),
        addresses: ["10.87.0.1/16", "fd00:87::1/64"].map(|net| net.parse().expect("a net")).into(),
    }
}

/// The `number`th container's veth pair on [`bridge`].
pub(crate) fn veth(number: u16) -> Veth {
    Veth {
        host_link: format!("rn{number:010x}").parse().expect("an interface name"),
        alias: format!("rootful-net attachment {number}"),
        bridge: bridge().name,
        container_link: "eth0".parse().expect("an interface name"),
        container_mac: [2, 0, 0, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]]
            .try_into()
            .expect("a MAC address"),
        mtu: Some(1400),
        neighbours: Neighbours::Reachable,
        hairpin: Hairpin::Off,
    }
}

/// What the `number`th container's interface carries.
pub(crate) fn setup(number: u16) -> InterfaceSetup {
    let [high, low] = number.to_be_bytes();
    let addresses = [format!("10.87.{high}.{low}/16"), format!("fd00:87::{number:x}/64")];
    InterfaceSetup {
        name: veth(number).container_link,
        addresses: addresses.map(|net| net.parse().expect("a net")).into(),
        link_local: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number)),
        default_routers: ["10.87.0.1", "fd00:87::1"].map(|ip| ip.parse().expect("an IP")).into(),
    }
}

/// The steps that attach the `number`th container.
pub(crate) fn attach(number: u16) -> Vec<Step> {
    let veth = veth(number);
    let host_link = veth.host_link.clone();
    vec![Step::CreateVeth(veth), Step::SetUpInterface(setup(number)), Step::BringUp(host_link)]
}

pub(crate) fn verify(container: &Container) -> anyhow::Result<Namespace> {
    Ok(Namespace::verify(container.namespace().fd()?)?)
}

/// A bridge with the second container on it.
pub(crate) fn attached() -> anyhow::Result<(Kernel, Container)> {
    let container = Container::of(ALICE)?;
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    kernel.carry_out(&attach(2), Some(&verify(&container)?))?;
    Ok((kernel, container))
}

pub(crate) fn show(link: &str) -> anyhow::Result<Value> {
    Ok(run_json(&format!("ip -details -json address show dev {link}"))?[0].take())
}

/// How the kernel would make a link-local address of its own.
pub(crate) fn generation_mode(link: &str) -> anyhow::Result<Value> {
    let mut links = run_json(&format!("ip -details -json link show dev {link}"))?;
    Ok(links[0]["inet6_addr_gen_mode"].take())
}

pub(crate) fn no_tentative_address() -> anyhow::Result<()> {
    let addresses = run("ip address show")?;
    ensure!(!addresses.contains("tentative"), "{addresses}");
    Ok(())
}

/// Addresses with prefix lengths, in the order in which `ip` shows them.
pub(crate) fn addresses(link: &Value) -> Vec<String> {
    let infos = link["addr_info"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |info: &Value| {
        format!("{}/{}", info["local"].as_str().unwrap_or_default(), info["prefixlen"])
    };
    infos.iter().map(text).collect()
}

pub(crate) fn is_up(link: &Value) -> bool {
    link["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP")))
}

/// The names of all links here but the loopback interface.
pub(crate) fn link_names() -> anyhow::Result<Vec<String>> {
    let links = run_json("ip -json link show")?;
    let names = links.as_array().context("a list")?.iter();
    let names = names.filter_map(|link| link["ifname"].as_str()).filter(|name| *name != "lo");
    Ok(names.map(str::to_owned).collect())
}

pub(crate) fn expect_failure(outcome: Result<(), ExecuteError>) -> anyhow::Result<ExecuteError> {
    outcome.err().context("the steps were carried out")
}
