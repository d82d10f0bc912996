//! A host with a LAN on one side and two containers on a bridge on the other, as bare namespaces: the test's
//! own sandbox is the host.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::sandbox::Sandbox;

/// The bridge that the containers are on.
pub(crate) const BRIDGE: &str = "rootful0";
/// How long a packet that is not meant to arrive is waited for.
const PATIENCE: Duration = Duration::from_millis(700);

/// A network namespace, held by a thread that works in it.
pub(crate) struct Namespace {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread_id: i32,
}

impl Namespace {
    fn new() -> Result<Self> {
        let (jobs, work) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (report, entered) = mpsc::channel();
        std::thread::spawn(move || {
            let sandbox = Sandbox::enter();
            let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
            let failed = sandbox.is_err();
            let told = report.send(sandbox.as_ref().map(|_| thread_id).map_err(|e| format!("{e:#}")));
            if !failed && told.is_ok() {
                work.into_iter().for_each(|job| job());
            }
        });
        let thread_id = entered.recv()?.map_err(anyhow::Error::msg)?;
        Ok(Self { jobs, thread_id })
    }

    /// Runs `job` inside; threads that it starts stay inside.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (report, result) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(report.send(job())))).ok().context("the thread died")?;
        result.recv().context("the job panicked")
    }

    pub(crate) fn ip(&self, lines: &'static [&'static str]) -> Result<()> {
        self.run(move || ip(lines))?
    }
}

/// The whole arrangement. Addresses: the LAN is 192.0.2.0/24 and 2001:db8::/64, the bridge 10.87.0.0/24 and
/// fd87::/64; the host is `1` on both, the client `2` on the LAN, the containers `2` and `3` on the bridge.
pub(crate) struct Topology {
    pub(crate) client: Namespace,
    pub(crate) container: Namespace,
    pub(crate) neighbour: Namespace,
}

impl Topology {
    pub(crate) fn build() -> Result<Self> {
        let topology =
            Self { client: Namespace::new()?, container: Namespace::new()?, neighbour: Namespace::new()? };
        ip(&[
            "link add rootful0 type bridge",
            // The kernel's own link-local address is checked for a second or two, during which the host asks for
            // no neighbour that it forwards to.
            "link set rootful0 addrgenmode none",
            "addr add fe80::1/64 dev rootful0 nodad",
            "addr add 10.87.0.1/24 dev rootful0",
            "addr add fd87::1/64 dev rootful0 nodad",
            "link set rootful0 up",
        ])?;
        connect("lan0", &topology.client)?;
        connect("rn0", &topology.container)?;
        connect("rn1", &topology.neighbour)?;
        ip(&[
            "link set lan0 addrgenmode none",
            "addr add fe80::1/64 dev lan0 nodad",
            "addr add 192.0.2.1/24 dev lan0",
            "addr add 2001:db8::1/64 dev lan0 nodad",
            "link set lan0 up",
            "link set rn0 master rootful0 up",
            "link set rn1 master rootful0 up",
        ])?;
        topology.client.ip(&[
            "addr add 192.0.2.2/24 dev eth0",
            "addr add 2001:db8::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.87.0.0/24 via 192.0.2.1",
            "route add fd87::/64 via 2001:db8::1",
        ])?;
        topology.container.ip(&[
            "addr add 10.87.0.2/24 dev eth0",
            "addr add fd87::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.87.0.1",
            "route add default via fd87::1",
        ])?;
        topology.neighbour.ip(&[
            "addr add 10.87.0.3/24 dev eth0",
            "addr add fd87::3/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.87.0.1",
            "route add default via fd87::1",
        ])?;
        for parameter in
            ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/rootful0/route_localnet"]
        {
            std::fs::write(format!("/proc/sys/net/{parameter}"), "1").context(parameter)?;
        }
        Ok(topology)
    }
}

fn connect(host_link: &str, namespace: &Namespace) -> Result<()> {
    let inside = namespace.thread_id;
    run_ip(&format!("link add {host_link} type veth peer name eth0 netns {inside}"))
}

/// Runs `ip` once a line, in the namespace of the current thread.
pub(crate) fn ip(lines: &[&str]) -> Result<()> {
    lines.iter().try_for_each(|line| run_ip(line))
}

fn run_ip(line: &str) -> Result<()> {
    // "route add" needs to be told the family only for a default route.
    let family = if line.contains("::") { "-6" } else { "-4" };
    let output = Command::new("ip").arg(family).args(line.split(' ')).output()?;
    ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Serves TCP and UDP on `address`: every client is told the address it is seen as.
pub(crate) fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("tcp {address}"))?;
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            drop(write!(stream, "{}", from.ip()));
        }
    });
    let socket = UdpSocket::bind(address).with_context(|| format!("udp {address}"))?;
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
            drop(socket.send_to(from.ip().to_string().as_bytes(), from));
        }
    });
    Ok(())
}

/// Asks a server at `address` by TCP what it sees. `None` where nobody answers.
pub(crate) fn ask_tcp(address: &str) -> Result<Option<String>> {
    let address: SocketAddr = address.parse()?;
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return Ok(None) };
    let mut answer = String::new();
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream.read_to_string(&mut answer).is_ok().then_some(answer))
}

/// Asks a server at `address` by UDP what it sees. `None` where nobody answers.
pub(crate) fn ask_udp(address: &str) -> Result<Option<String>> {
    let address: SocketAddr = address.parse()?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    socket.send(b"?")?;
    let mut answer = [0; 64];
    let len = socket.recv(&mut answer).ok();
    Ok(len.and_then(|len| answer.get(..len)).map(|answer| String::from_utf8_lossy(answer).into_owned()))
}
