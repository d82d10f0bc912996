//! Tells of links of ours that disappear, as when a container's namespace ends. It only listens.

use std::collections::VecDeque;

use futures_util::Stream;
use futures_util::stream;
use rtnetlink::sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use rustix::io::Errno;

use crate::error::KernelError;
use crate::observe::decode_link;
use crate::route_socket::next_message;

/// `RTMGRP_LINK` of linux/rtnetlink.h, as a bit of the socket's address.
const LINK_GROUP: u32 = 1;
const RTM_DELLINK: u16 = 17;
/// Room for some thousand notifications while the daemon is busy.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Something that happened to links of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The link is gone from the host.
    Removed {
        /// Its name.
        name: String,
    },
    /// Events were lost: look again at which links there are.
    Lost,
}

/// The removals, from now on, of links whose name begins with `rn`, in the network namespace of the current
/// thread. The stream ends when its socket fails.
///
/// # Errors
/// Where there is no netlink socket to be had.
///
/// # Panics
/// Outside a tokio runtime with I/O.
pub fn link_removals() -> Result<impl Stream<Item = LinkEvent> + Send + 'static, KernelError> {
    let open = || {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let socket_ref = socket.socket_mut();
        // Beyond the system's limit where the daemon may; within it elsewhere.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(
            &*socket_ref,
            RECEIVE_BUFFER_BYTES,
        )
        .is_err()
        {
            rustix::net::sockopt::set_socket_recv_buffer_size(&*socket_ref, RECEIVE_BUFFER_BYTES)?;
        }
        socket_ref.bind(&SocketAddr::new(0, LINK_GROUP))?;
        Ok(socket)
    };
    let socket = open().map_err(|source| KernelError::OpenSocket { source })?;
    let removals = Removals { socket, pending: VecDeque::new() };
    Ok(stream::unfold(removals, |mut removals| async {
        let event = removals.next().await?;
        Some((event, removals))
    }))
}

struct Removals {
    socket: TokioSocket,
    pending: VecDeque<LinkEvent>,
}

impl Removals {
    async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            match self.socket.recv_from_full().await {
                // Anybody may send to a netlink socket; the kernel is port 0.
                Ok((datagram, sender)) if sender.port_number() == 0 => self.read(&datagram),
                Ok(_) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                    return Some(LinkEvent::Lost);
                }
                Err(error) => {
                    tracing::warn!(%error, "link events end");
                    return None;
                }
            }
        }
    }

    fn read(&mut self, datagram: &[u8]) {
        let mut rest = datagram;
        while let Some((message, behind)) = next_message(rest) {
            rest = behind;
            if message.message_type() != RTM_DELLINK {
                continue;
            }
            if let Some(link) = decode_link(message.payload())
                && link.name.starts_with("rn")
            {
                self.pending.push_back(LinkEvent::Removed { name: link.name });
            }
        }
    }
}
