//! What a caller asks for, parsed. A request that exists is well formed; whether it is allowed is the
//! policy's business and whether it is possible the planner's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::mac::MacAddress;
use crate::name::{Alias, ContainerName, InterfaceName, NameError, NetworkName, quoted};
use crate::publish::{HostAddress, Port, Protocol, Publish, RequestedForward};

/// The most networks one container can be attached to.
pub const MAX_NETWORKS: usize = 8;
/// The most ports one request can publish, counting each port of a range and each protocol.
pub const MAX_FORWARDS: usize = 4096;
/// The most aliases on one network.
pub const MAX_ALIASES: usize = 32;

/// A container's id as podman gives it: 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RequestError::ContainerId { text: quoted(text).to_string() })
        }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = RequestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl Display for ContainerId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One network of a request, with what is asked of the interface on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRequest {
    /// The network.
    pub network: NetworkName,
    /// Addresses asked for, at most one of each family; others are derived.
    pub addresses: Vec<IpAddr>,
    /// The MAC address asked for.
    pub mac: Option<MacAddress>,
    /// The interface's name inside the container; `eth0`, `eth1`, … otherwise.
    pub interface_name: Option<InterfaceName>,
    /// Further names on this network.
    pub aliases: BTreeSet<Alias>,
}

impl NetworkRequest {
    /// Asks for nothing but the network.
    pub fn new(network: NetworkName) -> Self {
        Self {
            network,
            addresses: Vec::new(),
            mac: None,
            interface_name: None,
            aliases: BTreeSet::new(),
        }
    }
}

impl FromStr for NetworkRequest {
    type Err = NetworkRequestError;

    /// Parses podman's `NAME[:ip=…,mac=…,alias=…,interface_name=…]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let mut request = Self::new(name.parse()?);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            request.set(option)?;
        }
        Ok(request)
    }
}

impl Display for NetworkRequest {
    /// What it prints parses to the same request.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(|address| format!("ip={address}"));
        let mac = self.mac.iter().map(|mac| format!("mac={mac}"));
        let aliases = self.aliases.iter().map(|alias| format!("alias={alias}"));
        let interface = self.interface_name.iter().map(|name| format!("interface_name={name}"));
        let options: Vec<_> = addresses.chain(mac).chain(aliases).chain(interface).collect();
        write!(f, "{}", self.network)?;
        match options.is_empty() {
            true => Ok(()),
            false => write!(f, ":{}", options.join(",")),
        }
    }
}

impl NetworkRequest {
    fn set(&mut self, option: &str) -> Result<(), NetworkRequestError> {
        use NetworkRequestError as Error;
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let invalid =
            || Error::Value { key: quoted(key).to_string(), value: quoted(value).to_string() };
        let twice = || Error::Twice { key: quoted(key).to_string() };
        match key {
            "ip" | "ip6" => self.addresses.push(value.parse().map_err(|_| invalid())?),
            "mac" => {
                let mac = value.parse().map_err(|_| invalid())?;
                self.mac.replace(mac).map_or(Ok(()), |_| Err(twice()))?;
            }
            "alias" => {
                self.aliases.insert(value.parse()?);
            }
            "interface_name" => {
                let name = value.parse()?;
                self.interface_name.replace(name).map_or(Ok(()), |_| Err(twice()))?;
            }
            _ => return Err(Error::Unknown { key: quoted(key).to_string() }),
        }
        Ok(())
    }
}

/// Says what is wrong with the text of a network request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkRequestError {
    /// A name in it is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No such option.
    #[error(
        "network option {key} is not supported; accepted are ip, mac, alias and interface_name"
    )]
    Unknown {
        /// The option, quoted.
        key: String,
    },
    /// The value is not of the option's kind.
    #[error("network option {key} has the value {value}, which is not an address of that kind")]
    Value {
        /// The option, quoted.
        key: String,
        /// The value, quoted.
        value: String,
    },
    /// The option stands twice.
    #[error("network option {key} is given twice")]
    Twice {
        /// The option, quoted.
        key: String,
    },
}

/// What to do where the container is attached already, in another way than asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Answer with a conflict.
    #[default]
    Refuse,
    /// Put the new attachment in the place of the old.
    Replace,
}

/// A request to attach a container. Two equal requests give the same attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The container's name.
    pub name: ContainerName,
    /// The container's id, where there is one.
    pub container_id: Option<ContainerId>,
    /// The networks; the first has the default route and, unless it is internal, the published ports.
    pub networks: Vec<NetworkRequest>,
    /// The ports to publish, one entry a port and protocol.
    pub forwards: Vec<RequestedForward>,
    /// DNS servers instead of the networks' own.
    pub dns: Vec<IpAddr>,
}

/// Says what is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The container's id is not one.
    #[error("container id {text} is not 64 lower-case hexadecimal digits")]
    ContainerId {
        /// The text, quoted.
        text: String,
    },
    /// No network or too many.
    #[error("{count} networks asked for; accepted are 1 to {MAX_NETWORKS}")]
    NetworkCount {
        /// How many there were.
        count: usize,
    },
    /// A network stands twice in the request.
    #[error("network \"{network}\" is asked for twice; a container is attached to a network once")]
    NetworkTwice {
        /// The network.
        network: NetworkName,
    },
    /// An interface name stands twice in the request.
    #[error("interface name \"{interface}\" is asked for twice")]
    InterfaceTwice {
        /// The interface.
        interface: InterfaceName,
    },
    /// More than one address of a family on one network.
    #[error(
        "network \"{network}\": {address} is a second address of its family; one of each is accepted"
    )]
    AddressTwice {
        /// The network.
        network: NetworkName,
        /// The second address.
        address: IpAddr,
    },
    /// Too many aliases.
    #[error("{count} aliases asked for; accepted are up to {MAX_ALIASES}")]
    AliasCount {
        /// How many there were.
        count: usize,
    },
    /// Too many ports.
    #[error("{count} ports to publish; accepted are up to {MAX_FORWARDS}")]
    ForwardCount {
        /// How many there were.
        count: usize,
    },
    /// Two `publish` arguments claim one host port.
    #[error("port {port}/{protocol} on {host_address} is published twice in this request")]
    ForwardTwice {
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// The host address of the second of the two.
        host_address: HostAddress,
    },
}

impl AttachRequest {
    /// Puts a request together, with every limit checked.
    ///
    /// # Errors
    /// Every variant of [`RequestError`] but `ContainerId`.
    pub fn new(
        name: ContainerName,
        container_id: Option<ContainerId>,
        networks: Vec<NetworkRequest>,
        publish: &[Publish],
        dns: Vec<IpAddr>,
    ) -> Result<Self, RequestError> {
        check_networks(&networks)?;
        let count = publish.iter().map(|publish| publish.forwards().count()).sum();
        if count > MAX_FORWARDS {
            return Err(RequestError::ForwardCount { count });
        }
        let forwards: Vec<_> = publish.iter().flat_map(Publish::forwards).collect();
        check_forwards(&forwards)?;
        Ok(Self { name, container_id, networks, forwards, dns })
    }
}

fn check_networks(networks: &[NetworkRequest]) -> Result<(), RequestError> {
    let count = networks.len();
    if count == 0 || count > MAX_NETWORKS {
        return Err(RequestError::NetworkCount { count });
    }
    let mut names = BTreeSet::new();
    let mut interfaces = BTreeSet::new();
    for request in networks {
        let network = &request.network;
        if !names.insert(network) {
            return Err(RequestError::NetworkTwice { network: network.clone() });
        }
        if let Some(interface) = &request.interface_name
            && !interfaces.insert(interface)
        {
            return Err(RequestError::InterfaceTwice { interface: interface.clone() });
        }
        let mut families = BTreeSet::new();
        for &address in &request.addresses {
            if !families.insert(address.is_ipv4()) {
                return Err(RequestError::AddressTwice { network: network.clone(), address });
            }
        }
        if request.aliases.len() > MAX_ALIASES {
            return Err(RequestError::AliasCount { count: request.aliases.len() });
        }
    }
    Ok(())
}

fn check_forwards(forwards: &[RequestedForward]) -> Result<(), RequestError> {
    let mut seen: BTreeMap<(Protocol, Port), Vec<HostAddress>> = BTreeMap::new();
    for forward in forwards {
        let Some(port) = forward.host_port else { continue };
        let addresses = seen.entry((forward.protocol, port)).or_default();
        if addresses.iter().any(|&address| address.overlaps(forward.host_address)) {
            let RequestedForward { protocol, host_address, .. } = *forward;
            return Err(RequestError::ForwardTwice { port, protocol, host_address });
        }
        addresses.push(forward.host_address);
    }
    Ok(())
}
