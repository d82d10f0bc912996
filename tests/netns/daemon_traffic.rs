//! Published ports and networks at work: traffic through what the daemon set up.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::lan::Lan;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_tcp, ask_tcp_within};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::daemon::{
    ALICE, BOB, System, Web, container_of, ensure_nothing_is_left, ensure_seen, ensure_silent,
    seen_by, serve,
};

pub(crate) const TESTS: &[Test] = &[
    ("traffic::lan_client_is_seen_with_its_own_address", lan_client_is_seen),
    ("traffic::host_reaches_published_ports_by_every_address", host_reaches_published_ports),
    ("traffic::neighbours_reach_published_ports_through_the_host", neighbours_hairpin),
    ("traffic::container_reaches_its_own_published_port", container_reaches_itself),
    (
        "traffic::container_reaches_itself_with_br_netfilter",
        container_reaches_itself_with_br_netfilter,
    ),
    ("traffic::neighbours_see_each_other_directly", neighbours_see_each_other),
    ("traffic::port_range_is_published_port_by_port", port_range),
    ("traffic::port_on_one_host_address_is_on_no_other", one_host_address),
    ("traffic::chosen_port_stays_the_same", chosen_port),
    ("traffic::port_of_one_protocol_is_not_one_of_another", one_protocol),
    ("traffic::egress_is_seen_with_the_hosts_address", egress),
    ("traffic::unpublished_ports_are_out_of_reach", unpublished),
    ("traffic::forwards_end_with_the_attachment", forwards_end),
    ("traffic::address_of_another_container_is_reached_at_once", address_of_another),
    ("traffic::container_with_another_mac_address_is_reached_at_once", another_mac_address),
    ("traffic::loopback_services_of_the_host_are_out_of_reach", loopback_services),
    (SCTP, sctp),
];

const SCTP: &str = "traffic::sctp_is_published";

/// The tests that this kernel cannot run.
pub(crate) fn unavailable() -> Vec<(&'static str, &'static str)> {
    match sctp_socket() {
        Ok(_) => Vec::new(),
        Err(_) => vec![(SCTP, "the kernel has no SCTP")],
    }
}

fn lan_client_is_seen(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80 -p 8080:80/udp")?;
    system.lan.run(|| {
        ensure_seen("192.0.2.1:8080", "192.0.2.100")?;
        ensure_seen("[2001:db8:1::1]:8080", "2001:db8:1::100")
    })
}

fn host_reaches_published_ports(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let Web { ipv4, ipv6, .. } = &web;
    let gateway6 = gateway_ipv6()?;
    for address in ["127.0.0.1:8080", "192.0.2.1:8080", "10.87.0.1:8080"] {
        seen_by(address).context(address)?;
    }
    ensure_seen("127.0.0.1:8080", "10.87.0.1")?;
    for address in ["[2001:db8:1::1]:8080".to_owned(), format!("[{gateway6}]:8080")] {
        seen_by(&address).context(address)?;
    }
    // And without any forward.
    ensure_seen(&format!("{ipv4}:80"), "10.87.0.1")?;
    ensure_seen(&format!("[{ipv6}]:80"), &gateway6)
}

fn neighbours_hairpin(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let other = Web::set_up(BOB, "other", "")?;
    other.container.run(|| {
        for address in ["192.0.2.1:8080", "10.87.0.1:8080", "[2001:db8:1::1]:8080"] {
            seen_by(address).context(address)?;
        }
        Ok(())
    })
}

fn container_reaches_itself(sandbox: &Sandbox) -> Result<()> {
    reach_oneself_with_bridge_netfilter(sandbox, "0")
}

/// With br_netfilter, which Docker loads, the frame is translated on the bridge and must go back where it came
/// from.
fn container_reaches_itself_with_br_netfilter(sandbox: &Sandbox) -> Result<()> {
    reach_oneself_with_bridge_netfilter(sandbox, "1")
}

fn reach_oneself_with_bridge_netfilter(sandbox: &Sandbox, value: &str) -> Result<()> {
    let _system = System::start(sandbox)?;
    for parameter in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let path = Path::new("/proc/sys/net/bridge").join(parameter);
        if path.exists() {
            std::fs::write(path, value)?;
        }
    }
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    web.container.run(|| {
        for address in ["192.0.2.1:8080", "10.87.0.1:8080", "[2001:db8:1::1]:8080"] {
            seen_by(address).context(address)?;
        }
        Ok(())
    })
}

fn neighbours_see_each_other(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let alices = Web::set_up(ALICE, "web", "")?;
    let bobs = Web::set_up(BOB, "web", "")?;
    ensure!(alices.ipv4 != bobs.ipv4 && alices.ipv6 != bobs.ipv6);
    bobs.container.run(|| {
        ensure_seen(&format!("{}:80", alices.ipv4), &bobs.ipv4)?;
        ensure_seen(&format!("[{}]:80", alices.ipv6), &bobs.ipv6)
    })?;
    alices.container.run(|| ensure_seen(&format!("{}:80", bobs.ipv4), &alices.ipv4))
}

fn port_range(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let servers = serve(&container, &[7000, 7001, 7002])?;
    let attachment = ALICE.set_up(&container, "web", "-p 8000-8002:7000-7002/tcp,udp")?;
    ensure!(attachment.ports.len() == 6, "{:?}", attachment.ports);
    system.lan.run(|| {
        for port in 8000..=8002 {
            ensure_seen(&format!("192.0.2.1:{port}"), "192.0.2.100")?;
            ensure_seen(&format!("[2001:db8:1::1]:{port}"), "2001:db8:1::100")?;
        }
        ensure_silent("192.0.2.1:7999")?;
        ensure_silent("192.0.2.1:8003")
    })?;
    // Each leads to its own port and no other.
    drop(servers);
    let _second = serve(&container, &[7001])?;
    system.lan.run(|| {
        ensure_seen("192.0.2.1:8001", "192.0.2.100")?;
        ensure_silent("192.0.2.1:8000")
    })
}

fn one_host_address(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    run("ip address add 192.0.2.2/24 dev lan0")?;
    run("ip address add 2001:db8:1::2/64 dev lan0 nodad")?;
    let arguments = "-p 192.0.2.2:8080:80/tcp,udp -p [2001:db8:1::2]:8081:80/tcp,udp \
                     -p 127.0.0.1:8082:80/tcp,udp";
    let _web = Web::set_up(ALICE, "web", arguments)?;
    // The same port on another address is somebody else's.
    let _other = Web::set_up(BOB, "other", "-p 192.0.2.1:8081:80/tcp,udp")?;
    seen_by("127.0.0.1:8082")?;
    system.lan.run(|| {
        ensure_seen("192.0.2.2:8080", "192.0.2.100")?;
        ensure_seen("[2001:db8:1::2]:8081", "2001:db8:1::100")?;
        ensure_seen("192.0.2.1:8081", "192.0.2.100")?;
        ensure_silent("192.0.2.1:8080")?;
        ensure_silent("[2001:db8:1::1]:8081")?;
        ensure_silent("192.0.2.1:8082")
    })
}

fn chosen_port(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p :80/tcp,udp -p 81")?;
    let ports: Vec<_> = web.attachment.ports.iter().map(|port| port.host_port).collect();
    let mut distinct = ports.clone();
    distinct.sort_unstable();
    distinct.dedup();
    ensure!(ports.len() == 3 && distinct.len() >= 2, "{ports:?}");
    ensure!(ports.iter().all(|&port| port >= 49152), "{ports:?}");
    let tcp = format!("192.0.2.1:{}", ports[0]).parse()?;
    ensure!(system.lan.run(|| ask_tcp(tcp))?.ip().to_canonical() == Lan::CLIENT_IPV4);
    let container = web.container;
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    let again = ALICE.set_up(&container, "web", "-p :80/tcp,udp -p 81")?;
    ensure!(again.ports == web.attachment.ports, "{again:?}");
    Ok(())
}

fn one_protocol(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let _web = Web::set_up(ALICE, "web", "-p 8080:80/tcp -p 8081:80/udp")?;
    system.lan.run(|| {
        use rootful_net_tests::traffic::{ask_tcp_within, ask_udp, ask_udp_within};
        let silence = std::time::Duration::from_millis(300);
        ask_tcp("192.0.2.1:8080".parse()?)?;
        ask_udp("192.0.2.1:8081".parse()?)?;
        ensure!(ask_udp_within("192.0.2.1:8080".parse()?, silence).is_err());
        ensure!(ask_tcp_within("192.0.2.1:8081".parse()?, silence).is_err());
        Ok(())
    })
}

fn egress(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "")?;
    let _servers = system.lan.run(|| {
        let address = "[::]:7777".parse()?;
        Ok((Server::tcp(address)?, Server::udp(address)?))
    })?;
    web.container.run(|| {
        ensure_seen("192.0.2.100:7777", "192.0.2.1")?;
        ensure_seen("[2001:db8:1::100]:7777", "2001:db8:1::1")
    })
}

fn unpublished(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:81/tcp,udp")?;
    // The client has the host for its router, so it gets there as far as routes go.
    system.lan.run(|| {
        ensure_silent(&format!("{}:80", web.ipv4))?;
        ensure_silent(&format!("[{}]:80", web.ipv6))?;
        ensure_silent("192.0.2.1:80")
    })
}

fn forwards_end(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let _other = Web::set_up(BOB, "other", "-p 8081:80/tcp,udp")?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    ALICE.tear_down("web")?;
    system.lan.run(|| ensure_silent("192.0.2.1:8080"))?;
    // Nor does it stay in the way of the next.
    let _next = Web::set_up(BOB, "next", "-p 8080:80/tcp,udp")?;
    drop(web);
    system.lan.run(|| {
        ensure_seen("192.0.2.1:8080", "192.0.2.100")?;
        ensure_seen("192.0.2.1:8081", "192.0.2.100")
    })
}

/// A kernel that goes on sending to the old MAC address asks anew after five seconds at the earliest.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Blue and green: one container has the address, and then another.
fn address_of_another(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let _other = Web::set_up(ALICE, "other", "")?;
    let arguments = "--network rootful0:ip=10.87.7.7 -p 8080:80";
    for name in ["blue", "green", "blue"] {
        let _web = Web::set_up(ALICE, name, arguments)?;
        system.lan.run(|| ask_tcp_within("192.0.2.1:8080".parse()?, AT_ONCE))?;
        ask_tcp_within("10.87.7.7:80".parse()?, AT_ONCE)?;
        ALICE.tear_down(name)?;
    }
    Ok(())
}

fn another_mac_address(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80")?;
    for mac in ["02:00:00:00:00:01", "02:00:00:00:00:02"] {
        let arguments = format!("--replace -p 8080:80 --network rootful0:mac={mac}");
        ALICE.set_up(&web.container, "web", &arguments)?;
        system.lan.run(|| ask_tcp_within("192.0.2.1:8080".parse()?, AT_ONCE))?;
        ask_tcp_within(SocketAddr::new(web.ipv6.parse()?, 80), AT_ONCE)?;
    }
    Ok(())
}

fn loopback_services(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "")?;
    let address = "127.0.0.1:99".parse()?;
    let _servers = (Server::tcp(address)?, Server::udp(address)?);
    web.container.run(|| {
        ensure_silent("10.87.0.1:99")?;
        // What root of a container can do in its own namespace.
        run("ip rule add pref 2 lookup local")?;
        run("ip rule del pref 0")?;
        run("ip rule add pref 1 to 127.0.0.1 lookup 7")?;
        run("ip route add 127.0.0.1 via 10.87.0.1 table 7")?;
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1")?;
        ensure_silent("127.0.0.1:99")
    })
}

fn sctp(sandbox: &Sandbox) -> Result<()> {
    let system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let listener = container.run(|| {
        let socket = sctp_socket()?;
        rustix::net::bind(&socket, &"0.0.0.0:80".parse::<std::net::SocketAddr>()?)?;
        rustix::net::listen(&socket, 1)?;
        Ok(socket)
    })?;
    ALICE.set_up(&container, "web", "-p 8080:80/sctp")?;
    system.lan.run(|| {
        let socket = sctp_socket()?;
        rustix::net::connect(&socket, &"192.0.2.1:8080".parse::<std::net::SocketAddr>()?)?;
        let (_, client) = rustix::net::acceptfrom(&listener)?;
        let client = std::net::SocketAddr::try_from(client.context("no address")?)?;
        ensure!(client.ip() == Lan::CLIENT_IPV4, "{client}");
        Ok(())
    })
}

fn sctp_socket() -> rustix::io::Result<rustix::fd::OwnedFd> {
    let protocol = Some(rustix::net::ipproto::SCTP);
    rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        protocol,
    )
}

/// The host's address on the default network.
fn gateway_ipv6() -> Result<String> {
    let shown = rootful_net_tests::namespace::run_json("ip -json -6 address show dev rootful0")?;
    let addresses = shown[0]["addr_info"].as_array().context("no addresses")?;
    let global = addresses.iter().find(|address| address["scope"] == "global");
    let address = global.and_then(|address| address["local"].as_str());
    Ok(address.context("no IPv6 address")?.to_owned())
}
