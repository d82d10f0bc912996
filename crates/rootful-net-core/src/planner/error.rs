//! Why a request cannot be carried out.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::mac::MacAddress;
use crate::name::{Alias, ContainerName, InterfaceName, NetworkName};
use crate::publish::{HostAddress, Port, Protocol};

/// Says why a request that is allowed cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No network of that name.
    #[error("network \"{network}\" does not exist; see 'rootful-net network ls'")]
    UnknownNetwork {
        /// The name.
        network: NetworkName,
    },
    /// The namespace has an interface of somebody else's.
    #[error(
        "the container has another network: interface {link} is there already; create the container with --network=none"
    )]
    NamespaceInUse {
        /// The interface.
        link: String,
    },
    /// The namespace is attached under another name.
    #[error("the container is attached already, by the name \"{name}\"")]
    AttachedAs {
        /// The name.
        name: ContainerName,
    },
    /// The container is attached in another way.
    #[error(
        "container \"{name}\" is attached already, in another way; use --replace to replace it"
    )]
    AttachedDifferently {
        /// The container.
        name: ContainerName,
    },
    /// The name is in use for another container of the same user.
    #[error(
        "the name \"{name}\" belongs to another container of this user, which is still attached; use --replace to replace it"
    )]
    NameInUse {
        /// The name.
        name: ContainerName,
    },
    /// The address is not one that a container can have on the network.
    #[error(
        "address {address} cannot be given to a container on network \"{network}\": accepted is an address in {subnets}, but not the network, broadcast or gateway address"
    )]
    AddressUnusable {
        /// The address.
        address: IpAddr,
        /// The network.
        network: NetworkName,
        /// Its subnets.
        subnets: String,
    },
    /// The container has IPv6 switched off, and there is nothing else for it.
    #[error(
        "IPv6 is switched off in the container, so it can have no IPv6 address on network \"{network}\"; run it without --sysctl net.ipv6.conf.all.disable_ipv6=1 or default.disable_ipv6=1, or use an IPv4 address or network"
    )]
    Ipv6SwitchedOff {
        /// The network.
        network: NetworkName,
    },
    /// Somebody has the address.
    #[error("address {address} on network \"{network}\" {}", taken_by(holder))]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The network.
        network: NetworkName,
        /// Who has it, if it is the same user's.
        holder: Option<ContainerName>,
    },
    /// Somebody has the MAC address.
    #[error("MAC address {mac} on network \"{network}\" {}", taken_by(holder))]
    MacTaken {
        /// The MAC address.
        mac: MacAddress,
        /// The network.
        network: NetworkName,
        /// Who has it, if it is the same user's.
        holder: Option<ContainerName>,
    },
    /// Containers of another user have the name.
    #[error(
        "alias \"{alias}\" on network \"{network}\" belongs to a container of another user; choose another"
    )]
    AliasTaken {
        /// The alias.
        alias: Alias,
        /// The network.
        network: NetworkName,
    },
    /// The alias could stand for a name of the Internet.
    #[error(
        "alias \"{alias}\" on network \"{network}\" has a dot: on a network that users share it could stand for a name of the Internet; accepted is one label of up to 63 letters, digits, '_' and '-'"
    )]
    AliasDotted {
        /// The alias.
        alias: Alias,
        /// The network.
        network: NetworkName,
    },
    /// Every address is taken.
    #[error("every address of {subnet} on network \"{network}\" is taken")]
    AddressExhausted {
        /// The subnet.
        subnet: IpNet,
        /// The network.
        network: NetworkName,
    },
    /// The interface name is taken inside the container.
    #[error("the container has an interface {interface} already; choose another interface_name")]
    InterfaceTaken {
        /// The interface.
        interface: InterfaceName,
    },
    /// The port is the one at which containers ask for names.
    #[error(
        "port {port}/{protocol} on {gateway} is where containers of network \"{network}\" ask for names; publish it on another address"
    )]
    NamePort {
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// The address.
        gateway: IpAddr,
        /// The network.
        network: NetworkName,
    },
    /// Another attachment publishes the port.
    #[error("port {port}/{protocol} {}; see 'rootful-net ps --all'", published_by(holder))]
    PortTaken {
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// Whose it is, if it is the same user's.
        holder: Option<ContainerName>,
    },
    /// A program of the host listens on the port.
    #[error(
        "port {port}/{protocol} is in use by a program of the host, of user {uid}; choose another port or stop it"
    )]
    PortListening {
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// The program's uid.
        uid: u32,
    },
    /// No port is free that the caller may publish.
    #[error(
        "no port between 49152 and 65535 is free and granted to publish {port}/{protocol}; name a host port"
    )]
    NoFreePort {
        /// The container's port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
    },
    /// None of the networks can publish the port.
    #[error(
        "port {port}/{protocol} cannot be published on {host_address}: none of the container's networks has an address of that family and is not internal"
    )]
    NothingToPublishTo {
        /// The container's port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// Where it was to be published.
        host_address: HostAddress,
    },
    /// A link has the bridge's name.
    #[error(
        "network \"{network}\" needs a bridge {link}, but there is a link of that name which rootful-net did not make; rename or remove it"
    )]
    BridgeTaken {
        /// The network.
        network: NetworkName,
        /// The link.
        link: InterfaceName,
    },
    /// The host routes a subnet elsewhere.
    #[error(
        "subnet {subnet} of network \"{network}\" overlaps with the host's route to {route} by {link}; choose another subnet in /etc/rootful-net/networks"
    )]
    SubnetRouted {
        /// The subnet.
        subnet: IpNet,
        /// The network.
        network: NetworkName,
        /// The route's destination.
        route: IpNet,
        /// The link it leads to.
        link: String,
    },
}

fn taken_by(holder: &Option<ContainerName>) -> String {
    match holder {
        Some(name) => format!("belongs to container \"{name}\""),
        None => "belongs to a container of another user".to_owned(),
    }
}

fn published_by(holder: &Option<ContainerName>) -> String {
    match holder {
        Some(name) => format!("is already published by container \"{name}\""),
        None => "is already published by a container of another user".to_owned(),
    }
}
