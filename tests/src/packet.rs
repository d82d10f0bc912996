//! Packet sockets: frames sent as they are, and frames seen as they come.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind};

/// `ETH_P_ALL`: frames of every type, before anything else sees them.
pub const EVERY_TYPE: u16 = 3;
/// `ETH_P_802_2`: frames that have a length in the place of a type.
pub const LENGTH: u16 = 4;

/// A packet socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens one on a link, for frames of every type: what comes in there, and a way out.
    ///
    /// # Errors
    /// Where there is no such link, or no right to.
    pub fn on(link: &str) -> anyhow::Result<Self> {
        Self::open(Some(link), EVERY_TYPE)
    }

    /// Opens one for frames of one type on all links, which sees what the host's protocols are given.
    ///
    /// # Errors
    /// Where there is no right to.
    pub fn of_type(ether_type: u16) -> anyhow::Result<Self> {
        Self::open(None, ether_type)
    }

    fn open(link: Option<&str>, ether_type: u16) -> anyhow::Result<Self> {
        // Without a protocol it sees nothing until it is bound.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
        let socket = rustix::net::socket_with(family, kind, flags, None::<Protocol>)
            .context("open a packet socket")?;
        let index = match link {
            Some(link) => name_to_index(&socket, link).with_context(|| link.to_owned())?,
            None => 0,
        };
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20)?;
        bind(&socket, &LinkLayerAddress { index, ether_type }).context("bind a packet socket")?;
        Ok(Self { socket })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Where the link does not take it.
    pub fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        let sent = rustix::net::send(&self.socket, frame, SendFlags::empty())?;
        anyhow::ensure!(sent == frame.len(), "{sent} of {} bytes sent", frame.len());
        Ok(())
    }

    /// The frames that have come since it was last asked.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn frames(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            match rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, length)) => frames.push(buffer[..length].to_vec()),
                Err(rustix::io::Errno::AGAIN) => return Ok(frames),
                Err(rustix::io::Errno::NETDOWN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Collects frames until one has these bytes in it, and returns them all.
    ///
    /// # Errors
    /// Where none comes in time.
    pub fn frames_until(&self, bytes: &[u8], deadline: Duration) -> anyhow::Result<Vec<Vec<u8>>> {
        let end = Instant::now() + deadline;
        let mut frames = Vec::new();
        loop {
            frames.extend(self.frames()?);
            if frames.iter().any(|frame| has(frame, bytes)) {
                return Ok(frames);
            }
            anyhow::ensure!(Instant::now() < end, "no such frame within {deadline:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether the frame has these bytes in it.
pub fn has(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}

/// What a packet socket is bound to, `sockaddr_ll` of packet(7).
struct LinkLayerAddress {
    /// 0 for all links.
    index: u32,
    ether_type: u16,
}

// SAFETY: the closure gets the 20 bytes of a `sockaddr_ll`, laid out as packet(7) has it.
#[expect(unsafe_code, reason = "rustix has no address of packet sockets")]
unsafe impl SocketAddrArg for LinkLayerAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        let mut address = [0_u32; 5];
        let [family_high, family_low] = AddressFamily::PACKET.as_raw().to_ne_bytes();
        let [type_high, type_low] = self.ether_type.to_be_bytes();
        address[0] = u32::from_ne_bytes([family_high, family_low, type_high, type_low]);
        address[1] = self.index;
        f(address.as_ptr().cast(), 20)
    }
}
