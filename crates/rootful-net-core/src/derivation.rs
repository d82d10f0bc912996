//! Owns how addresses, MAC addresses and free ports follow from the secret key and from who a container is.
//! The bytes are specified in docs/addressing.md and must never change; what is taken is known elsewhere.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac, SimpleHmac};
use ipnet::{IpNet, Ipv6Net};
use sha2::Sha512;
use sha3::Sha3_512;
use zeroize::Zeroize;

use crate::mac::MacAddress;
use crate::name::{ContainerName, NetworkName, quoted};
use crate::network::Subnet;
use crate::publish::{Port, Protocol};

mod candidates;

pub use candidates::{Candidates, MacCandidates, PortCandidates};

const ADDRESS_TAG: &str = "rootful-net/v1/address";
const MAC_TAG: &str = "rootful-net/v1/mac";
const PORT_TAG: &str = "rootful-net/v1/port";
const BRIDGE_TAG: &str = "rootful-net/v1/bridge";
const ULA_TAG: &str = "rootful-net/v1/unique-local-subnet";

/// The secret that addresses are derived from. It has no text form, and is wiped when dropped.
#[expect(missing_debug_implementations, reason = "a secret must not be printed")]
pub struct AddressKey([u8; Self::BYTES]);

/// A key has not 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address key has {bytes} bytes (accepted: exactly 32 random bytes)")]
pub struct AddressKeyError {
    bytes: usize,
}

impl AddressKey {
    /// The length of a key, in bytes.
    pub const BYTES: usize = 32;

    /// The key with these bytes. The caller's copy is the caller's to wipe.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    fn hmac_sha512(&self, tag: &str, fields: &[&[u8]]) -> [u8; 64] {
        let mut mac =
            Hmac::<Sha512>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for field in std::iter::once(&tag.as_bytes()).chain(fields) {
            let length = u32::try_from(field.len()).expect("fields are names of bounded length");
            mac.update(&length.to_be_bytes());
            mac.update(field);
        }
        mac.finalize().into_bytes().into()
    }

    fn hmac_sha3_512(&self, message: &[u8]) -> [u8; 64] {
        let mut mac =
            SimpleHmac::<Sha3_512>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

impl TryFrom<&[u8]> for AddressKey {
    type Error = AddressKeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, AddressKeyError> {
        bytes.try_into().map(Self).map_err(|_| AddressKeyError { bytes: bytes.len() })
    }
}

impl Drop for AddressKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The network that the container is attached to.
    pub network: &'a NetworkName,
    /// The uid of the user who owns the namespace, not of the caller.
    pub owner: u32,
    /// The container.
    pub container: &'a ContainerName,
}

/// How an address follows from the key and the subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Derivation {
    /// HMAC-SHA-512, with a start and a step.
    #[default]
    HmacSha512,
    /// The addresses of the tool of this name, for people who move over. Other users' containers of the
    /// same name get the same start: the tool does not tell users apart.
    PodmanRootfulNetwork,
}

impl Derivation {
    const ALL: [Self; 2] = [Self::HmacSha512, Self::PodmanRootfulNetwork];

    fn name(self) -> &'static str {
        match self {
            Self::HmacSha512 => "hmac-sha512",
            Self::PodmanRootfulNetwork => "podman-rootful-network",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|derivation| derivation.name() == name)
    }
}

impl fmt::Display for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text names no derivation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address derivation {found} is unknown (accepted: hmac-sha512, podman-rootful-network)")]
pub struct DerivationError {
    found: String,
}

impl FromStr for Derivation {
    type Err = DerivationError;

    fn from_str(text: &str) -> Result<Self, DerivationError> {
        Self::from_name(text).ok_or_else(|| DerivationError { found: quoted(text) })
    }
}

/// The addresses for the subject in the order in which they are to be tried: each that the subnet can lease,
/// once. Each step takes constant time.
#[must_use]
pub fn candidates(
    key: &AddressKey,
    subject: &Subject<'_>,
    subnet: &Subnet,
    derivation: Derivation,
) -> Candidates {
    let leasable = subnet.leasable();
    match derivation {
        Derivation::HmacSha512 => {
            let digest = key.hmac_sha512(
                ADDRESS_TAG,
                &[
                    subject.network.as_str().as_bytes(),
                    &subnet_bytes(subnet.subnet()),
                    &subject.owner.to_be_bytes(),
                    subject.container.as_str().as_bytes(),
                ],
            );
            let [start, step, ..] = quarters(&digest);
            Candidates::stepping(leasable, start, step)
        }
        Derivation::PodmanRootfulNetwork => {
            let digest = key.hmac_sha3_512(service_and_network(subject).as_bytes());
            let [.., low] = quarters(&digest);
            Candidates::sevens(leasable, low)
        }
    }
}

/// The subject's MAC address: unicast, locally administered.
#[must_use]
pub fn mac_address(key: &AddressKey, subject: &Subject<'_>) -> MacAddress {
    mac_candidates(key, subject).next().expect("2^46 addresses are not used up by one")
}

/// [`mac_address`], and then all other locally administered unicast addresses, for when it is taken.
#[must_use]
pub fn mac_candidates(key: &AddressKey, subject: &Subject<'_>) -> MacCandidates {
    let digest = key.hmac_sha512(
        MAC_TAG,
        &[
            subject.network.as_str().as_bytes(),
            &subject.owner.to_be_bytes(),
            subject.container.as_str().as_bytes(),
        ],
    );
    let [start, step, ..] = quarters(&digest);
    MacCandidates::new(start, step)
}

/// The MAC address of a network's bridge: unicast, locally administered.
#[must_use]
pub fn bridge_mac(key: &AddressKey, network: &NetworkName) -> MacAddress {
    let digest = key.hmac_sha512(BRIDGE_TAG, &[network.as_str().as_bytes()]);
    let [start, step, ..] = quarters(&digest);
    let mut candidates = MacCandidates::new(start, step);
    candidates.next().expect("2^46 addresses are not used up by one")
}

/// The host's own unique local subnet of RFC 4193: `fd`, 40 bits of the key's digest, subnet 0.
#[must_use]
pub fn unique_local_subnet(key: &AddressKey) -> Ipv6Net {
    let digest = key.hmac_sha512(ULA_TAG, &[]);
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&digest[..5]);
    Ipv6Net::new_assert(octets.into(), 64)
}

/// The IPv6 link-local address of an interface with this MAC address: the modified EUI-64 form of RFC 4291,
/// appendix A. It is unique on a bridge because the MAC address is, and it needs no key to be known.
#[must_use]
pub fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

/// The host port to try first where a publish gives none: 49152 to 65535, the dynamic ports of RFC 6335.
#[must_use]
pub fn port_start(
    key: &AddressKey,
    subject: &Subject<'_>,
    protocol: Protocol,
    container_port: Port,
) -> Port {
    let mut candidates = port_candidates(key, subject, protocol, container_port);
    candidates.next().expect("16384 ports are not used up by one")
}

/// [`port_start`], and then all other dynamic ports, each once.
#[must_use]
pub fn port_candidates(
    key: &AddressKey,
    subject: &Subject<'_>,
    protocol: Protocol,
    container_port: Port,
) -> PortCandidates {
    let digest = key.hmac_sha512(
        PORT_TAG,
        &[
            subject.network.as_str().as_bytes(),
            &subject.owner.to_be_bytes(),
            subject.container.as_str().as_bytes(),
            &[protocol.number()],
            &container_port.get().to_be_bytes(),
        ],
    );
    let [start, step, ..] = quarters(&digest);
    PortCandidates::new(start, step)
}

/// A digest as four big-endian numbers.
fn quarters(digest: &[u8; 64]) -> [u128; 4] {
    let (quarters, _) = digest.as_chunks::<16>();
    std::array::from_fn(|index| u128::from_be_bytes(quarters[index]))
}

/// The network address, then the prefix length: 5 bytes for IPv4, 17 for IPv6.
fn subnet_bytes(subnet: IpNet) -> Vec<u8> {
    let mut bytes = match subnet {
        IpNet::V4(net) => net.network().octets().to_vec(),
        IpNet::V6(net) => net.network().octets().to_vec(),
    };
    bytes.push(subnet.prefix_len());
    bytes
}

/// What podman-rootful-network authenticates. It cuts "container-" off the front and ".service" off the end
/// of both names taken together, so that the ".service" of a unit's name stays.
fn service_and_network(subject: &Subject<'_>) -> String {
    let both = format!("{}{}", subject.container, subject.network);
    let rest = both.strip_prefix("container-").unwrap_or(&both);
    rest.strip_suffix(".service").unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests;
