//! What is seen of links, routes and kernel parameters.

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rootful_net_core::observed::{Link, LinkKind, PortFlags, Query, Sysctl};
use rootful_net_core::plan::Step;
use rootful_net_kernel::Kernel;
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;

use crate::attaching::{ALICE, attach, attached, bridge, verify, veth};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const TESTS: &[Test] = &[
    ("observe::links_are_found_by_name", links_are_found_by_name),
    ("observe::own_links_are_listed_and_no_others", own_links),
    ("observe::links_inside_are_listed_whatever_they_are_called", links_inside),
    ("observe::port_of_a_bridge_is_as_it_was_set_up", port_of_a_bridge),
    ("observe::addresses_are_those_of_the_links_asked_for", addresses_of_links),
    ("observe::stations_are_what_stays_behind_a_port", stations),
    ("observe::routes_and_addresses_are_listed_without_defaults", routes),
    ("observe::missing_kernel_parameter_is_no_error", missing_parameter),
    ("observe::kernel_parameter_is_set_for_this_namespace", parameter_is_set),
    ("observe::unknown_kernel_parameter_is_named_when_set", unknown_parameter),
    ("observe::links_that_accept_router_advertisements_are_listed", router_advertisements),
    ("observe::nothing_is_observed_that_was_not_asked_for", nothing_unasked),
];

fn links_are_found_by_name(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    let mut kernel = Kernel::open()?;
    kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
    kernel.carry_out(&attach(2), Some(&verify(&container)?))?;
    let names = ["rootful0", "rn0000000002", "absent0"];
    let links = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let observed = kernel.observe(&Query { links, ..Query::default() }, None)?;
    ensure!(observed.links.len() == 2, "{observed:?}");
    let (bridge, veth) = (&observed.links["rootful0"], &observed.links["rn0000000002"]);
    ensure!(bridge.kind == LinkKind::Bridge && bridge.up && bridge.master.is_none(), "{bridge:?}");
    ensure!(bridge.alias.as_deref() == Some("rootful-net network rootful0"), "{bridge:?}");
    ensure!(veth.kind == LinkKind::Veth && veth.master == Some(bridge.index), "{veth:?}");
    Ok(())
}

fn own_links(_: &Sandbox) -> anyhow::Result<()> {
    run("ip link add other0 type veth peer name rn0")?;
    run("ip link add br0 type bridge")?;
    let query = Query { own_links: true, ..Query::default() };
    let observed = Kernel::open()?.observe(&query, None)?;
    let names: Vec<_> = observed.links.keys().collect();
    ensure!(names == ["br0", "rn0"], "{names:?}");
    Ok(())
}

fn links_inside(_: &Sandbox) -> anyhow::Result<()> {
    let container = Container::of(ALICE)?;
    container.run(|| {
        let alias = OsStr::from_bytes(b"\xff\xfe\n");
        let mut command = Command::new("ip");
        let status = command.args(["link", "set", "lo", "alias"]).arg(alias).status()?;
        ensure!(status.success(), "{status}");
        run("ip link add eth0 type veth peer name eth1")
    })?;
    let observed = Kernel::open()?.observe(&Query::default(), Some(&verify(&container)?))?;
    let names: Vec<_> = observed.namespace_links.iter().map(|link| link.name.as_str()).collect();
    ensure!(names == ["lo", "eth1", "eth0"], "{observed:?}");
    ensure!(observed.namespace_links[0].kind == LinkKind::Loopback, "{observed:?}");
    ensure!(observed.links.is_empty(), "{observed:?}");
    Ok(())
}

fn observed_link(kernel: &mut Kernel, name: &str) -> anyhow::Result<Link> {
    let links = [name.parse()?].into();
    let observed = kernel.observe(&Query { links, ..Query::default() }, None)?;
    observed.links.get(name).cloned().with_context(|| format!("no {name}"))
}

fn port_of_a_bridge(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, container) = attached()?;
    let bridge_link = observed_link(&mut kernel, "rootful0")?;
    assert_eq!((bridge_link.mac, bridge_link.mtu), (Some(bridge().mac), 1400));
    assert_eq!(bridge_link.port, None);
    let port = observed_link(&mut kernel, "rn0000000002")?;
    assert_eq!((port.mtu, port.port), (1400, Some(veth(2).port_flags())));
    let before = veth(2).port_flags();
    let changes = [
        ("learning on", PortFlags { learning: true, ..before }),
        ("flood on", PortFlags { learning: true, flood: true, ..before }),
        ("isolated on", PortFlags { learning: true, flood: true, isolated: true, ..before }),
    ];
    for (change, expected) in changes {
        run(&format!("bridge link set dev rn0000000002 {change}"))?;
        assert_eq!(observed_link(&mut kernel, "rn0000000002")?.port, Some(expected), "{change}");
    }
    run("ip link set rn0000000002 type bridge_slave locked off hairpin on group_fwd_mask 0")?;
    let expected = PortFlags {
        learning: true,
        flood: true,
        locked: false,
        isolated: true,
        hairpin: true,
        group_fwd_mask: 0,
    };
    assert_eq!(observed_link(&mut kernel, "rn0000000002")?.port, Some(expected));
    run("ip link set rn0000000002 nomaster")?;
    assert_eq!(observed_link(&mut kernel, "rn0000000002")?.port, None);
    let inside = kernel.observe(&Query::default(), Some(&verify(&container)?))?.namespace_links;
    let macs: Vec<_> = inside.iter().map(|link| (link.name.as_str(), link.mac)).collect();
    assert_eq!(macs, [("lo", None), ("eth0", Some(veth(2).container_mac))]);
    Ok(())
}

fn addresses_of_links(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, _container) = attached()?;
    run("ip link add other1 type veth peer name other2")?;
    run("ip address add 192.0.2.1/24 dev other1")?;
    run("ip address add 10.1.1.1 peer 10.1.1.2/32 dev other2")?;
    let addresses = ["rootful0", "other2", "rn0000000002", "absent0"];
    let addresses = addresses.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let observed = kernel.observe(&Query { addresses, ..Query::default() }, None)?;
    let texts = |name: &str| -> Option<Vec<String>> {
        let mut texts: Vec<_> =
            observed.addresses.get(name)?.iter().map(ToString::to_string).collect();
        texts.sort();
        Some(texts)
    };
    let link_local = bridge().link_local().context("none")?;
    let expected =
        ["10.87.0.1/16".to_owned(), "fd00:87::1/64".to_owned(), format!("{link_local}/64")];
    assert_eq!(texts("rootful0"), Some(expected.into()));
    assert_eq!(texts("other2"), Some(vec!["10.1.1.1/32".to_owned()]));
    assert_eq!(texts("rn0000000002"), Some(Vec::new()));
    assert_eq!(observed.addresses.len(), 3);
    Ok(())
}

fn stations(_: &Sandbox) -> anyhow::Result<()> {
    let (mut kernel, container) = attached()?;
    let port = observed_link(&mut kernel, "rn0000000002")?.index;
    let query = Query { stations: true, ..Query::default() };
    let own = (port, veth(2).container_mac);
    assert_eq!(kernel.observe(&query, None)?.stations, [own].into());
    // A learned one stays out, and so does a permanent one.
    run("bridge link set dev rn0000000002 learning on locked off")?;
    container.run(|| {
        run("ip link set eth0 address 02:00:00:00:00:99")?;
        // It asks for the MAC address first.
        UdpSocket::bind("10.87.0.2:0")?.send_to(b"", "10.87.0.1:9")?;
        Ok(())
    })?;
    let shown = || run("bridge fdb show br rootful0");
    eventually(DEADLINE, || {
        let shown = shown()?;
        ensure!(shown.contains("02:00:00:00:00:99"), "{shown}");
        Ok(())
    })?;
    run("bridge fdb add 02:00:00:00:00:77 dev rn0000000002 master permanent")?;
    ensure!(shown()?.contains("02:00:00:00:00:77"));
    assert_eq!(kernel.observe(&query, None)?.stations, [own].into());
    run("bridge fdb add 02:00:00:00:00:88 dev rn0000000002 master static")?;
    let other = (port, "02:00:00:00:00:88".parse()?);
    assert_eq!(kernel.observe(&query, None)?.stations, [own, other].into());
    let mac = own.1;
    run(&format!("bridge fdb del {mac} dev rn0000000002 master"))?;
    assert_eq!(kernel.observe(&query, None)?.stations, [other].into());
    Ok(())
}

fn routes(_: &Sandbox) -> anyhow::Result<()> {
    run("ip link add a0 type veth peer name a1")?;
    run("ip address add 192.0.2.1/24 dev a0")?;
    run("ip address add 2001:db8::1/64 dev a0 nodad")?;
    run("ip link set a0 up")?;
    // Without a route, since it is down.
    run("ip address add 198.51.100.1/24 dev a1")?;
    run("ip address add 10.1.1.1 peer 10.1.1.2/32 dev a1")?;
    run("ip route add default via 192.0.2.254")?;
    run("ip route add default via 2001:db8::fe")?;
    run("ip route add 203.0.113.0/24 via 192.0.2.254")?;
    run("ip route add 10.9.0.0/16 via 192.0.2.254 table 100")?;
    run("ip route add 2001:db8:9::/48 via 2001:db8::fe table 100")?;
    run("ip route add 10.8.0.0/16 nexthop via 192.0.2.253 nexthop via 192.0.2.254")?;
    run("ip route add unreachable 10.0.0.0/8")?;
    let query = Query { routes: true, ..Query::default() };
    let observed = Kernel::open()?.observe(&query, None)?;
    let text =
        |route: &rootful_net_core::observed::Route| format!("{} {}", route.destination, route.link);
    let found: Vec<_> = observed.routes.iter().map(text).collect();
    let expected = [
        "10.1.1.2/32 a1",
        "10.8.0.0/16 a0",
        "10.9.0.0/16 a0",
        "127.0.0.0/8 lo",
        "192.0.2.0/24 a0",
        "198.51.100.0/24 a1",
        "203.0.113.0/24 a0",
        "::1/128 lo",
        "2001:db8::/64 a0",
        "2001:db8:9::/48 a0",
    ];
    ensure!(found == expected, "{found:#?}");
    Ok(())
}

fn missing_parameter(_: &Sandbox) -> anyhow::Result<()> {
    let absent = Sysctl::ipv4_link(&"absent0".parse()?, "forwarding");
    let sysctls = [Sysctl::ipv4_forwarding(), absent].into();
    let observed = Kernel::open()?.observe(&Query { sysctls, ..Query::default() }, None)?;
    let expected = [(Sysctl::ipv4_forwarding(), "0".to_owned())].into();
    ensure!(observed.sysctls == expected, "{observed:?}");
    Ok(())
}

fn parameter_is_set(_: &Sandbox) -> anyhow::Result<()> {
    let mut kernel = Kernel::open()?;
    let outside = || rootful_net_tests::namespace::NetworkNamespace::open("/proc/self/ns/net");
    let read = || Ok(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?);
    let before = outside()?.run(read)?;
    let step = Step::SetSysctl { sysctl: Sysctl::ipv4_forwarding(), value: "1".to_owned() };
    kernel.carry_out(&[step.clone(), step], None)?;
    ensure!(read()? == "1\n");
    ensure!(outside()?.run(read)? == before);
    Ok(())
}

fn unknown_parameter(_: &Sandbox) -> anyhow::Result<()> {
    let sysctl = Sysctl::ipv6_link(&"absent0".parse()?, "accept_ra");
    let step = Step::SetSysctl { sysctl, value: "0".to_owned() };
    let error = Kernel::open()?.apply(&step, None).err().context("it was set")?;
    let expected = "cannot set kernel parameter net/ipv6/conf/absent0/accept_ra to 0";
    ensure!(error.to_string() == expected, "{error}");
    Ok(())
}

fn router_advertisements(_: &Sandbox) -> anyhow::Result<()> {
    for link in ["a0", "a1", "a2", "a3"] {
        run(&format!("ip link add {link} type bridge"))?;
    }
    std::fs::write("/proc/sys/net/ipv6/conf/a1/accept_ra", "0")?;
    std::fs::write("/proc/sys/net/ipv6/conf/a2/accept_ra", "2")?;
    let query = Query { router_advertisements: true, ..Query::default() };
    let observed = Kernel::open()?.observe(&query, None)?;
    let names: Vec<_> = observed.links_accepting_ra.iter().map(AsRef::as_ref).collect();
    ensure!(names == ["a0", "a3"], "{names:?}");
    Ok(())
}

fn nothing_unasked(_: &Sandbox) -> anyhow::Result<()> {
    run("ip link add br0 type bridge")?;
    let observed = Kernel::open()?.observe(&Query::default(), None)?;
    ensure!(observed == Default::default(), "{observed:?}");
    Ok(())
}
