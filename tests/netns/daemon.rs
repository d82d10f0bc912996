//! What tests of the whole product begin with: the daemon on a host with a LAN, users, containers, and
//! questions to servers.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rootful_net_dbus::AttachmentProperties;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::{self, Installation};
use rootful_net_tests::lan::Lan;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_both_within};
use rootful_net_tests::user::{Refusal, User};

pub(crate) const ROOT: User = User::new(0);
pub(crate) const ALICE: User = User::new(installation::ALICE);
pub(crate) const BOB: User = User::new(installation::BOB);
pub(crate) const MALLORY: User = User::new(installation::MALLORY);

/// How long something may take that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long an answer is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A host on a LAN, on which the daemon runs.
pub(crate) struct System {
    // In this order: the daemon ends before its bus.
    daemon: Option<Daemon>,
    pub(crate) installation: Installation,
    pub(crate) lan: Lan,
}

impl System {
    pub(crate) fn start(sandbox: &Sandbox) -> Result<Self> {
        Self::start_with(sandbox, |_| Ok(()))
    }

    /// With what `configure` adds before the daemon starts.
    pub(crate) fn start_with(
        sandbox: &Sandbox,
        configure: impl FnOnce(&Installation) -> Result<()>,
    ) -> Result<Self> {
        let lan = Lan::join(sandbox)?;
        let installation = Installation::new(sandbox)?;
        configure(&installation)?;
        let daemon = Some(Daemon::start(&installation)?);
        Ok(Self { daemon, installation, lan })
    }

    /// The daemon.
    pub(crate) fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("no daemon runs")
    }

    /// Ends the daemon, one way or another.
    pub(crate) fn end(&mut self, end: fn(Daemon) -> Result<()>) -> Result<()> {
        end(self.daemon.take().context("no daemon runs")?)
    }

    /// Starts the daemon again.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon runs");
        self.daemon = Some(Daemon::start(&self.installation)?);
        Ok(())
    }
}

/// Waits until nothing of the product is left; links go after the answer.
pub(crate) fn ensure_nothing_is_left() -> Result<()> {
    eventually(DEADLINE, || Footprint::look()?.ensure_no_attachment())
}

pub(crate) fn container_of(user: User) -> Result<Container> {
    Container::of(user.uid())
}

/// Serves TCP and UDP in the container on these ports, over IPv4 and IPv6.
pub(crate) fn serve(container: &Container, ports: &[u16]) -> Result<Vec<Server>> {
    container.run(|| {
        let mut servers = Vec::new();
        for port in ports {
            let address = format!("[::]:{port}").parse()?;
            servers.push(Server::tcp(address)?);
            servers.push(Server::udp(address)?);
        }
        Ok(servers)
    })
}

/// A container that serves TCP and UDP on port 80, set up as `web`.
pub(crate) struct Web {
    pub(crate) _servers: Vec<Server>,
    pub(crate) container: Container,
    pub(crate) ipv4: String,
    pub(crate) ipv6: String,
    pub(crate) attachment: AttachmentProperties,
}

impl Web {
    pub(crate) fn set_up(user: User, name: &str, arguments: &str) -> Result<Self> {
        let container = container_of(user)?;
        let servers = serve(&container, &[80])?;
        let attachment = user.set_up(&container, name, arguments)?;
        let [ipv4, ipv6] = addresses(&attachment)?;
        Ok(Self { _servers: servers, container, ipv4, ipv6, attachment })
    }
}

/// The IPv4 and the IPv6 address on the first network, without prefix lengths.
pub(crate) fn addresses(attachment: &AttachmentProperties) -> Result<[String; 2]> {
    let interface = attachment.interfaces.first().context("no interface")?;
    let addresses = interface.addresses.iter().filter_map(|address| address.split('/').next());
    let addresses: Vec<_> = addresses.map(str::to_owned).collect();
    addresses.try_into().ok().context("not an address of each family")
}

/// Asks over TCP and over UDP, and returns whom the server saw; it must be the same.
pub(crate) fn seen_by(server: &str) -> Result<String> {
    let [tcp, udp] = ask_both_within(server.parse()?, DEADLINE);
    let (tcp, udp) = (canonical(tcp?), canonical(udp?));
    ensure!(tcp == udp, "{server} sees {tcp} over TCP and {udp} over UDP");
    Ok(tcp.to_string())
}

/// Fails unless the server, asked over TCP and over UDP, sees the client come from this address.
pub(crate) fn ensure_seen(server: &str, client: &str) -> Result<()> {
    let seen = seen_by(server)?;
    ensure!(seen == client, "{server} sees {seen} instead of {client}");
    Ok(())
}

/// Fails if somebody answers over TCP or UDP.
pub(crate) fn ensure_silent(server: &str) -> Result<()> {
    let [tcp, udp] = ask_both_within(server.parse()?, SILENCE);
    ensure!(tcp.is_err(), "{server} answers over TCP");
    ensure!(udp.is_err(), "{server} answers over UDP");
    Ok(())
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Both ends of a TCP connection from the LAN to a container.
pub(crate) struct Conversation {
    client: TcpStream,
    server: TcpStream,
}

impl Conversation {
    /// Connects the LAN client to `address`, which leads to port 7000 of the container.
    pub(crate) fn begin(system: &System, container: &Container, address: &str) -> Result<Self> {
        Self::over(&system.lan, container, address)
    }

    /// As [`Self::begin`].
    pub(crate) fn over(lan: &Lan, container: &Container, address: &str) -> Result<Self> {
        let listener = container.run(|| Ok(TcpListener::bind("[::]:7000")?))?;
        let address: SocketAddr = address.parse()?;
        let connect = || Ok(TcpStream::connect_timeout(&address, DEADLINE)?);
        let client = lan.run(connect).with_context(|| format!("connect to {address}"))?;
        let (server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(DEADLINE))?;
        }
        Ok(Self { client, server })
    }

    /// Fails unless what one says reaches the other, both ways.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        let mut heard = [0; 5];
        self.client.write_all(b"hello")?;
        self.server.read_exact(&mut heard).context("the server hears nothing")?;
        self.server.write_all(&heard)?;
        self.client.read_exact(&mut heard).context("the client hears nothing")?;
        ensure!(heard == *b"hello", "{heard:?}");
        Ok(())
    }
}

/// Fails unless it was refused with this error and a message that has each of the `words`; and unless nothing
/// is changed by it.
pub(crate) fn ensure_refused<T: std::fmt::Debug>(
    name: &str,
    words: &[&str],
    attempt: impl FnOnce() -> Result<Result<T, Refusal>>,
) -> Result<()> {
    let before = Footprint::look()?;
    let outcome = attempt()?;
    let Err(refusal) = outcome else {
        anyhow::bail!("not refused as {name} ({words:?}): {outcome:?}")
    };
    ensure!(refusal.name == name, "not {name}: {refusal:?}");
    for word in words {
        ensure!(refusal.message.contains(word), "\"{word}\" is not in {refusal:?}");
    }
    let after = Footprint::look()?;
    ensure!(before == after, "{refusal:?} left traces: {before:#?} became {after:#?}");
    Ok(())
}

/// A descriptor of the namespace, to be sent.
pub(crate) fn fd(container: &Container) -> Result<OwnedFd> {
    container.namespace().fd()
}
