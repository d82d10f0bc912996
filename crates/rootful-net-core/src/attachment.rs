//! An attachment: a container's namespace plugged into one or more networks, with its published ports. It
//! owns what is recorded and shown; how one comes about is the planner's business.

mod reservation;

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ledger::AddressOrigin;
use crate::link::{InterfaceSetup, Veth};
use crate::mac::MacAddress;
use crate::name::{Alias, ContainerName, InterfaceName, NetworkName};
use crate::publish::{HostAddress, Port, Protocol};
use crate::request::{AttachRequest, ContainerId};

/// Identifies an attachment on this host: 10 hexadecimal digits derived from its owner and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttachmentId(String);

impl AttachmentId {
    /// Derives the id of the attachment `name` of `owner`. Where another attachment has it already (once in
    /// 2⁴⁰ times, unless somebody searched for it) the next `attempt` gives another.
    pub fn derive(owner: u32, name: &ContainerName, attempt: u32) -> Self {
        Self(short_hash("attachment", owner, name.as_str(), attempt))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for AttachmentId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says that a text is not an attachment's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an attachment id is 10 hexadecimal digits")]
pub struct InvalidAttachmentId;

impl FromStr for AttachmentId {
    type Err = InvalidAttachmentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 10 && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAttachmentId)
        }
    }
}

impl TryFrom<String> for AttachmentId {
    type Error = InvalidAttachmentId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AttachmentId> for String {
    fn from(id: AttachmentId) -> Self {
        id.0
    }
}

/// Derives the name of the host end of a veth pair: `rn` and 10 hexadecimal digits.
pub(crate) fn host_link_name(
    id: &AttachmentId,
    network: &NetworkName,
    attempt: u32,
) -> InterfaceName {
    let text = format!("{id} {network}");
    let name = format!("rn{}", short_hash("host link", 0, &text, attempt));
    name.parse().expect("rn and 10 hexadecimal digits are an interface name")
}

fn short_hash(purpose: &str, owner: u32, text: &str, attempt: u32) -> String {
    let message = format!("rootful-net {purpose} {owner} {attempt} {text}");
    Sha256::digest(message.as_bytes()).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

impl Display for Holder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" of user {}", self.name, self.owner)
    }
}

/// Identifies a network namespace while it exists: the device and inode number of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespaceId {
    /// The device number of the nsfs file system.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
}

/// Whose container it is and what it is called: who holds addresses, ports and names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The uid that owns the namespace.
    pub owner: u32,
    /// The container's name.
    pub name: ContainerName,
}

/// One interface of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The network.
    pub network: NetworkName,
    /// The veth pair.
    pub veth: Veth,
    /// What the container's end carries.
    pub setup: InterfaceSetup,
    /// How many connections each of its addresses may have; `None` for any number.
    #[serde(default)]
    pub connection_limit: Option<u32>,
    /// Further names on this network, as they were asked for.
    pub aliases: BTreeSet<Alias>,
    /// The names that are served on this network: the aliases, and of the container's own name and short id
    /// those that no other user had when it was attached.
    #[serde(default)]
    pub names: BTreeSet<Alias>,
}

impl Interface {
    /// The addresses without prefix lengths.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.setup.addresses.iter().map(IpNet::addr)
    }

    /// Whether both are the same in the kernel, whatever they are called.
    pub fn is_same_link(&self, other: &Self) -> bool {
        (&self.network, &self.veth, &self.setup) == (&other.network, &other.veth, &other.setup)
    }

    /// The MAC address of the container's interface.
    pub fn mac(&self) -> MacAddress {
        self.veth.container_mac
    }
}

/// A port of the host that leads to a port of the container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's addresses that it is published on.
    pub host_address: HostAddress,
    /// The host's port.
    pub host_port: Port,
    /// The container's port.
    pub container_port: Port,
    /// The container's IPv4 address, where it is published for IPv4.
    pub ipv4_target: Option<Ipv4Addr>,
    /// The container's IPv6 address, where it is published for IPv6.
    pub ipv6_target: Option<Ipv6Addr>,
}

impl Forward {
    /// The container's addresses that the port leads to, at most one of each family.
    pub fn targets(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let ipv4 = self.ipv4_target.map(IpAddr::V4);
        ipv4.into_iter().chain(self.ipv6_target.map(IpAddr::V6))
    }
}

impl Display for Forward {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { protocol, host_address, host_port, container_port, .. } = self;
        if *host_address != HostAddress::Any {
            write!(f, "{host_address}:")?;
        }
        write!(f, "{host_port}->{container_port}/{protocol}")
    }
}

/// A container's namespace on its networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub(crate) id: AttachmentId,
    pub(crate) owner: u32,
    pub(crate) namespace: NamespaceId,
    pub(crate) request: AttachRequest,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) forwards: Vec<Forward>,
}

impl Attachment {
    /// The id, unique on this host.
    pub fn id(&self) -> &AttachmentId {
        &self.id
    }

    /// The uid that owns the container's namespace.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// The container's name.
    pub fn name(&self) -> &ContainerName {
        &self.request.name
    }

    /// The container's id, where the client said it.
    pub fn container_id(&self) -> Option<&ContainerId> {
        self.request.container_id.as_ref()
    }

    /// Owner and name together.
    pub fn holder(&self) -> Holder {
        Holder { owner: self.owner, name: self.request.name.clone() }
    }

    /// The namespace that was attached.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// What was asked for.
    pub fn request(&self) -> &AttachRequest {
        &self.request
    }

    /// Whether the request names the address or it was derived.
    pub fn origin(&self, network: &NetworkName, address: IpAddr) -> AddressOrigin {
        let asked = self.request.networks.iter().find(|asked| asked.network == *network);
        match asked {
            Some(asked) if asked.addresses.contains(&address) => AddressOrigin::Requested,
            Some(_) | None => AddressOrigin::Derived,
        }
    }

    /// The interfaces, in the order in which they were asked for.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The published ports.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }
}
