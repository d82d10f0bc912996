//! A netlink socket for questions that the kernel answers on the spot. It knows headers and
//! acknowledgements; what the messages say is up to those who use it.

use std::convert::Infallible;
use std::io::{self, ErrorKind, IoSlice};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sockopt};

use crate::fault;

/// The kernel fills answers up to this size, `netlink_recvmsg` in net/netlink/af_netlink.c.
const MAX_DATAGRAM: usize = 32 * 1024;
/// What the kernel keeps back of a send buffer for itself, `netlink_sendmsg` in the same file.
const SEND_OVERHEAD: usize = 64;

/// A socket of one netlink protocol in the network namespace in which it was opened.
///
/// The netfilter and socket-diagnosis protocols do their work while the request is sent, so that every answer
/// is there when sending returns, and the socket never has to wait.
pub(crate) struct Exchange {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// One answer: its header, with the sequence number of the question, and what the kernel says to it.
pub(crate) type Answer<M> = (NetlinkHeader, NetlinkPayload<M>);

/// A message that is written and read by those who send and receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawMessage {
    /// The type in the message's header.
    pub(crate) kind: u16,
    /// What is behind the header.
    pub(crate) payload: Vec<u8>,
}

impl NetlinkSerializable for RawMessage {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for RawMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, payload: payload.to_vec() })
    }
}

impl Exchange {
    /// Opens a socket of `protocol` in the current network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // A refusal need not repeat what it refuses.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(MAX_DATAGRAM), sequence: 0 })
    }

    /// The socket's address: what the kernel notes as the origin of what it is asked to do.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// Sends `parts` as one datagram of any length.
    pub(crate) fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        fault::request()?;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let needed = len + SEND_OVERHEAD;
        if sockopt::socket_send_buffer_size(&self.socket)? < needed {
            sockopt::set_socket_send_buffer_size_force(&self.socket, needed)?;
        }
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut ancillary = SendAncillaryBuffer::default();
        let sent = rustix::net::sendmsg(&self.socket, &slices, &mut ancillary, SendFlags::empty())?;
        if sent == len { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }

    /// Hands every answer that has arrived to `each`.
    ///
    /// # Errors
    /// `ENOBUFS` where some were lost, after the others were handed over.
    pub(crate) fn receive<M: NetlinkDeserializable>(
        &mut self,
        mut each: impl FnMut(Answer<M>),
    ) -> io::Result<()> {
        let mut lost = None;
        if let Err(error) = fault::answer() {
            while self.socket.recv(&mut Vec::with_capacity(MAX_DATAGRAM), 0).is_ok() {}
            return Err(error);
        }
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, rustix::net::RecvFlags::TRUNC.bits() as i32) {
                Ok(len) if len > self.buffer.len() => return Err(malformed("too long an answer")),
                Ok(_) => parse(&self.buffer, &mut each)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return lost.map_or(Ok(()), Err);
                }
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    lost = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for everything that `question` describes and hands it to `each`. A long answer goes on as it is
    /// read.
    ///
    /// # Errors
    /// What the kernel says; `EINTR` where things changed so much meanwhile that something may be missing.
    pub(crate) fn dump<M>(&mut self, question: M, mut each: impl FnMut(M)) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let sequence = self.ask(question, NLM_F_DUMP)?;
        let mut end = None;
        let mut interrupted = false;
        self.receive(|(header, payload)| {
            if header.sequence_number == sequence {
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    NetlinkPayload::Done(done) => end = Some(outcome(done.code)),
                    NetlinkPayload::Error(error) => end = Some(outcome(error.raw_code())),
                    _ => {}
                }
            }
        })?;
        end.unwrap_or_else(|| Err(malformed("no end of the answer")))?;
        if interrupted { Err(Errno::INTR.into()) } else { Ok(()) }
    }

    /// Asks for one thing to be done, and says how that went.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn request<M>(&mut self, question: M) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.look_up(question).map(drop)
    }

    /// Asks for one thing to be shown; `None` where the kernel agrees and shows nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn look_up<M>(&mut self, question: M) -> io::Result<Option<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let sequence = self.ask(question, NLM_F_ACK)?;
        let mut end = None;
        let mut shown = None;
        self.receive(|(header, payload): Answer<M>| {
            if header.sequence_number == sequence {
                match payload {
                    NetlinkPayload::InnerMessage(message) => shown = Some(message),
                    NetlinkPayload::Error(error) => end = Some(outcome(error.raw_code())),
                    _ => {}
                }
            }
        })?;
        end.unwrap_or_else(|| Err(malformed("no acknowledgement")))?;
        Ok(shown)
    }

    fn ask<M: NetlinkSerializable>(&mut self, question: M, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.send(&[&bytes])?;
        Ok(self.sequence)
    }
}

fn parse<M: NetlinkDeserializable>(
    mut bytes: &[u8],
    each: &mut impl FnMut(Answer<M>),
) -> io::Result<()> {
    while !bytes.is_empty() {
        let message = NetlinkMessage::<M>::deserialize(bytes)
            .map_err(|error| malformed(&error.to_string()))?;
        let len = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        // Messages begin at multiples of 4 bytes, NLMSG_ALIGNTO.
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let (header, payload) = message.into_parts();
        each((header, payload));
    }
    Ok(())
}

fn outcome(code: i32) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("netlink: {what}"))
}
