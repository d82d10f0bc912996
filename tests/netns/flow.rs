//! A sender of datagrams that never changes its port: the kernel takes all of them for one flow, which goes on to where it
//! went at first for as long as the kernel remembers it.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

/// How long an answer may take.
const ANSWERED_IN: Duration = Duration::from_millis(200);

/// The sender.
#[derive(Debug)]
pub(crate) struct Flow {
    port: u16,
    socket: UdpSocket,
}

impl Flow {
    /// Begins to send to this host and port, from the network namespace of the current thread.
    pub(crate) fn begin(host: &str, port: u16) -> Result<Self> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((host, port))?;
        socket.set_read_timeout(Some(ANSWERED_IN))?;
        Ok(Self { port, socket })
    }

    /// The port that it sends to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends, and fails unless it is answered, or told that nobody is there.
    pub(crate) fn ensure_open(&self, is_open: bool) -> Result<()> {
        let exchanged = self.socket.send(b"flow").and_then(|_| self.socket.recv(&mut [0; 64]));
        match exchanged {
            Ok(_) => ensure!(is_open, "UDP port {} still leads to a container", self.port),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                ensure!(!is_open, "UDP port {} leads nowhere", self.port);
            }
            Err(error) => bail!("UDP port {}: {error}", self.port),
        }
        Ok(())
    }
}
