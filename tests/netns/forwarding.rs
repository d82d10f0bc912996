//! The fixed rules at work: real traffic between bare namespaces, with nothing but the ruleset.

use std::path::Path;

use anyhow::{Context as _, Result};
use rootful_net_core::ruleset::{Change, Element};
use rootful_net_tests::Test;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;

use crate::bridged::{Asker, Bridged, serve};
use crate::ruleset::element;

pub(crate) const TESTS: &[Test] = &[
    ("forwarding::published_port_answers_everybody", published_port_answers_everybody),
    (
        "forwarding::published_port_answers_with_br_netfilter",
        published_port_answers_with_br_netfilter,
    ),
    ("forwarding::own_address_goes_before_any", own_address_goes_before_any),
    ("forwarding::unpublished_is_out_of_reach", unpublished_is_out_of_reach),
    ("forwarding::containers_do_not_reach_the_loopback", containers_do_not_reach_the_loopback),
    ("forwarding::egress_is_masqueraded", egress_is_masqueraded),
    ("forwarding::internal_network_reaches_nothing", internal_network_reaches_nothing),
];

fn published() -> Result<Vec<Element>> {
    Ok(vec![
        element("publish4", &["tcp", "8080"], &["10.87.0.2", "80"])?,
        element("publish4", &["udp", "8080"], &["10.87.0.2", "80"])?,
        element("publish6", &["tcp", "8080"], &["fd87::2", "80"])?,
        element("publish6", &["udp", "8080"], &["fd87::2", "80"])?,
    ])
}

fn published_port_answers_everybody(sandbox: &Sandbox) -> Result<()> {
    let mut bridged = Bridged::with(sandbox, published()?)?;
    call_rules_for_bridged_frames(false)?;
    bridged.check(&FROM_OUTSIDE_THE_BRIDGE)?;
    bridged.check(&[
        (Asker::Neighbour, "192.0.2.1:8080", Some("10.87.0.1")),
        (Asker::Neighbour, "10.87.0.1:8080", Some("10.87.0.1")),
        (Asker::Neighbour, "[2001:db8:1::1]:8080", Some("fd87::1")),
        (Asker::Container, "192.0.2.1:8080", Some("10.87.0.1")),
        (Asker::Container, "[2001:db8:1::1]:8080", Some("fd87::1")),
        (Asker::Neighbour, "10.87.0.2:80", Some("10.87.0.3")),
        (Asker::Neighbour, "[fd87::2]:80", Some("fd87::3")),
    ])?;

    bridged.rules.apply(&published()?.into_iter().map(Change::DeleteElement).collect())?;
    bridged.check(&[
        (Asker::Client, "192.0.2.1:8080", None),
        (Asker::Host, "127.0.0.1:8080", None),
        (Asker::Neighbour, "192.0.2.1:8080", None),
    ])
}

/// With br_netfilter a frame to a published port is translated while it is still on the bridge, and stays there;
/// it is masqueraded all the same. Whether a container reaches itself is another matter.
fn published_port_answers_with_br_netfilter(sandbox: &Sandbox) -> Result<()> {
    let bridged = Bridged::with(sandbox, published()?)?;
    if !call_rules_for_bridged_frames(true)? {
        println!("this kernel has no br_netfilter");
        return Ok(());
    }
    bridged.check(&FROM_OUTSIDE_THE_BRIDGE)?;
    bridged.check(&[
        (Asker::Neighbour, "192.0.2.1:8080", Some("10.87.0.1")),
        (Asker::Neighbour, "[2001:db8:1::1]:8080", Some("fd87::1")),
        (Asker::Neighbour, "10.87.0.2:80", Some("10.87.0.3")),
        (Asker::Neighbour, "[fd87::2]:80", Some("fd87::3")),
    ])
}

const FROM_OUTSIDE_THE_BRIDGE: [(Asker, &str, Option<&str>); 6] = [
    (Asker::Client, "192.0.2.1:8080", Some("192.0.2.100")),
    (Asker::Client, "[2001:db8:1::1]:8080", Some("2001:db8:1::100")),
    (Asker::Host, "127.0.0.1:8080", Some("10.87.0.1")),
    (Asker::Host, "192.0.2.1:8080", Some("192.0.2.1")),
    (Asker::Host, "10.87.0.1:8080", Some("10.87.0.1")),
    (Asker::Host, "[2001:db8:1::1]:8080", Some("2001:db8:1::1")),
];

/// Says whether frames that pass a bridge go through the ruleset too. Returns whether the kernel can.
fn call_rules_for_bridged_frames(call: bool) -> Result<bool> {
    let dir = Path::new("/proc/sys/net/bridge");
    if !dir.exists() {
        return Ok(false);
    }
    for parameter in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let value = if call { "1" } else { "0" };
        std::fs::write(dir.join(parameter), value).context(parameter)?;
    }
    Ok(true)
}

fn own_address_goes_before_any(sandbox: &Sandbox) -> Result<()> {
    let mut elements = published()?;
    for protocol in ["tcp", "udp"] {
        let key = ["192.0.2.1", protocol, "8080"];
        elements.push(element("publish4_address", &key, &["10.87.0.3", "80"])?);
        let key = ["2001:db8:1::1", protocol, "8081"];
        elements.push(element("publish6_address", &key, &["fd87::2", "80"])?);
    }
    let bridged = Bridged::with(sandbox, elements)?;
    bridged.check(&[
        // Nobody listens there.
        (Asker::Client, "192.0.2.1:8080", None),
        (Asker::Client, "10.87.0.1:8080", Some("192.0.2.100")),
        (Asker::Client, "[2001:db8:1::1]:8081", Some("2001:db8:1::100")),
        (Asker::Client, "[fd87::1]:8081", None),
    ])
}

fn unpublished_is_out_of_reach(sandbox: &Sandbox) -> Result<()> {
    let bridged = Bridged::with(sandbox, published()?)?;
    bridged.check(&[
        (Asker::Client, "10.87.0.2:80", None),
        (Asker::Client, "[fd87::2]:80", None),
        (Asker::Client, "192.0.2.1:80", None),
        (Asker::Host, "10.87.0.2:80", Some("10.87.0.1")),
    ])
}

fn containers_do_not_reach_the_loopback(sandbox: &Sandbox) -> Result<()> {
    let bridged = Bridged::with(sandbox, Vec::new())?;
    let _servers = serve(&["127.0.0.1:99"])?;
    bridged.container.run(|| {
        // What root of a container can do in its own namespace.
        run("ip rule add pref 2 lookup local")?;
        run("ip rule del pref 0")?;
        run("ip rule add pref 1 to 127.0.0.1 lookup 7")?;
        run("ip route add 127.0.0.1 via 10.87.0.1 table 7")?;
        Ok(std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1")?)
    })?;
    bridged.check(&[(Asker::Container, "127.0.0.1:99", None)])?;
    // The one rule is what stops them.
    run("nft flush chain inet rootful_net loopback")?;
    bridged.check(&[(Asker::Container, "127.0.0.1:99", Some("10.87.0.2"))])
}

fn egress_is_masqueraded(sandbox: &Sandbox) -> Result<()> {
    let bridged = Bridged::with(sandbox, Vec::new())?;
    bridged.check(&[
        (Asker::Container, "192.0.2.100:80", Some("192.0.2.1")),
        (Asker::Container, "[2001:db8:1::100]:80", Some("2001:db8:1::1")),
    ])
}

fn internal_network_reaches_nothing(sandbox: &Sandbox) -> Result<()> {
    let mut elements = published()?;
    elements.push(element("internal", &["rootful0"], &[])?);
    let bridged = Bridged::with(sandbox, elements)?;
    bridged.check(&[
        (Asker::Container, "192.0.2.100:80", None),
        (Asker::Container, "[2001:db8:1::100]:80", None),
        (Asker::Client, "192.0.2.1:8080", None),
        (Asker::Neighbour, "10.87.0.2:80", Some("10.87.0.3")),
        (Asker::Host, "10.87.0.2:80", Some("10.87.0.1")),
    ])
}
