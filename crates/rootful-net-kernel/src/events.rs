//! Tells at once of what others change in what rootful-net has set up. It listens and says where to look; what
//! is there must be looked up.

use std::collections::VecDeque;
use std::io;

use futures_util::{FutureExt as _, Stream, stream};
use netlink_packet_core::NetlinkBuffer;
use rootful_net_core::ruleset::TableName;
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use rustix::net::sockopt;

use crate::Kernel;
use crate::attribute::{Attribute, attributes};
use crate::error::KernelError;
use crate::fault::{self, Point};
use crate::observe::{OWN_PREFIX, decode_link, is_own};
use crate::route_socket::next_message;
use crate::rules::RulesError;
use crate::rules::listing::{NFTABLES, TABLE, family, parts};

/// Groups of linux/rtnetlink.h, as bits of the socket's address.
const LINKS: u32 = 1;
const IPV4_ADDRESSES: u32 = 1 << 4;
const IPV6_ADDRESSES: u32 = 1 << 8;
const IPV4_CONFIGURATION: u32 = 1 << 23;
const IPV6_CONFIGURATION: u32 = 1 << 24;
/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h, likewise.
const RULES: u32 = 1 << 6;

/// Types of messages in linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELADDR: u16 = 21;
const RTM_NEWNETCONF: u16 = 80;
/// `NFT_MSG_NEWGEN` of linux/netfilter/nf_tables.h, whose attributes name no table.
const NEW_GENERATION: u16 = 15;

/// `struct ifinfomsg` of links and ports, and the attribute with their name.
const LINK_HEADER_BYTES: usize = 16;
const LINK_NAME: u16 = 3;
/// `struct netconfmsg`, filled up, and `NETCONFA_…` of linux/netconf.h.
const CONFIGURATION_HEADER_BYTES: usize = 4;
const FORWARDING: u16 = 2;
const PROXY_NEIGHBOURS: u16 = 5;

/// Room for what a change of some ten thousand elements or links comes to while the daemon is busy. It takes
/// memory only while something waits in it.
const RECEIVE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// More than the kernel puts into a notification.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// How many datagrams are read, where there are so many, before what they said is told.
const BURST: usize = 64;
/// How many different events wait to be told before it is simpler to say that some were lost.
const MAX_PENDING: usize = 256;

/// Something that happened on the host. That it is told says that it is time to look; by then it may have
/// changed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A link is gone whose name begins with `rn`, or a bridge.
    LinkRemoved {
        /// Its name.
        name: String,
    },
    /// A link has come or changed whose name begins with `rn`, or a bridge.
    LinkChanged {
        /// Its name.
        name: String,
    },
    /// A link has lost an address, and is still there.
    AddressRemoved {
        /// The link's name.
        link: String,
    },
    /// The host forwards packets, or a link does, or does no longer.
    ForwardingChanged,
    /// Something in one of the two tables was changed, and not by the [`Kernel`] that tells it.
    RulesChanged,
    /// Events were lost: anything may have changed.
    Lost,
}

impl Kernel {
    /// What happens from now on in the network namespace of the current thread. What waits to be told is told
    /// once however often it happened. The stream ends when one of its sockets fails.
    ///
    /// # Errors
    /// Where there is no netlink socket to be had.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn events(
        &self,
    ) -> Result<impl Stream<Item = KernelEvent> + Send + 'static + use<>, KernelError> {
        let groups =
            LINKS | IPV4_ADDRESSES | IPV6_ADDRESSES | IPV4_CONFIGURATION | IPV6_CONFIGURATION;
        let events = Events {
            route: Subscription::open(NETLINK_ROUTE, groups)
                .map_err(|source| KernelError::OpenSocket { source })?,
            rules: Subscription::open(NETLINK_NETFILTER, RULES).map_err(RulesError::Open)?,
            own_port: self.rules.port()?,
            pending: Pending::default(),
        };
        Ok(stream::unfold(events, |mut events| async {
            let event = events.next().await?;
            Some((event, events))
        }))
    }
}

struct Events {
    route: Subscription,
    rules: Subscription,
    /// Where the changes of the [`Kernel`] come from.
    own_port: u32,
    pending: Pending,
}

impl Events {
    async fn next(&mut self) -> Option<KernelEvent> {
        loop {
            if let Some(event) = self.pending.0.pop_front() {
                return Some(event);
            }
            if let Err(error) = self.wait().await {
                tracing::warn!(%error, "kernel events end");
                return None;
            }
        }
    }

    /// Waits until there is something to read, and reads what there is, up to a limit.
    async fn wait(&mut self) -> io::Result<()> {
        tokio::select! {
            received = self.route.receive() => self.take_route(received?),
            received = self.rules.receive() => self.take_rules(received?),
        }
        for _ in 1..BURST {
            let Some(received) = self.route.receive().now_or_never() else { break };
            self.take_route(received?);
        }
        for _ in 1..BURST {
            let Some(received) = self.rules.receive().now_or_never() else { break };
            self.take_rules(received?);
        }
        Ok(())
    }

    fn take_route(&mut self, received: Received) {
        let socket = &self.route.socket;
        let name_of = |index| index_to_name(socket.socket_ref(), index).ok();
        self.pending.take(received, &self.route.datagram, |message| {
            route_event(message.message_type(), message.payload(), name_of)
        });
    }

    fn take_rules(&mut self, received: Received) {
        self.pending.take(received, &self.rules.datagram, |message| {
            let is_foreign = message.port_number() != self.own_port
                && is_about_own_table(message.message_type(), message.payload());
            is_foreign.then_some(KernelEvent::RulesChanged)
        });
    }
}

/// A socket that the kernel notifies.
struct Subscription {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

/// What came of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// A datagram of the kernel.
    Notification,
    /// A datagram of somebody else: anybody may send to a netlink socket.
    Stray,
    /// Some did not fit.
    Lost,
}

impl Subscription {
    fn open(protocol: isize, groups: u32) -> io::Result<Self> {
        let mut socket = TokioSocket::new(protocol)?;
        let inner = socket.socket_mut();
        // Beyond the system's limit where the daemon may; within it elsewhere.
        if sockopt::set_socket_recv_buffer_size_force(&*inner, RECEIVE_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&*inner, RECEIVE_BUFFER_BYTES)?;
        }
        inner.bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// Waits for a datagram and reads it. Dropped before it is done, it has read nothing.
    async fn receive(&mut self) -> io::Result<Received> {
        self.datagram.clear();
        match self.socket.recv_from(&mut self.datagram).await {
            Ok(sender) if sender.port_number() != 0 => Ok(Received::Stray),
            Ok(_) if fault::point(Point::Notification, "notification").is_err() => {
                Ok(Received::Lost)
            }
            // It may have been longer.
            Ok(_) if self.datagram.len() == self.datagram.capacity() => Ok(Received::Lost),
            Ok(_) => Ok(Received::Notification),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => Ok(Received::Lost),
            Err(error) => Err(error),
        }
    }
}

/// What waits to be told, each event once.
#[derive(Debug, Default)]
struct Pending(VecDeque<KernelEvent>);

impl Pending {
    fn take(
        &mut self,
        received: Received,
        datagram: &[u8],
        mut read: impl FnMut(&NetlinkBuffer<&[u8]>) -> Option<KernelEvent>,
    ) {
        match received {
            Received::Stray => {}
            Received::Lost => self.add(KernelEvent::Lost),
            Received::Notification => {
                let mut rest = datagram;
                while let Some((message, behind)) = next_message(rest) {
                    rest = behind;
                    if let Some(event) = read(&message) {
                        self.add(event);
                    }
                }
            }
        }
    }

    fn add(&mut self, event: KernelEvent) {
        if self.0.contains(&event) {
            return;
        }
        if self.0.len() < MAX_PENDING {
            self.0.push_back(event);
        } else {
            self.0.clear();
            self.0.push_back(KernelEvent::Lost);
        }
    }
}

/// Reads a message about a link, an address or a kernel parameter.
fn route_event(
    kind: u16,
    payload: &[u8],
    name_of: impl Fn(u32) -> Option<String>,
) -> Option<KernelEvent> {
    match kind {
        RTM_NEWLINK | RTM_DELLINK => match decode_link(payload) {
            Some(link) if is_own(&link) => Some(match kind {
                RTM_DELLINK => KernelEvent::LinkRemoved { name: link.name },
                _ => KernelEvent::LinkChanged { name: link.name },
            }),
            Some(_) => None,
            // What only leaves its bridge is still there.
            None => port_name(payload).map(|name| KernelEvent::LinkChanged { name }),
        },
        RTM_DELADDR => {
            // struct ifaddrmsg: four single bytes, then the index. That a link is gone altogether is told
            // otherwise.
            let index = payload.get(4..8)?.try_into().ok()?;
            name_of(u32::from_ne_bytes(index)).map(|link| KernelEvent::AddressRemoved { link })
        }
        RTM_NEWNETCONF => {
            let has = |kind| parts_behind(payload, CONFIGURATION_HEADER_BYTES, kind).is_some();
            // A link that has just come tells all its parameters.
            let is_change = has(FORWARDING) && !has(PROXY_NEIGHBOURS);
            is_change.then_some(KernelEvent::ForwardingChanged)
        }
        _ => None,
    }
}

/// The name in a message about a port, if it is one of ours.
fn port_name(payload: &[u8]) -> Option<String> {
    let name = parts_behind(payload, LINK_HEADER_BYTES, LINK_NAME)?.text();
    name.starts_with(OWN_PREFIX).then_some(name)
}

fn parts_behind(payload: &[u8], header_bytes: usize, kind: u16) -> Option<Attribute<'_>> {
    attributes(payload.get(header_bytes..)?).find(|attribute| attribute.kind == kind)
}

/// Whether a message of nftables is about one of the two tables or something in it.
fn is_about_own_table(kind: u16, payload: &[u8]) -> bool {
    if kind & 0xff00 != NFTABLES || kind == NFTABLES | NEW_GENERATION {
        return false;
    }
    let own = [TableName::INET, TableName::BRIDGE];
    let named = parts(payload).find(|part| part.kind == TABLE).map(Attribute::text);
    own.iter().any(|table| {
        payload.first() == Some(&family(table.family)) && named.as_deref() == Some(table.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(family: u8, name: &str) -> Vec<u8> {
        let mut header = [0; LINK_HEADER_BYTES];
        header[0] = family;
        [&header[..], &attribute(LINK_NAME, &[name.as_bytes(), &[0]].concat())].concat()
    }

    fn name_of(index: u32) -> Option<String> {
        (index == 7).then(|| "eth0".to_owned())
    }

    fn address(index: u32) -> Vec<u8> {
        [&[2, 24, 0, 0][..], &index.to_ne_bytes()].concat()
    }

    fn parameters(kinds: &[u16]) -> Vec<u8> {
        let attributes = kinds.iter().flat_map(|kind| attribute(*kind, &1_u32.to_ne_bytes()));
        [2, 0, 0, 0].into_iter().chain(attributes).collect()
    }

    fn rules(family: u8, table: &[u8]) -> Vec<u8> {
        [&[family, 0, 0, 0][..], &attribute(TABLE, table)].concat()
    }

    #[test]
    fn links_addresses_and_parameters_are_told_by_what_happened() {
        const BRIDGE: u8 = 7;
        let name = || "rn0".to_owned();
        let removed = Some(KernelEvent::LinkRemoved { name: name() });
        let changed = Some(KernelEvent::LinkChanged { name: name() });
        let lost = Some(KernelEvent::AddressRemoved { link: "eth0".to_owned() });
        let forwarding = Some(KernelEvent::ForwardingChanged);
        let cases = [
            (RTM_NEWLINK, link(0, "rn0"), changed.clone()),
            (RTM_DELLINK, link(0, "rn0"), removed),
            (RTM_NEWLINK, link(BRIDGE, "rn0"), changed.clone()),
            (RTM_DELLINK, link(BRIDGE, "rn0"), changed),
            (RTM_DELLINK, link(0, "eth0"), None),
            (RTM_DELLINK, link(BRIDGE, "eth0"), None),
            (RTM_DELADDR, address(7), lost),
            (RTM_DELADDR, address(8), None),
            (RTM_DELADDR - 1, address(7), None),
            (RTM_NEWNETCONF, parameters(&[1, FORWARDING]), forwarding),
            (RTM_NEWNETCONF, parameters(&[1, 3]), None),
            (RTM_NEWNETCONF, parameters(&[1, FORWARDING, PROXY_NEIGHBOURS]), None),
        ];
        for (kind, payload, expected) in cases {
            assert_eq!(route_event(kind, &payload, name_of), expected, "{kind} {payload:?}");
            for len in 0..payload.len() {
                for kind in [RTM_NEWLINK, RTM_DELLINK, RTM_DELADDR, RTM_NEWNETCONF] {
                    // That it does not panic is enough.
                    route_event(kind, &payload[..len], name_of);
                }
            }
        }
    }

    #[test]
    fn rules_are_ours_by_family_and_table() {
        let kind = NFTABLES | 6;
        let name = b"rootful_net\0";
        assert!(is_about_own_table(kind, &rules(1, name)));
        assert!(is_about_own_table(kind, &rules(7, name)));
        assert!(!is_about_own_table(kind, &rules(2, name)), "another family");
        assert!(!is_about_own_table(kind, &rules(1, b"rootful_net2\0")), "another table");
        assert!(!is_about_own_table(NFTABLES | NEW_GENERATION, &rules(1, name)), "no table");
        assert!(!is_about_own_table(6, &rules(1, name)), "another subsystem");
        for len in 0..rules(1, name).len() {
            assert!(!is_about_own_table(kind, &rules(1, name)[..len]));
        }
    }

    #[test]
    fn pending_events_are_told_once_and_too_many_as_lost() {
        let event = |number| KernelEvent::LinkRemoved { name: format!("rn{number}") };
        let mut pending = Pending::default();
        for number in (0..MAX_PENDING).chain(0..MAX_PENDING) {
            pending.add(event(number));
        }
        assert_eq!(pending.0.len(), MAX_PENDING);
        assert_eq!(pending.0.front(), Some(&event(0)));
        pending.add(KernelEvent::RulesChanged);
        assert_eq!(pending.0, [KernelEvent::Lost]);
        pending.add(event(1));
        assert_eq!(pending.0, [KernelEvent::Lost, event(1)]);
    }

    #[test]
    fn what_somebody_else_sends_is_not_read() {
        let mut pending = Pending::default();
        let told = |_: &NetlinkBuffer<&[u8]>| Some(KernelEvent::RulesChanged);
        let datagram: [u8; 16] = [16, 0, 0, 0, 6, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        pending.take(Received::Stray, &datagram, told);
        assert!(pending.0.is_empty());
        pending.take(Received::Notification, &datagram[..15], told);
        assert!(pending.0.is_empty());
        pending.take(Received::Notification, &datagram, told);
        pending.take(Received::Lost, &[], told);
        assert_eq!(pending.0, [KernelEvent::RulesChanged, KernelEvent::Lost]);
    }
}
