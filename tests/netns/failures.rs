//! Steps that fail: what they say, and that nothing of them is left.

use std::net::IpAddr;

use anyhow::ensure;
use rootful_net_core::plan::Step;
use rootful_net_core::ruleset::{Change, TableName, Transaction, inet_table};
use rootful_net_kernel::{Kernel, KernelError};
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;

use crate::attaching::{
    ALICE, addresses, attach, attached, bridge, expect_failure, is_up, link_names, setup, show,
    verify, veth,
};

pub(crate) const TESTS: &[Test] = &[
    ("failures::taken_interface_name_is_refused_and_leaves_no_link", taken_interface_name),
    ("failures::second_default_route_is_an_error", second_default_route),
    ("failures::container_without_ipv6_is_set_up_for_ipv4", container_without_ipv6),
    ("failures::refused_address_comes_with_the_kernels_reason", refused_address),
    ("failures::veth_without_its_bridge_names_the_bridge", veth_without_bridge),
    ("failures::failing_step_in_the_middle_leaves_no_link", failing_step_leaves_no_link),
    ("failures::failed_undo_is_reported_beside_the_cause", failed_undo_is_reported),
    ("failures::step_inside_needs_a_namespace", step_inside_needs_a_namespace),
];

fn taken_interface_name(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    container.run(|| run("ip link add eth0 type veth peer name eth1"))?;
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    let error = expect_failure(kernel.carry_out(&attach(2), Some(&verify(&container)?)))?;
    ensure!(matches!(*error.source, KernelError::InterfaceExists { .. }), "{error:?}");
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
    ensure!(link_names()? == ["rootful0", "rn0000000002"], "{:?}", link_names()?);
    Ok(())
}

/// A container whose new interfaces have no IPv6, and a bridge.
fn container_with_ipv6_switched_off() -> anyhow::Result<(Kernel, Container)> {
    let container = Container::of(ALICE)?;
    container.run(|| Ok(std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?))?;
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
    ensure!(is_up(&link) && addresses(&link) == ["10.87.0.2/16"], "{link:#}");
    Ok(())
}

fn refused_address(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, container) = container_with_ipv6_switched_off()?;
    let error = expect_failure(kernel.carry_out(&attach(2), Some(&verify(&container)?)))?;
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(text.contains("cannot give eth0 the address fd00:87::2/64: "), "{text}");
    ensure!(text.ends_with(": IPv6 is disabled on this device"), "{text}");
    Ok(())
}

fn veth_without_bridge(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    let outcome = Kernel::open()?.carry_out(&attach(2), Some(&verify(&container)?));
    let error = expect_failure(outcome)?;
    ensure!(error.source.to_string() == "there is no link named rootful0", "{error:?}");
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
    ensure!(text.starts_with("cannot set up eth0 in the container"), "{text}");
    ensure!(text.contains("cannot make 192.0.2.1 the default router of eth0: "), "{text}");
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
    ensure!(text.ends_with("there is no link named rn0000000002"), "{text}");
    // The undo that failed did not keep the one before it from being done.
    ensure!(link_names()?.is_empty(), "{:?}", link_names()?);
    Ok(())
}

fn step_inside_needs_a_namespace(_: &Sandbox) -> anyhow::Result<()> {
    let mut kernel = Kernel::open()?;
    for step in [Step::CreateVeth(veth(2)), Step::SetUpInterface(setup(2))] {
        let outcome = kernel.apply(&step, None);
        ensure!(matches!(outcome, Err(KernelError::NoNamespace)), "{outcome:?}");
    }
    Ok(())
}
