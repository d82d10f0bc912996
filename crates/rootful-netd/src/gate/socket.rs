//! The bus's socket, read and written so that every message passes the gate, and one that is too long or not
//! understood is passed over instead of being kept or ending the connection.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixStream as StdUnixStream};
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rootful_net_dbus::frame::{self, Length, START_BYTES};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use tokio::io::Interest;
use tokio::net::UnixStream;
use zbus::address::Transport;
use zbus::address::transport::UnixSocket;
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::{Address, Connection, Message};

use super::{Gate, MAX_MESSAGE_BYTES, Refused};

/// The longest header fields of a message that is passed over and yet answered.
const MAX_FIELD_BYTES: usize = 4096;
/// The most file descriptors that one read can bring: SCM_MAX_FD, unix(7).
const MAX_FDS: usize = 253;

/// Connects to the system bus.
///
/// # Errors
/// The bus is not there, or does not accept the service.
pub(crate) async fn connect() -> zbus::Result<(Connection, Gate)> {
    let gate = Gate::default();
    let stream = Arc::new(stream()?);
    let read = Reader { stream: stream.clone(), gate: gate.clone(), reading: false };
    let write = Writer { stream, gate: gate.clone() };
    let split: Split<Box<dyn ReadHalf>, Box<dyn WriteHalf>> =
        Split::new(Box::new(read), Box::new(write));
    let connection = Builder::socket(split).build().await?;
    gate.connection.set(connection.clone()).expect("there is one connection a gate");
    tokio::spawn(forget_the_gone(connection.clone(), gate.clone()));
    Ok((connection, gate))
}

fn stream() -> zbus::Result<UnixStream> {
    let address = Address::system()?;
    let Transport::Unix(unix) = address.transport() else {
        return Err(zbus::Error::Address("the system bus has no Unix socket".to_owned()));
    };
    let stream = match unix.path() {
        UnixSocket::File(path) => StdUnixStream::connect::<&Path>(path.as_ref())?,
        UnixSocket::Abstract(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            use std::os::unix::ffi::OsStrExt as _;
            StdUnixStream::connect_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)?
        }
        _ => {
            return Err(zbus::Error::Address("the system bus has no path".to_owned()));
        }
    };
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?)
}

/// Unique names are never used twice, so this only keeps the list short.
async fn forget_the_gone(connection: Connection, gate: Gate) {
    let gone = async {
        let bus = zbus::fdo::DBusProxy::new(&connection).await?;
        bus.receive_name_owner_changed_with_args(&[(2, "")]).await
    };
    match gone.await {
        Ok(mut gone) => {
            while let Some(signal) = gone.next().await {
                if let Ok(arguments) = signal.args() {
                    gate.forget(arguments.name());
                }
            }
        }
        Err(error) => tracing::error!(%error, "the bus does not tell of connections that end"),
    }
}

#[derive(Debug)]
struct Reader {
    stream: Arc<UnixStream>,
    gate: Gate,
    reading: bool,
}

#[async_trait]
impl ReadHalf for Reader {
    /// Only for the handshake: behind it, messages come from the gate.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        receive(&self.stream, buffer).await
    }

    async fn receive_message(
        &mut self,
        _seq: u64,
        already_received_bytes: &mut Vec<u8>,
        already_received_fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        if !self.reading {
            self.reading = true;
            let frames = Frames {
                stream: self.stream.clone(),
                bytes: std::mem::take(already_received_bytes),
                fds: std::mem::take(already_received_fds),
                sequence: 0,
            };
            tokio::spawn(frames.read_all(self.gate.clone()));
        }
        self.gate.next().await
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Writer {
    stream: Arc<UnixStream>,
    gate: Gate,
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        let mut rest: &[u8] = message.data();
        while !rest.is_empty() {
            let sent = self.sendmsg(rest, &[]).await?;
            rest = &rest[sent..];
        }
        self.gate.answered(message);
        Ok(())
    }

    /// The service sends no file descriptors.
    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if !fds.is_empty() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let stream = &self.stream;
        let write = || Ok(send(stream, buffer, SendFlags::NOSIGNAL)?);
        stream.async_io(Interest::WRITABLE, write).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both)?)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

async fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let read = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [io::IoSliceMut::new(buffer)];
        let received = recvmsg(stream, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        Ok((received.bytes, fds))
    };
    let mut read = read;
    stream.async_io(Interest::READABLE, &mut read).await
}

/// Cuts what comes over the socket into messages.
struct Frames {
    stream: Arc<UnixStream>,
    /// What was received already, with its descriptors.
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    sequence: u64,
}

impl Frames {
    async fn read_all(mut self, gate: Gate) {
        loop {
            match self.read(&gate).await {
                Ok(()) => {}
                Err(error) => {
                    gate.admit(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// Reads one message.
    async fn read(&mut self, gate: &Gate) -> zbus::Result<()> {
        let mut start = [0; START_BYTES];
        self.fill(&mut start).await?;
        let Some(length) = Length::of(&start) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no D-Bus message").into());
        };
        self.sequence += 1;
        if length.total() <= MAX_MESSAGE_BYTES {
            let mut bytes = vec![0; length.total()];
            bytes[..START_BYTES].copy_from_slice(&start);
            self.fill(&mut bytes[START_BYTES..]).await?;
            match self.parse(bytes).await {
                Ok(message) => gate.admit(Ok(message)).await,
                // The bus lets through only what is well formed, but need not agree about all of it.
                Err(error) => tracing::warn!(%error, "message passed over"),
            }
            return Ok(());
        }
        if length.header() > START_BYTES + MAX_FIELD_BYTES {
            self.skip(length.total() - START_BYTES).await?;
            self.fds.clear();
            tracing::warn!(bytes = length.total(), "message passed over");
            return Ok(());
        }
        let mut header = vec![0; length.header()];
        // Without its body the message is short enough to be answered.
        Length::without_body(&mut start);
        header[..START_BYTES].copy_from_slice(&start);
        self.fill(&mut header[START_BYTES..]).await?;
        self.skip(length.body()).await?;
        match self.parse(header).await {
            Ok(message) => gate.refuse(Refused::TooLong(message)).await,
            Err(error) => tracing::warn!(%error, bytes = length.total(), "message passed over"),
        }
        Ok(())
    }

    /// Has the library read the message from memory; a mistake in it ends nothing but this message.
    async fn parse(&mut self, bytes: Vec<u8>) -> zbus::Result<Message> {
        frame::read(bytes, std::mem::take(&mut self.fds), self.sequence).await
    }

    async fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let ready = buffer.len().min(self.bytes.len());
        let (mut filled, ready) = (ready, self.bytes.drain(..ready));
        buffer.iter_mut().zip(ready).for_each(|(to, from)| *to = from);
        while filled < buffer.len() {
            let (count, fds) = receive(&self.stream, &mut buffer[filled..]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            self.fds.extend(fds);
        }
        Ok(())
    }

    async fn skip(&mut self, mut count: usize) -> io::Result<()> {
        let mut buffer = vec![0; count.min(MAX_MESSAGE_BYTES)];
        while count > 0 {
            let part = count.min(buffer.len());
            self.fill(&mut buffer[..part]).await?;
            count -= part;
        }
        Ok(())
    }
}
