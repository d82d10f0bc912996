//! The ports that the host's own programs are kept from, because a container publishes them.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};

use super::{Port, Protocol};

/// A socket address of the host that no program of the host can bind while it is reserved. The host need not have the
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reservation {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address; unspecified for any of its family.
    pub address: IpAddr,
    /// Whether the unspecified IPv6 address stands for any IPv4 address as well; for these alone where the kernel has
    /// no IPv6.
    pub dual_stack: bool,
    /// The port.
    pub port: Port,
}

impl Reservation {
    /// Whether there is a port of an address that belongs to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        (self.protocol, self.port) == (other.protocol, other.port)
            && (self.takes_in(other) || other.takes_in(self))
    }

    fn takes_in(&self, other: &Self) -> bool {
        let same_family = self.address.is_ipv4() == other.address.is_ipv4();
        self.address == other.address
            || self.address.is_unspecified() && (same_family || self.dual_stack)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(text: &str) -> Reservation {
        let port = |port| Port::new(port).expect("not 0");
        match text.strip_prefix("*:") {
            Some(number) => Reservation {
                protocol: Protocol::Tcp,
                address: "::".parse().expect("an address"),
                dual_stack: true,
                port: port(number.parse().expect("a number")),
            },
            None => {
                let address: SocketAddr = text.parse().expect("a socket address");
                Reservation {
                    protocol: Protocol::Tcp,
                    address: address.ip(),
                    dual_stack: false,
                    port: port(address.port()),
                }
            }
        }
    }

    #[test]
    fn reservations_overlap_where_one_socket_is_in_the_way_of_the_other() {
        let cases = [
            ("*:80", "0.0.0.0:80", true),
            ("*:80", "[::]:80", true),
            ("*:80", "192.0.2.1:80", true),
            ("*:80", "[2001:db8::1]:80", true),
            ("*:80", "*:81", false),
            ("0.0.0.0:80", "[::]:80", false),
            ("0.0.0.0:80", "192.0.2.1:80", true),
            ("[::]:80", "192.0.2.1:80", false),
            ("[::]:80", "[2001:db8::1]:80", true),
            ("192.0.2.1:80", "192.0.2.1:80", true),
            ("192.0.2.1:80", "192.0.2.2:80", false),
        ];
        for (one, other, expected) in cases {
            let (one, other) = (reservation(one), reservation(other));
            assert_eq!(one.overlaps(&other), expected, "{one} {other}");
            assert_eq!(other.overlaps(&one), expected, "{other} {one}");
            let udp = Reservation { protocol: Protocol::Udp, ..other };
            assert!(!one.overlaps(&udp), "{one} {udp}");
        }
    }

    #[test]
    fn reservations_print_their_address() {
        let cases = [
            ("*:80", "*:80/tcp"),
            ("[::]:80", "[::]:80/tcp"),
            ("192.0.2.1:80", "192.0.2.1:80/tcp"),
        ];
        for (text, expected) in cases {
            assert_eq!(reservation(text).to_string(), expected);
        }
    }
}
