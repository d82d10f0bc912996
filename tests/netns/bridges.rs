//! What a plan makes of a network's bridge.

use anyhow::ensure;
use rootful_net_core::plan::Step;
use rootful_net_kernel::{Kernel, KernelError};
use rootful_net_tests::Test;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;

use crate::attaching::{
    addresses, bridge, expect_failure, generation_mode, is_up, link_names, no_tentative_address,
    show,
};

pub(crate) const TESTS: &[Test] = &[
    ("bridges::bridge_has_what_was_asked_for", bridge_has_what_was_asked_for),
    ("bridges::link_with_the_bridges_name_is_left_alone", taken_bridge_name),
    ("bridges::bridge_is_repaired_and_foreign_addresses_stay", bridge_is_repaired),
    ("bridges::bridge_with_an_impossible_address_leaves_no_link", impossible_bridge_address),
];

fn bridge_has_what_was_asked_for(_: &Sandbox) -> anyhow::Result<()> {
    Kernel::open()?.carry_out(&[Step::CreateBridge(bridge())], None)?;
    let link = show("rootful0")?;
    ensure!(is_up(&link), "{link:#}");
    ensure!(link["ifalias"] == "rootful-net network rootful0", "{link:#}");
    ensure!(link["address"] == "02:00:5e:10:00:01" && link["mtu"] == 1400, "{link:#}");
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
    ensure!(matches!(*error.source, KernelError::LinkExists { .. }), "{error:?}");
    let link = show("rootful0")?;
    ensure!(link["linkinfo"]["info_kind"] == "veth" && link["ifalias"].is_null(), "{link:#}");
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
    let expected = ["10.87.0.1/16", "203.0.113.1/24", "fd00:87::1/64", "fe80::5eff:fe10:1/64"];
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
    ensure!(error.source.to_string() == "cannot give rootful0 the address ff02::1/64", "{error:?}");
    ensure!(link_names()?.is_empty(), "{:?}", link_names()?);
    Ok(())
}
