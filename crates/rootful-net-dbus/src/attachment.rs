//! The properties of `io.rootful_net1.Attachment`.

use serde::{Deserialize, Serialize};
use zbus::{OwnedVariant, Type, Variant};

use rootful_net_core::attachment::{Attachment, Forward, Interface};
use rootful_net_core::publish::HostAddress;

use crate::error::Result;
use crate::options::{Dictionary, property};

/// One interface of an attachment, an element of the property `Interfaces`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type, Variant, OwnedVariant,
)]
pub struct InterfaceProperties {
    /// The network.
    pub network: String,
    /// The interface's name inside the container.
    pub name: String,
    /// The host's end of the veth pair.
    pub host_link: String,
    /// The MAC address of the container's interface.
    pub mac: String,
    /// Its addresses with prefix lengths, without the link-local one.
    pub addresses: Vec<String>,
    /// Further names on this network, as they were asked for.
    pub aliases: Vec<String>,
    /// The names that are served on this network; not the container's own where another user has it.
    pub names: Vec<String>,
}

/// One published port, an element of the property `Ports`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type, Variant, OwnedVariant,
)]
pub struct PortProperties {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address; empty for any, `0.0.0.0` for any of IPv4, `::` for any of IPv6.
    pub host_address: String,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
}

/// All properties of an attachment; also the form in which the client prints one as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentProperties {
    /// The id, 10 hexadecimal digits.
    pub id: String,
    /// The uid that owns the container's namespace.
    pub owner: u32,
    /// The container's name.
    pub name: String,
    /// The container's id; empty where the client did not say it.
    pub container_id: String,
    /// The interfaces, in the order in which they were asked for.
    pub interfaces: Vec<InterfaceProperties>,
    /// The published ports.
    pub ports: Vec<PortProperties>,
    /// DNS servers instead of the networks' own.
    pub dns: Vec<String>,
}

impl AttachmentProperties {
    /// Reads what `GetAll` answered for an attachment.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) where the service did not answer as the contract says.
    pub fn from_dictionary(mut properties: Dictionary) -> Result<Self> {
        Ok(Self {
            id: property(&mut properties, "Id")?,
            owner: property(&mut properties, "Owner")?,
            name: property(&mut properties, "Name")?,
            container_id: property(&mut properties, "ContainerId")?,
            interfaces: property(&mut properties, "Interfaces")?,
            ports: property(&mut properties, "Ports")?,
            dns: property(&mut properties, "Dns")?,
        })
    }
}

impl From<&Attachment> for AttachmentProperties {
    fn from(attachment: &Attachment) -> Self {
        Self {
            id: attachment.id().to_string(),
            owner: attachment.owner(),
            name: attachment.name().to_string(),
            container_id: attachment.container_id().map(ToString::to_string).unwrap_or_default(),
            interfaces: attachment.interfaces().iter().map(InterfaceProperties::from).collect(),
            ports: attachment.forwards().iter().map(PortProperties::from).collect(),
            dns: attachment.request().dns.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&Interface> for InterfaceProperties {
    fn from(interface: &Interface) -> Self {
        Self {
            network: interface.network.to_string(),
            name: interface.setup.name.to_string(),
            host_link: interface.veth.host_link.to_string(),
            mac: interface.mac().to_string(),
            addresses: interface.setup.addresses.iter().map(ToString::to_string).collect(),
            aliases: interface.aliases.iter().map(ToString::to_string).collect(),
            names: interface.names.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&Forward> for PortProperties {
    fn from(forward: &Forward) -> Self {
        let host_address = match forward.host_address {
            HostAddress::Any => String::new(),
            HostAddress::AnyIpv4 => "0.0.0.0".to_owned(),
            HostAddress::AnyIpv6 => "::".to_owned(),
            HostAddress::Ipv4(address) => address.to_string(),
            HostAddress::Ipv6(address) => address.to_string(),
        };
        Self {
            protocol: forward.protocol.to_string(),
            host_address,
            host_port: forward.host_port.get(),
            container_port: forward.container_port.get(),
        }
    }
}
