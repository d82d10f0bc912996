//! Owns what can be wrong with the definition of a network and of its subnets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{IPV6_MIN_MTU, LeaseRange, MAX_JSON_BYTES, MAX_SUBNETS};
use crate::name::NameError;

/// The definition of a network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The text is longer than any definition.
    #[error("the network definition has {bytes} bytes (accepted: up to {MAX_JSON_BYTES})")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The text is not JSON, or a field has the wrong type.
    #[error("the network definition is not JSON of the form that podman writes")]
    Json(#[source] serde_json::Error),
    /// It can be read, but not used.
    #[error("network {network}: {problem}")]
    Unusable {
        /// The network's name, quoted.
        network: String,
        /// What is wrong.
        problem: NetworkProblem,
    },
}

/// What is wrong with a network that could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkProblem {
    /// Its name or its interface's name is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A subnet is unusable.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// A field is unknown.
    #[error("field {field}{} is not supported (accepted: {})", of(owner), accepted.join(", "))]
    UnknownField {
        /// The field, quoted.
        field: String,
        /// What has the field, where it is not the network.
        owner: Option<&'static str>,
        /// The fields that are known.
        accepted: &'static [&'static str],
    },
    /// An option is unknown.
    #[error("option {option} is not supported (accepted: {accepted})")]
    UnknownOption {
        /// The option, quoted.
        option: String,
        /// The options that are known.
        accepted: String,
    },
    /// An option has no such value.
    #[error("option \"{option}\" is {found} (accepted: {accepted})")]
    OptionValue {
        /// The option.
        option: &'static str,
        /// The value, quoted.
        found: String,
        /// The values that it can have.
        accepted: &'static str,
    },
    /// The driver is not this one.
    #[error("driver {found} is not supported (accepted: bridge)")]
    Driver {
        /// The driver, quoted.
        found: String,
    },
    /// The addresses are managed in another way.
    #[error("ipam_options driver {found} is not supported (accepted: host-local)")]
    IpamDriver {
        /// The driver, quoted.
        found: String,
    },
    /// The id is not one of podman's.
    #[error("id {found} is not an id (accepted: 64 hexadecimal digits, or none)")]
    Id {
        /// The id, quoted.
        found: String,
    },
    /// The time of creation is not even a short text.
    #[error("created {found} is not a time (accepted: up to 64 printable characters)")]
    Created {
        /// The time, quoted.
        found: String,
    },
    /// There is no bridge.
    #[error("it has no network_interface: name its bridge, as in \"network_interface\": \"lab0\"")]
    NoInterface,
    /// There is no subnet.
    #[error("it has no subnet (accepted: 1 to {MAX_SUBNETS})")]
    NoSubnet,
    /// There are too many subnets.
    #[error("it has {count} subnets (accepted: 1 to {MAX_SUBNETS})")]
    TooManySubnets {
        /// How many.
        count: usize,
    },
    /// Two subnets share addresses.
    #[error("subnets \"{one}\" and \"{other}\" overlap")]
    Overlap {
        /// The earlier one.
        one: IpNet,
        /// The later one.
        other: IpNet,
    },
    /// An IPv6 subnet in a network without IPv6.
    #[error("subnet \"{subnet}\" needs \"ipv6_enabled\": true")]
    Ipv6NotEnabled {
        /// The first IPv6 subnet.
        subnet: IpNet,
    },
    /// IPv6 without a subnet for it.
    #[error("ipv6_enabled is true, but no subnet is an IPv6 one (add one, or set it to false)")]
    NoIpv6Subnet,
    /// The MTU is too small for IPv6.
    #[error("option \"mtu\" is {mtu}, but IPv6 subnet \"{subnet}\" needs at least {IPV6_MIN_MTU}")]
    Ipv6Mtu {
        /// The MTU, in bytes.
        mtu: u16,
        /// The first IPv6 subnet.
        subnet: IpNet,
    },
}

/// A subnet cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// The text is no prefix.
    #[error(
        "subnet {found} is malformed (accepted: ADDRESS/LENGTH without leading zeros, as in \"10.89.0.0/24\")"
    )]
    Malformed {
        /// The text, quoted.
        found: String,
    },
    /// There are bits behind the prefix.
    #[error("subnet \"{subnet}\" has host bits set (write \"{}\")", subnet.trunc())]
    HostBits {
        /// The subnet as given.
        subnet: IpNet,
    },
    /// The prefix is too short or too long.
    #[error("subnet \"{subnet}\" has an unsupported size (accepted: {accepted})")]
    Size {
        /// The subnet as given.
        subnet: IpNet,
        /// The sizes for its family.
        accepted: &'static str,
    },
    /// Some of its addresses have a meaning of their own.
    #[error("subnet \"{subnet}\" contains {what} addresses (accepted: unicast addresses)")]
    Special {
        /// The subnet as given.
        subnet: IpNet,
        /// Which addresses.
        what: &'static str,
    },
    /// The gateway, or an end of the lease range, is no IP address.
    #[error("{role} {found} of subnet \"{subnet}\" is not an IP address")]
    Address {
        /// What the address is for.
        role: &'static str,
        /// The text, quoted.
        found: String,
        /// The subnet.
        subnet: IpNet,
    },
    /// The gateway, or an end of the lease range, is somewhere else.
    #[error("{role} \"{address}\" is not in subnet \"{subnet}\"")]
    Outside {
        /// What the address is for.
        role: &'static str,
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// The gateway is an address that no host can have.
    #[error(
        "gateway \"{gateway}\" is the {what} address of subnet \"{subnet}\" (accepted: any other)"
    )]
    Gateway {
        /// The gateway.
        gateway: IpAddr,
        /// What the address means.
        what: &'static str,
        /// The subnet.
        subnet: IpNet,
    },
    /// The text is no range of addresses.
    #[error(
        "range {found} is malformed (accepted: START-END or ADDRESS/LENGTH, as in \"10.89.0.100-10.89.0.199\")"
    )]
    Range {
        /// The text, quoted.
        found: String,
    },
    /// The lease range starts above its end.
    #[error(
        "lease_range \"{range}\" of subnet \"{subnet}\" does not ascend (accepted: start_ip up to end_ip)"
    )]
    NotAscending {
        /// The range.
        range: LeaseRange,
        /// The subnet.
        subnet: IpNet,
    },
    /// The lease range leaves nothing to lease.
    #[error(
        "lease_range \"{range}\" of subnet \"{subnet}\" has no address for a container: \
         the gateway, network and broadcast address are never leased"
    )]
    NothingToLease {
        /// The range.
        range: LeaseRange,
        /// The subnet.
        subnet: IpNet,
    },
}

fn of(owner: &Option<&'static str>) -> String {
    owner.map_or_else(String::new, |owner| format!(" of {owner}"))
}
