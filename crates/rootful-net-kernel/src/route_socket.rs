//! The route netlink socket: sends requests, several in one datagram where they belong together, and sorts
//! the answers. It knows nothing of what the requests mean.
//!
//! The socket blocks. The kernel carries out a request within the send call, so that the answer is there as
//! soon as that returns and nothing would be gained by waiting for it elsewhere.

use std::io;

use rootful_net_core::name::InterfaceName;
use rtnetlink::packet_core::{
    ErrorBuffer, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NetlinkBuffer, NetlinkMessage, NlasIterator,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{RecvFlags, SendFlags};

use crate::error::{KernelError, RequestError};
use crate::fault;

/// More than the 32 KiB that the kernel puts into one datagram of a long list, netlink(7).
const DATAGRAM_BYTES: usize = 64 * 1024;
/// How often a list is read that changed while it was read.
const LIST_ATTEMPTS: usize = 8;

/// Of linux/netlink.h: types of messages, the attribute of an error that explains it, and the size of a
/// message's header.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER_BYTES: usize = 16;

/// A socket of one network namespace: that of the thread that opened it, wherever it is used.
pub(crate) struct RouteSocket {
    socket: Socket,
    sequence: u32,
    datagram: Vec<u8>,
}

/// Requests that change something, carried out in order. Each knows what it means when it fails.
pub(crate) struct Batch<'a> {
    requests: Vec<(RouteNetlinkMessage, u16)>,
    failures: Vec<Failure<'a>>,
}

type Failure<'a> = Box<dyn FnOnce(RequestError) -> KernelError + 'a>;

impl<'a> Batch<'a> {
    pub(crate) fn new() -> Self {
        Self { requests: Vec::new(), failures: Vec::new() }
    }

    /// Adds a request with its `NLM_F_…` flags; `failure` makes the error when it is refused.
    pub(crate) fn add(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        failure: impl FnOnce(RequestError) -> KernelError + 'a,
    ) {
        self.requests.push((message, flags));
        self.failures.push(Box::new(failure));
    }
}

/// One answer to a request.
enum Reply<'a> {
    /// It was carried out, or the list is at its end.
    Done,
    /// It was refused.
    Refused(RequestError),
    /// An entry of a list, or the one thing that was asked for.
    Entry { payload: &'a [u8], changed: bool },
}

impl RouteSocket {
    pub(crate) fn open() -> Result<Self, KernelError> {
        let open = || {
            let socket = Socket::new(NETLINK_ROUTE)?;
            // From then on nobody but the kernel is heard.
            socket.connect(&SocketAddr::new(0, 0))?;
            // An error quotes no more than the header of the request, and explains itself.
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| KernelError::OpenSocket { source })?;
        Ok(Self { socket, sequence: 0, datagram: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// The index of a link in the socket's namespace.
    pub(crate) fn index(&self, link: &InterfaceName) -> Result<Option<u32>, KernelError> {
        match name_to_index(&self.socket, link.as_str()) {
            Ok(index) => Ok(Some(index)),
            Err(Errno::NODEV) => Ok(None),
            Err(errno) => Err(KernelError::Exchange { source: errno.into() }),
        }
    }

    /// The name of a link in the socket's namespace; `None` where it has gone meanwhile.
    pub(crate) fn name(&self, index: u32) -> Option<String> {
        index_to_name(&self.socket, index).ok()
    }

    /// Carries out a batch in one exchange. The kernel goes on behind a request that it refuses; the first
    /// failure is reported.
    pub(crate) fn change(&mut self, batch: Batch<'_>) -> Result<(), KernelError> {
        let Batch { mut requests, mut failures } = batch;
        let Some((_, flags)) = requests.last_mut() else {
            return Ok(());
        };
        // A refusal is always answered. Success is worth an answer when all is done.
        *flags |= NLM_F_ACK;
        let last = requests.len() - 1;
        if let Err(refusal) = fault::request() {
            let errno = Errno::from_io_error(&refusal).unwrap_or(Errno::IO);
            if last > 0 {
                self.exchange(requests.split_off(1), |position, _| position + 1 == last)?;
            }
            return Err(failures.swap_remove(0)(RequestError::Refused { errno, message: None }));
        }
        let mut failed: Option<(usize, RequestError)> = None;
        self.exchange(requests, |position, reply| {
            if let Reply::Refused(error) = reply
                && failed.is_none()
            {
                failed = Some((position, error));
            }
            position == last
        })?;
        match failed {
            Some((position, error)) => Err(failures.swap_remove(position)(error)),
            None => Ok(()),
        }
    }

    /// Asks for single links, all at once; the answer is `None` where there is none.
    pub(crate) fn ask<T>(
        &mut self,
        what: &'static str,
        questions: Vec<RouteNetlinkMessage>,
        mut decode: impl FnMut(&[u8]) -> T,
    ) -> Result<Vec<Option<T>>, KernelError> {
        let mut answers: Vec<Option<T>> = questions.iter().map(|_| None).collect();
        let mut missing = answers.len();
        if missing == 0 {
            return Ok(answers);
        }
        let mut failed = None;
        let requests = questions.into_iter().map(|question| (question, 0)).collect();
        fault::request().map_err(|source| KernelError::Exchange { source })?;
        self.exchange(requests, |position, reply| {
            match reply {
                Reply::Entry { payload, .. } => answers[position] = Some(decode(payload)),
                Reply::Refused(RequestError::Refused { errno: Errno::NODEV, .. }) => {}
                Reply::Refused(error) => failed = Some(error),
                Reply::Done => {}
            }
            missing -= 1;
            missing == 0
        })?;
        match failed {
            Some(source) => Err(KernelError::List { what, source }),
            None => Ok(answers),
        }
    }

    /// Reads a whole list; `decode` takes what it wants of every entry.
    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        question: &RouteNetlinkMessage,
        mut decode: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        fault::request().map_err(|source| KernelError::Exchange { source })?;
        for _ in 0..LIST_ATTEMPTS {
            let mut entries = Vec::new();
            let mut list_changed = false;
            let mut failed = None;
            self.exchange(vec![(question.clone(), NLM_F_DUMP)], |_, reply| match reply {
                Reply::Entry { payload, changed } => {
                    list_changed |= changed;
                    entries.extend(decode(payload));
                    false
                }
                Reply::Refused(error) => {
                    failed = Some(error);
                    true
                }
                Reply::Done => true,
            })?;
            if let Some(source) = failed {
                return Err(KernelError::List { what, source });
            }
            if !list_changed {
                return Ok(entries);
            }
        }
        Err(KernelError::List { what, source: RequestError::KeptChanging })
    }

    /// Sends all requests in one datagram and hands the replies to `receive`, each with the position of its
    /// request, until that says that it has them all.
    fn exchange(
        &mut self,
        requests: Vec<(RouteNetlinkMessage, u16)>,
        mut receive: impl FnMut(usize, Reply<'_>) -> bool,
    ) -> Result<(), KernelError> {
        let count = requests.len();
        let first = self.sequence.wrapping_add(1);
        self.send(requests).map_err(|source| KernelError::Exchange { source })?;
        fault::answer().map_err(|source| KernelError::Exchange { source })?;
        loop {
            self.receive().map_err(|source| KernelError::Exchange { source })?;
            let mut rest = self.datagram.as_slice();
            while let Some((message, behind)) = next_message(rest) {
                rest = behind;
                // Replies to an exchange that broke off earlier are for nobody.
                let position = message.sequence_number().wrapping_sub(first) as usize;
                if position < count && receive(position, reply(&message)) {
                    return Ok(());
                }
            }
        }
    }

    fn send(&mut self, requests: Vec<(RouteNetlinkMessage, u16)>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (message, flags) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = NetlinkMessage::from(message);
            message.header.flags = NLM_F_REQUEST | flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[start..]);
        }
        let send = || rustix::net::send(&self.socket, &bytes, SendFlags::empty());
        rustix::io::retry_on_intr(send)?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.datagram.clear();
        let (kept, sent) = rustix::io::retry_on_intr(|| {
            // With TRUNC the kernel tells how long the datagram was.
            rustix::net::recv(&self.socket, spare_capacity(&mut self.datagram), RecvFlags::TRUNC)
        })?;
        if kept < sent { Err(Errno::MSGSIZE.into()) } else { Ok(()) }
    }
}

impl std::fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteSocket").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Splits off the first message of a datagram.
pub(crate) fn next_message(datagram: &[u8]) -> Option<(NetlinkBuffer<&[u8]>, &[u8])> {
    let message = NetlinkBuffer::new_checked(datagram).ok()?;
    let length = (message.length() as usize).next_multiple_of(4);
    Some((message, datagram.get(length..).unwrap_or_default()))
}

fn reply<'a>(message: &NetlinkBuffer<&'a [u8]>) -> Reply<'a> {
    match message.message_type() {
        // Both begin with an error number, or 0.
        NLMSG_ERROR | NLMSG_DONE => outcome(message),
        _ => Reply::Entry {
            payload: message.payload(),
            changed: message.flags() & NLM_F_DUMP_INTR != 0,
        },
    }
}

fn outcome<'a>(message: &NetlinkBuffer<&'a [u8]>) -> Reply<'a> {
    let payload = message.payload();
    let Some(code) = ErrorBuffer::new_checked(payload).ok().and_then(|error| error.code()) else {
        return Reply::Done;
    };
    let explained = message.flags() & NLM_F_ACK_TLVS != 0;
    let attributes = payload.get(4 + HEADER_BYTES..).filter(|_| explained);
    Reply::Refused(RequestError::Refused {
        errno: Errno::from_raw_os_error(code.get().saturating_neg()),
        message: attributes.and_then(explanation),
    })
}

fn explanation(attributes: &[u8]) -> Option<String> {
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    let text = attributes.find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)?;
    Some(String::from_utf8_lossy(text.value()).trim_end_matches(['\0', '.']).to_owned())
}
