//! Owns what can be wrong with a `--publish` argument.

use super::{Port, Protocol};

const GRAMMAR: &str = "[[ip:][hostPort[-end]]:]containerPort[-end][/protocol[,protocol…]]";

/// A text is no `--publish` argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The text does not have the parts of a `--publish` argument.
    #[error("publish {argument} is malformed (accepted: {GRAMMAR}, an IPv6 address in brackets)")]
    Malformed {
        /// The argument, quoted.
        argument: String,
    },
    /// The container's port is missing.
    #[error("publish {argument} has no container port (accepted: {GRAMMAR})")]
    NoContainerPort {
        /// The argument, quoted.
        argument: String,
    },
    /// A host address stands where the host port belongs.
    #[error(
        "publish {argument} gives a host address and one port (accepted: \
         ADDRESS:HOSTPORT:CONTAINERPORT, or ADDRESS::CONTAINERPORT to have a free host port chosen)"
    )]
    AddressWithoutHostPort {
        /// The argument, quoted.
        argument: String,
    },
    /// A port is not a number from 1 to 65535.
    #[error("{found} is not a port (accepted: a whole number from 1 to 65535)")]
    Port {
        /// What was given, quoted.
        found: String,
    },
    /// A range has not exactly two ends.
    #[error("{found} is not a range of ports (accepted: FIRST-LAST, as in \"8000-8010\")")]
    Range {
        /// What was given, quoted.
        found: String,
    },
    /// The end of a range is not above its start.
    #[error(
        "the range of ports \"{first}-{last}\" does not ascend (accepted: an end above the start; \
         for a single port write \"{first}\")"
    )]
    NotAscending {
        /// The start as given.
        first: Port,
        /// The end as given.
        last: Port,
    },
    /// The host's range and the container's have different lengths.
    #[error(
        "the host ports \"{host}\" and the container ports \"{container}\" differ in number \
         (accepted: ranges of equal length, or no host port to have free ones chosen)"
    )]
    UnequalRanges {
        /// The host's range in canonical form.
        host: String,
        /// The container's range in canonical form.
        container: String,
    },
    /// The protocol is not one that can be forwarded.
    #[error("{found} is not a protocol (accepted: tcp, udp, sctp)")]
    Protocol {
        /// What was given, quoted.
        found: String,
    },
    /// A protocol is listed twice.
    #[error("protocol {protocol} is listed more than once in publish {argument}")]
    DuplicateProtocol {
        /// The protocol.
        protocol: Protocol,
        /// The argument, quoted.
        argument: String,
    },
    /// The host address is not an IP address.
    #[error(
        "{found} is not a host address (accepted: an IPv4 address, an IPv6 address in brackets \
         without a zone, \"0.0.0.0\" for all of IPv4, \"[::]\" for all of IPv6, or none for both)"
    )]
    Address {
        /// What was given, quoted.
        found: String,
    },
    /// The host address is one that no host can have.
    #[error("host address {found} is {what} (accepted: an address of this host)")]
    UnusableAddress {
        /// The address, quoted.
        found: String,
        /// What kind of address it is.
        what: &'static str,
    },
}
