//! What the owner of a namespace does to the interface in it: renames, moves and readdresses it, puts links on it, or goes
//! on when it is detached.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::frame::{BROADCAST, IPV4, UDP, ethernet, ipv4, udp};
use rootful_net_tests::namespace::{NetworkNamespace, run};
use rootful_net_tests::packet::PacketSocket;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{ask_tcp, ask_tcp_within};

use super::{DEADLINE, SILENCE, ensure_silent, forged, on, serve};
use crate::guarded::{Shared, leave_frames_alone};

pub(super) const TESTS: &[Test] = &[
    ("guard::renamed_interface_is_guarded", renamed_interface),
    ("guard::deleted_interface_is_gone", deleted_interface),
    ("guard::changed_mac_is_silent", changed_mac),
    ("guard::interface_in_a_nested_namespace_is_guarded", nested_namespace),
    ("guard::macvlan_on_the_interface_is_silent", macvlan),
    (VLAN, vlan),
    ("guard::bridge_of_ones_own_is_silent", own_bridge),
    ("guard::second_address_is_silent", second_address),
    ("guard::port_is_closed_while_it_is_detached", detached_port),
];

const VLAN: &str = "guard::vlan_on_the_interface_is_silent";

/// The tests that this kernel cannot run.
pub(super) fn unavailable() -> Vec<(&'static str, &'static str)> {
    // In a namespace of its own, as everything here.
    let made = NetworkNamespace::new().and_then(|namespace| {
        namespace.run(|| {
            run("ip link add eth0 type veth peer name eth1")?;
            run("ip link add link eth0 name eth0.5 type vlan id 5")
        })
    });
    match made {
        Ok(_) => Vec::new(),
        Err(_) => vec![(VLAN, "no VLAN link can be made")],
    }
}

fn renamed_interface(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let frames = forged(&shared);
    shared.mallory.run(|| {
        run("ip link set eth0 down")?;
        run("ip link set eth0 name eth9")?;
        run("ip link set eth9 up")?;
        run("ip link add eth0 type dummy").or_else(|_| run("ip link add eth0 type bridge"))
    })?;
    shared.settle_on("eth9")?;
    shared.ensure_silent_on("eth9", &frames)?;
    shared.drop_guard()?;
    ensure!(shared.reach_from("eth9", &frames)?[0].victim, "the control does not arrive");
    Ok(())
}

fn deleted_interface(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    shared.mallory.run(|| run("ip link delete eth0"))?;
    eventually(DEADLINE, || {
        ensure!(run(&format!("ip link show {}", shared.port)).is_err(), "the port is there");
        Ok(())
    })?;
    // A new one of that name leads nowhere.
    shared.mallory.run(|| {
        run("ip link add eth0 type veth peer name eth1")?;
        run("ip link set eth0 up")
    })?;
    let links = run("ip link show")?;
    ensure!(!links.contains(&shared.port), "{links}");
    Ok(())
}

fn changed_mac(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let victim = shared.stations.victim;
    let _servers = shared.victim.run(|| serve(80))?;
    let own = shared.stations.mallory.mac.map(|octet| format!("{octet:02x}")).join(":");
    shared.mallory.run(|| ask_tcp(on(victim.ipv4, 80)))?;
    shared.mallory.run(|| {
        run("ip link set eth0 address 02:00:00:77:77:77")?;
        ensure_silent(on(victim.ipv4, 80))?;
        ensure_silent(on(victim.ipv6, 80))
    })?;
    shared.mallory.run(|| run(&format!("ip link set eth0 address {own}")))?;
    // Changing it takes routes away, not addresses: neighbours are reached again.
    shared.mallory.run(|| ask_tcp(on(victim.ipv4, 80)))?;
    let frames = forged(&shared);
    shared.ensure_stopped(&frames)
}

fn nested_namespace(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let frames = forged(&shared);
    let inner = shared.mallory.run(NetworkNamespace::new)?;
    let path = inner.path();
    shared.mallory.run(|| run(&format!("ip link set eth0 netns {}", path.display())))?;
    inner.run(|| run("ip link set eth0 up"))?;
    let victim = shared.victim.run(|| PacketSocket::on("eth0"))?;
    let send = |frames: &[Vec<u8>], fence: &[u8]| {
        let own = shared.stations.mallory;
        let packet = ipv4(own.ipv4, [255; 4].into(), UDP, &udp(9, 9, fence));
        inner.run(|| {
            let socket = PacketSocket::on("eth0")?;
            frames.iter().try_for_each(|frame| socket.send(frame))?;
            socket.send(&ethernet(BROADCAST, own.mac, IPV4, &packet))
        })
    };
    eventually(DEADLINE, || {
        send(&[], b"is it ready?")?;
        victim.frames_until(b"is it ready?", Duration::from_millis(100))
    })?;
    let forged = |seen: &[Vec<u8>]| seen.iter().any(|frame| frames.contains(frame));
    send(&frames, b"behind the first")?;
    ensure!(!forged(&victim.frames_until(b"behind the first", DEADLINE)?), "it arrives");
    shared.drop_guard()?;
    send(&frames, b"behind the second")?;
    ensure!(forged(&victim.frames_until(b"behind the second", DEADLINE)?), "the control");
    Ok(())
}

fn macvlan(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let victim = shared.stations.victim;
    let _servers = shared.victim.run(|| serve(80))?;
    let ask = || {
        shared.mallory.run(|| {
            let socket = UdpSocket::bind("10.87.77.77:0")?;
            socket.connect(on(victim.ipv4, 80))?;
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send(b"?")?;
            Ok(socket.recv(&mut [0; 64]).is_ok())
        })
    };
    shared.mallory.run(|| {
        run("ip link add link eth0 name mac0 type macvlan mode bridge")?;
        run("ip address flush dev eth0 scope global")?;
        run("ip address add 10.87.77.77/16 dev mac0")?;
        run("ip link set mac0 up")
    })?;
    ensure!(!ask()?, "a MAC address of one's own choice is answered");
    shared.drop_guard()?;
    eventually(DEADLINE, || {
        ensure!(ask()?, "the control is not answered");
        Ok(())
    })
}

fn vlan(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let frames = [forged(&shared), vec![shared.own_datagram()]].concat();
    shared.mallory.run(|| {
        run("ip link add link eth0 name eth0.5 type vlan id 5")?;
        run("ip link set eth0.5 up")
    })?;
    shared.ensure_silent_on("eth0.5", &frames)?;
    shared.drop_guard()?;
    eventually(DEADLINE, || {
        let reach = shared.reach_from("eth0.5", &frames)?;
        ensure!(reach.iter().all(|reach| reach.victim), "the control does not arrive: {reach:?}");
        Ok(())
    })
}

/// Containers in the container, bridged to the network behind mallory's back.
fn own_bridge(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let foreign = [2, 0, 0, 0x55, 0x55, 0x55];
    let packet = ipv4([10, 87, 55, 55].into(), [255; 4].into(), UDP, &udp(9, 9, b"hello"));
    let frames = vec![ethernet(BROADCAST, foreign, IPV4, &packet)];
    shared.mallory.run(|| {
        leave_frames_alone()?;
        run("ip link add br0 type bridge")?;
        run("ip link add inner type veth peer name outer")?;
        for link in ["eth0", "outer"] {
            run(&format!("ip link set {link} master br0"))?;
        }
        for link in ["br0", "inner", "outer"] {
            run(&format!("ip link set {link} up"))?;
        }
        Ok(())
    })?;
    shared.ensure_silent_on("inner", &frames)?;
    shared.drop_guard()?;
    eventually(DEADLINE, || {
        ensure!(shared.reach_from("inner", &frames)?[0].victim, "the control does not arrive");
        Ok(())
    })
}

fn second_address(_: &Sandbox) -> Result<()> {
    let shared = Shared::new()?;
    let victim = shared.stations.victim;
    let _servers = (shared.victim.run(|| serve(80))?, shared.mallory.run(|| serve(81))?);
    shared.mallory.run(|| {
        run("ip address add 10.87.77.77/16 dev eth0")?;
        run("ip address add fd00:87::7777/64 dev eth0 nodad")
    })?;
    let from = |address: IpAddr| {
        shared.mallory.run(|| {
            let socket = UdpSocket::bind(on(address, 0))?;
            let to = if address.is_ipv4() { on(victim.ipv4, 80) } else { on(victim.ipv6, 80) };
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send_to(b"?", to)?;
            Ok(socket.recv(&mut [0; 64]).is_ok())
        })
    };
    let added: [IpAddr; 2] = ["10.87.77.77".parse()?, "fd00:87::7777".parse()?];
    for address in added {
        ensure!(!from(address)?, "{address} is answered");
        let asked = shared.victim.run(|| Ok(ask_tcp_within(on(address, 81), SILENCE).is_ok()))?;
        ensure!(!asked, "{address} answers");
    }
    shared.drop_guard()?;
    for address in added {
        eventually(DEADLINE, || {
            ensure!(from(address)?, "the control from {address} is not answered");
            shared.victim.run(|| ask_tcp_within(on(address, 81), SILENCE))
        })?;
    }
    Ok(())
}

fn detached_port(_: &Sandbox) -> Result<()> {
    let mut shared = Shared::new()?;
    let mut frames = forged(&shared);
    frames.push(shared.own_datagram());
    let attachment = shared.attachment.clone();
    let plan = shared.host.detach(&attachment)?;
    // The link is still up.
    let victim = shared.victim.run(|| PacketSocket::on("eth0"))?;
    shared.mallory.run(|| {
        let socket = PacketSocket::on("eth0")?;
        frames.iter().try_for_each(|frame| socket.send(frame))
    })?;
    let fence = shared.host_datagram()?;
    let seen = victim.frames_until(&fence, DEADLINE)?;
    ensure!(!seen.iter().any(|frame| frames.contains(frame)), "frames pass");
    shared.host.kernel.carry_out(&plan.afterwards, None)?;
    let table = run("nft list table bridge rootful_net")?;
    ensure!(!table.contains(&shared.port), "{table}");
    Ok(())
}
