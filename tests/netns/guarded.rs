//! A network that users share, planned and attached as the daemon does it, without the daemon: a hostile
//! container, its victim, and the host; and a look at which frames of the one reach the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_core::attachment::Attachment;
use rootful_net_core::catalogue::Catalogue;
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::{Leases, Ledger};
use rootful_net_core::network::Network;
use rootful_net_core::planner::{self, AttachDecision, World};
use rootful_net_core::policy::{Caller, Consent, Decision, Policy, Usage, authorize};
use rootful_net_core::request::{AttachRequest, OnConflict};
use rootful_net_kernel::{Kernel, Namespace};
use rootful_net_tests::container::Container;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::frame::{
    self, ARP, BROADCAST, IPV4, IPV6, Mac, UDP, ethernet, multicast, udp,
};
use rootful_net_tests::namespace::{run, run_json};
use rootful_net_tests::packet::{LENGTH, PacketSocket, has};
use rustix::thread::{CpuSet, sched_setaffinity};

const MALLORY: u32 = 10_001;
const VICTIM: u32 = 10_002;

/// How long a frame may take that must arrive.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a frame may take on a link that is ready.
const SETTLING: Duration = Duration::from_millis(100);

/// What frames say that they are, whatever the cases send.
const ETHER_TYPES: &[u16] = &[
    IPV4, ARP, IPV6, LENGTH, 0x8035, 0x8809, 0x8847, 0x8863, 0x888e, 0x88b5, 0x88cc, 0x88f7,
    0x8100, 0x88a8, 0x9000,
];

/// The addresses of somebody on the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Station {
    pub(crate) mac: Mac,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
    pub(crate) link_local: Ipv6Addr,
}

/// Who is who.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stations {
    pub(crate) mallory: Station,
    pub(crate) victim: Station,
    pub(crate) gateway: Station,
}

/// The host's side of shared networks.
pub(crate) struct Host {
    pub(crate) kernel: Kernel,
    catalogue: Catalogue,
    ledger: Ledger,
    key: AddressKey,
}

impl Host {
    /// With these networks, by name, number and options: `"a": 87, ""` is `a0` with 10.87.0.0/16 and
    /// fd00:87::/64.
    pub(crate) fn with(networks: &[(&str, u8, &str)]) -> Result<Self> {
        let mut catalogue = Catalogue::default();
        for (name, number, options) in networks {
            let text = format!(
                r#"{{"name": "{name}", "network_interface": "{name}0", "ipv6_enabled": true,
                     "subnets": [{{"subnet": "10.{number}.0.0/16"}}, {{"subnet": "fd00:{number}::/64"}}],
                     "options": {{{options}}}}}"#
            );
            catalogue.insert(Network::from_json(&text)?)?;
        }
        let (ledger, key) = (Ledger::new(Leases::default()), AddressKey::from_bytes([7; 32]));
        Ok(Self { kernel: Kernel::open()?, catalogue, ledger, key })
    }

    /// Attaches a container as the daemon does.
    pub(crate) fn attach(
        &mut self,
        container: &Container,
        (owner, name): (u32, &str),
        network: &str,
        publish: &[&str],
    ) -> Result<Attachment> {
        let publish = publish.iter().map(|text| Ok(text.parse()?)).collect::<Result<Vec<_>>>()?;
        let networks = vec![network.parse()?];
        let request = AttachRequest::new(name.parse()?, None, networks, &publish, Vec::new())?;
        let root = Caller { uid: 0, user_name: None, groups: Vec::new() };
        let (policy, usage) = (Policy::default(), Usage::default());
        let world = World { catalogue: &self.catalogue, ledger: &self.ledger, key: &self.key };
        let query = planner::attach_query(world, owner, &request)?;
        let decision = authorize(&policy, &root, owner, usage, request, Consent::NotAsked)?;
        let Decision::Allowed(authorized) = decision else { bail!("root needs no grant") };
        let namespace = Namespace::verify(container.namespace().fd()?)?;
        let observed = self.kernel.observe(&query, Some(&namespace))?;
        let id = namespace.id();
        let decision = planner::attach(world, &observed, id, &authorized, OnConflict::Refuse)?;
        let AttachDecision::Change(change) = decision else { bail!("it is attached already") };
        self.kernel.carry_out(&change.plan.steps, Some(&namespace))?;
        let attachment = change.attached.context("somebody is attached")?;
        self.ledger.insert(attachment.clone());
        Ok(attachment)
    }

    /// Takes an attachment out of service, and says what is to be done afterwards.
    pub(crate) fn detach(
        &mut self,
        attachment: &Attachment,
    ) -> Result<rootful_net_core::plan::Plan> {
        let observed = self.kernel.observe(&planner::detach_query(), None)?;
        let world = World { catalogue: &self.catalogue, ledger: &self.ledger, key: &self.key };
        let change = planner::detach(world, &observed, attachment);
        self.kernel.carry_out(&change.plan.steps, None)?;
        self.ledger.remove(attachment.id());
        Ok(change.plan)
    }
}

/// A hostile container and its victim on the network `shared`.
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) mallory: Container,
    pub(crate) victim: Container,
    pub(crate) attachment: Attachment,
    pub(crate) stations: Stations,
    /// The port that mallory's frames come in by.
    pub(crate) port: String,
    /// The link of mallory's that is the other end of the port.
    way_out: String,
    marks: u32,
}

impl Shared {
    pub(crate) fn new() -> Result<Self> {
        Self::with("")
    }

    /// With options of the network.
    pub(crate) fn with(options: &str) -> Result<Self> {
        // What is sent in an order arrives in it: by one processor.
        let mut processor = CpuSet::new();
        processor.set(rustix::thread::sched_getcpu());
        sched_setaffinity(None, &processor)?;
        let mut host = Host::with(&[("shared", 87, options)])?;
        // With it the bridge cuts off what is behind a packet, where the frames have their marks.
        leave_frames_alone()?;
        let (mallory, victim) = (Container::of(MALLORY)?, Container::of(VICTIM)?);
        let hostile = host.attach(&mallory, (MALLORY, "mallory"), "shared", &[])?;
        let victims =
            host.attach(&victim, (VICTIM, "victim"), "shared", &["8080:80", "8080:80/udp"])?;
        let gateway = gateway("shared0")?;
        let stations =
            Stations { mallory: station(&hostile)?, victim: station(&victims)?, gateway };
        let port = hostile.interfaces()[0].veth.host_link.to_string();
        let mut shared = Self {
            host,
            mallory,
            victim,
            attachment: hostile,
            stations,
            port,
            way_out: "eth0".into(),
            marks: 0,
        };
        shared.settle()?;
        Ok(shared)
    }

    fn settle(&mut self) -> Result<()> {
        self.settle_on("eth0")
    }

    /// Waits until frames pass: the kernel switches a queue on some time after its link is up.
    pub(crate) fn settle_on(&mut self, link: &str) -> Result<()> {
        let host = HostCapture::open()?;
        let victim = self.victim.run(|| PacketSocket::on("eth0"))?;
        eventually(DEADLINE, || {
            let mark = self.mark();
            let frame = self.stations.harmless(&mark);
            self.mallory.run(|| PacketSocket::on(link)?.send(&frame))?;
            self.way_out = link.to_owned();
            victim.frames_until(&mark, SETTLING)?;
            host.frames_until(&mark, SETTLING)
        })?;
        Ok(())
    }

    /// Takes the guard away, and with it what the bridge does by itself.
    pub(crate) fn drop_guard(&self) -> Result<()> {
        run("nft delete table bridge rootful_net")?;
        run(&format!("bridge link set dev {} locked off learning on flood on", self.port))?;
        Ok(())
    }

    /// Sends frames out of a link of mallory's, and says whether each reaches the victim and the host.
    pub(crate) fn reach(&mut self, frames: &[Vec<u8>]) -> Result<Vec<Reach>> {
        self.reach_from("eth0", frames)
    }

    /// As [`Self::reach`], out of another link.
    pub(crate) fn reach_from(&mut self, link: &str, frames: &[Vec<u8>]) -> Result<Vec<Reach>> {
        let host = HostCapture::open()?;
        let victim = self.victim.run(|| PacketSocket::on("eth0"))?;
        let marks: Vec<_> = frames.iter().map(|_| self.mark()).collect();
        let fence = self.mark();
        let marked = frames.iter().zip(&marks).map(|(frame, mark)| [frame, &mark[..]].concat());
        let marked: Vec<_> = marked.collect();
        let last = self.stations.harmless(&fence);
        self.mallory.run(|| {
            let socket = PacketSocket::on(link)?;
            marked.iter().try_for_each(|frame| socket.send(frame))?;
            // Behind them one that arrives: what has not come when it has, does not come.
            PacketSocket::on(&self.way_out)?.send(&last)
        })?;
        let at_victim = victim.frames_until(&fence, DEADLINE).context("the victim's")?;
        let at_host = host.frames_until(&fence, DEADLINE)?;
        let seen = |frames: &[Vec<u8>], mark: &[u8]| frames.iter().any(|frame| has(frame, mark));
        let reach =
            |mark: &Mark| Reach { victim: seen(&at_victim, mark), host: seen(&at_host, mark) };
        Ok(marks.iter().map(reach).collect())
    }

    /// Fails unless none of the frames reaches anybody, and unless each would without the guard.
    pub(crate) fn ensure_stopped(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        self.ensure_silent(frames)?;
        self.drop_guard()?;
        for (frame, reach) in frames.iter().zip(self.reach(frames)?) {
            ensure!(reach.victim || reach.host, "the control does not arrive: {frame:02x?}");
        }
        Ok(())
    }

    /// Fails where a frame reaches anybody.
    pub(crate) fn ensure_silent(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        self.ensure_silent_on("eth0", frames)
    }

    /// As [`Self::ensure_silent`], out of another link.
    pub(crate) fn ensure_silent_on(&mut self, link: &str, frames: &[Vec<u8>]) -> Result<()> {
        for (frame, reach) in frames.iter().zip(self.reach_from(link, frames)?) {
            ensure!(!reach.victim, "the victim gets {frame:02x?}");
            ensure!(!reach.host, "the host gets {frame:02x?}");
        }
        Ok(())
    }

    /// Fails unless every frame reaches those whom it is addressed to and nobody else: one of the victim and the host,
    /// or both where it is to a group.
    pub(crate) fn ensure_passed(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        let Stations { victim, gateway, .. } = self.stations;
        for (frame, reach) in frames.iter().zip(self.reach(frames)?) {
            let to_group = frame[0] & 1 == 1;
            let (to_victim, to_host) =
                (frame.starts_with(&victim.mac), frame.starts_with(&gateway.mac));
            ensure!(to_group || to_victim || to_host, "it is to nobody: {frame:02x?}");
            let expected = Reach { victim: to_group || to_victim, host: to_group || to_host };
            ensure!(reach == expected, "{reach:?} instead of {expected:?}: {frame:02x?}");
        }
        Ok(())
    }

    /// Mallory's own datagram to everybody.
    pub(crate) fn own_datagram(&self) -> Vec<u8> {
        self.stations.harmless(b"hello")
    }

    /// Sends a datagram from the host to everybody on the network, and returns what is in no other.
    pub(crate) fn host_datagram(&mut self) -> Result<Mark> {
        let mark = self.mark();
        let gateway = self.stations.gateway;
        let packet = frame::ipv4(gateway.ipv4, Ipv4Addr::BROADCAST, UDP, &udp(9, 9, &mark));
        PacketSocket::on("shared0")?.send(&ethernet(BROADCAST, gateway.mac, IPV4, &packet))?;
        Ok(mark)
    }

    /// The port that the victim is behind.
    pub(crate) fn port_of_victim(&self) -> Result<String> {
        let ports = run_json("ip -json link show master shared0")?;
        let ports = ports.as_array().context("a list")?.iter();
        let mut names = ports.filter_map(|port| port["ifname"].as_str());
        let other = names.find(|name| *name != self.port);
        Ok(other.context("another port")?.to_owned())
    }

    /// Bytes that are in no other frame.
    fn mark(&mut self) -> Mark {
        self.marks += 1;
        let mut mark = *b"mark of a frame 0000";
        mark[16..].copy_from_slice(&self.marks.to_be_bytes());
        mark
    }
}

pub(crate) type Mark = [u8; 20];

/// Whom a frame reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) victim: bool,
    pub(crate) host: bool,
}

impl Stations {
    /// A frame to everybody that is nobody's harm.
    fn harmless(&self, payload: &[u8]) -> Vec<u8> {
        let me = &self.mallory;
        let packet = frame::ipv4(me.ipv4, Ipv4Addr::BROADCAST, UDP, &udp(9, 9, payload));
        ethernet(BROADCAST, me.mac, IPV4, &packet)
    }
}

impl Station {
    /// A frame from here with an IPv6 packet to a group.
    pub(crate) fn to_group(self, group: Ipv6Addr, packet: &[u8]) -> Vec<u8> {
        ethernet(multicast(group), self.mac, IPV6, packet)
    }
}

/// What the host's protocols are given, by whichever link: frames that it only passes on are not among it.
struct HostCapture {
    sockets: Vec<PacketSocket>,
}

impl HostCapture {
    fn open() -> Result<Self> {
        let sockets = ETHER_TYPES.iter().map(|kind| PacketSocket::of_type(*kind));
        Ok(Self { sockets: sockets.collect::<Result<_>>()? })
    }

    fn frames_until(&self, fence: &[u8], deadline: Duration) -> Result<Vec<Vec<u8>>> {
        let [ipv4, others @ ..] = self.sockets.as_slice() else { bail!("IPv4 is a type") };
        let mut frames = ipv4.frames_until(fence, deadline).context("the host's")?;
        for socket in others {
            frames.extend(socket.frames()?);
        }
        Ok(frames)
    }
}

/// Says that frames on a bridge do not go through the rules for packets, where br_netfilter is there.
pub(crate) fn leave_frames_alone() -> Result<()> {
    for family in ["ip", "ip6", "arp"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}tables");
        if std::path::Path::new(&path).exists() {
            std::fs::write(path, "0")?;
        }
    }
    Ok(())
}

/// The addresses that an attachment has.
pub(crate) fn station(attachment: &Attachment) -> Result<Station> {
    let interface = attachment.interfaces().first().context("no interface")?;
    let mut addresses = interface.addresses();
    let (Some(IpAddr::V4(ipv4)), Some(IpAddr::V6(ipv6))) = (addresses.next(), addresses.next())
    else {
        bail!("not an address of each family");
    };
    let link_local = interface.setup.link_local.context("no link-local address")?;
    Ok(Station { mac: interface.mac().octets(), ipv4, ipv6, link_local })
}

fn gateway(bridge: &str) -> Result<Station> {
    let shown = run_json(&format!("ip -json address show dev {bridge}"))?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).context("a text");
    let mac: rootful_net_core::mac::MacAddress = text(&shown[0]["address"])?.parse()?;
    let local = |index: usize| text(&shown[0]["addr_info"][index]["local"]);
    let (ipv4, ipv6, link_local) = (local(0)?.parse()?, local(1)?.parse()?, local(2)?.parse()?);
    Ok(Station { mac: mac.octets(), ipv4, ipv6, link_local })
}
