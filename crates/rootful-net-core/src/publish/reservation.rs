//! The ports that the host's own programs are kept from, because a container publishes them.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};

use super::{Port, Protocol};

/// A socket address of the host that no program of the host can bind while it is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reservation {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address; unspecified for any of its family.
    pub address: IpAddr,
    /// Whether the unspecified IPv6 address stands for any IPv4 address as well.
    pub dual_stack: bool,
    /// The port.
    pub port: Port,
}

impl Display for Reservation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let address = SocketAddr::new(self.address, self.port.get());
        match self.dual_stack {
            true => write!(f, "*:{}/{}", self.port, self.protocol),
            false => write!(f, "{address}/{}", self.protocol),
        }
    }
}
