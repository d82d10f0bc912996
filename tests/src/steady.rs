//! Steady traffic to a server: datagrams of one flow and new connections, one after the other, each of which has to
//! be answered.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::deadline::eventually;
use crate::namespace::NetworkNamespace;
use crate::traffic::ask_tcp;

/// How often a datagram is sent.
const PACE: Duration = Duration::from_millis(2);
/// How long the last answers may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Traffic that goes on until it is ended.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Steady {
    /// Begins to ask the server at `address`, a [`crate::traffic::Server`] of both kinds, from `client`.
    ///
    /// # Errors
    /// Where the client's namespace cannot be entered.
    pub fn begin(client: &NetworkNamespace, address: SocketAddr) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let asking = [send_datagrams, connect_again_and_again];
        // Threads stay in the namespace of who starts them.
        let threads = client.run(|| {
            let threads = asking.map(|ask| {
                let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
                std::thread::spawn(move || ask(address, &stop, &answers))
            });
            Ok(threads.into())
        })?;
        let steady = Self { stop, answers, threads };
        steady.go_on(10)?;
        Ok(steady)
    }

    /// Waits for so many further answers.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn go_on(&self, number: u64) -> anyhow::Result<()> {
        let wanted = self.answers.load(Ordering::Relaxed) + number;
        eventually(DEADLINE, || {
            let answers = self.answers.load(Ordering::Relaxed);
            ensure!(answers >= wanted, "there are {answers} answers, not {wanted}");
            Ok(())
        })
    }

    /// Ends it; answers with how many questions there were.
    ///
    /// # Errors
    /// Where one was not answered.
    pub fn end(mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(self.answers.load(Ordering::Relaxed))
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send_datagrams(
    server: SocketAddr,
    stop: &AtomicBool,
    answers: &AtomicU64,
) -> anyhow::Result<()> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    let (mut sent, mut received) = (0_u64, 0_u64);
    let mut last = Instant::now();
    let mut answer = [0; 64];
    loop {
        let is_over = stop.load(Ordering::Relaxed);
        if is_over && (received == sent || last.elapsed() > DEADLINE) {
            ensure!(received == sent, "{} of {sent} datagrams are lost", sent - received);
            return Ok(());
        }
        if !is_over {
            socket.send(b"?").context("send a datagram")?;
            sent += 1;
            last = Instant::now();
        }
        std::thread::sleep(PACE);
        loop {
            match socket.recv(&mut answer) {
                Ok(_) => received += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("receive a datagram"),
            }
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn connect_again_and_again(
    server: SocketAddr,
    stop: &AtomicBool,
    answers: &AtomicU64,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        ask_tcp(server).context("a new connection")?;
        answers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
