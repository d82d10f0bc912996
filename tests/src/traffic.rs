//! Small TCP and UDP servers and clients to run inside namespaces. A server answers with the address that it
//! sees its client come from.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// How often a server looks whether it is to end.
const CHECK: Duration = Duration::from_millis(10);
/// How long an answer may take where one is expected.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often an unanswered datagram is sent again: the first may be lost to address resolution.
const RESEND: Duration = Duration::from_millis(250);

/// A running server. It stays in the network namespace of the thread that started it, keeps that alive, and
/// ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves TCP on `address` (port 0: a free one). When it returns, the server is listening.
    ///
    /// # Errors
    /// Where the address is not to be had.
    pub fn tcp(address: SocketAddr) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        set_socket_timeout(&listener, Timeout::Recv, Some(CHECK))?;
        let bound = listener.local_addr()?;
        Self::start(bound, move || {
            if let Ok((mut stream, client)) = listener.accept() {
                // A client that is gone already is its own affair.
                let _ = stream.write_all(client.to_string().as_bytes());
            }
        })
    }

    /// Serves UDP on `address` (port 0: a free one). When it returns, the server is bound.
    ///
    /// # Errors
    /// Where the address is not to be had.
    pub fn udp(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
        socket.set_read_timeout(Some(CHECK))?;
        let bound = socket.local_addr()?;
        Self::start(bound, move || {
            let mut datagram = [0; 64];
            if let Ok((_, client)) = socket.recv_from(&mut datagram) {
                let _ = socket.send_to(client.to_string().as_bytes(), client);
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(
        address: SocketAddr,
        mut serve_one: impl FnMut() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                serve_one();
            }
        };
        let thread = std::thread::Builder::new().name(format!("server {address}")).spawn(serve)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed by then.
            let _ = thread.join();
        }
    }
}

/// Connects to `server` over TCP and returns the address that it saw.
///
/// # Errors
/// Where it does not connect and answer in time.
pub fn ask_tcp(server: SocketAddr) -> anyhow::Result<SocketAddr> {
    ask_tcp_within(server, DEADLINE)
}

/// As [`ask_tcp`], with a deadline; a short one where no answer is expected.
///
/// # Errors
/// Where it does not connect and answer in time.
pub fn ask_tcp_within(server: SocketAddr, deadline: Duration) -> anyhow::Result<SocketAddr> {
    let mut stream = TcpStream::connect_timeout(&server, deadline)
        .with_context(|| format!("connect to {server}"))?;
    stream.set_read_timeout(Some(deadline))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("read from {server}"))?;
    answer.parse().with_context(|| format!("{server} answers \"{answer}\""))
}

/// Sends to `server` over UDP, from one port, until it answers, and returns the address that it saw.
///
/// # Errors
/// Where it does not answer in time.
pub fn ask_udp(server: SocketAddr) -> anyhow::Result<SocketAddr> {
    ask_udp_within(server, DEADLINE)
}

/// As [`ask_udp`], with a deadline; a short one where no answer is expected.
///
/// # Errors
/// Where it does not answer in time.
pub fn ask_udp_within(server: SocketAddr, deadline: Duration) -> anyhow::Result<SocketAddr> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server).with_context(|| format!("connect to {server}"))?;
    let end = Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        anyhow::ensure!(!left.is_zero(), "no answer from {server} within {deadline:?}");
        socket.set_read_timeout(Some(left.min(RESEND)))?;
        socket.send(b"?").with_context(|| format!("send to {server}"))?;
        let mut answer = [0; 64];
        match socket.recv(&mut answer) {
            Ok(length) => {
                let answer = String::from_utf8_lossy(&answer[..length]);
                return answer.parse().with_context(|| format!("{server} answers \"{answer}\""));
            }
            // A wait with a time limit is not taken up again where it is interrupted, signal(7).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error).with_context(|| format!("receive from {server}")),
        }
    }
}

/// Asks over TCP and over UDP at the same time, in that order in the answer.
pub fn ask_both_within(server: SocketAddr, deadline: Duration) -> [anyhow::Result<SocketAddr>; 2] {
    std::thread::scope(|scope| {
        let tcp = scope.spawn(|| ask_tcp_within(server, deadline));
        let udp = ask_udp_within(server, deadline);
        match tcp.join() {
            Ok(tcp) => [tcp, udp],
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
