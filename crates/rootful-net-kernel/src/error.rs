//! What can go wrong between a step and the kernel, with the object it went wrong with.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use rootful_net_core::name::InterfaceName;
use rootful_net_core::observed::Sysctl;
use rootful_net_core::publish::Reservation;
use rustix::io::Errno;

use crate::rules::RulesError;

/// A failed observation or step.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There is no netlink socket to be had.
    #[error("cannot open a route netlink socket")]
    OpenSocket {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The netlink socket does not work.
    #[error("cannot exchange messages with the kernel")]
    Exchange {
        /// What went wrong on the socket.
        #[source]
        source: io::Error,
    },
    /// A list of links, addresses or routes could not be had.
    #[error("cannot list the {what}")]
    List {
        /// What was to be listed.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: RequestError,
    },
    /// A link of that name exists already.
    #[error("a link named {link} exists already and is not replaced; see 'ip link show {link}'")]
    LinkExists {
        /// The name.
        link: InterfaceName,
    },
    /// The container has an interface of that name already.
    #[error(
        "the container has an interface named {link} already; \
         choose another name with interface_name="
    )]
    InterfaceExists {
        /// The name.
        link: InterfaceName,
    },
    /// A link that is needed is not there.
    #[error("there is no link named {link}")]
    NoLink {
        /// The name.
        link: InterfaceName,
    },
    /// A link could not be made, changed or removed.
    #[error("cannot {action} link {link}")]
    Link {
        /// What was to be done to it.
        action: LinkAction,
        /// The link.
        link: InterfaceName,
        /// What went wrong.
        #[source]
        source: RequestError,
    },
    /// A link was made but not finished, and could not be removed either.
    #[error("cannot finish link {link} ({unfinished}), nor remove it again")]
    Unfinished {
        /// The link.
        link: InterfaceName,
        /// Why it could not be finished.
        unfinished: Box<Self>,
        /// Why it could not be removed.
        #[source]
        source: Box<Self>,
    },
    /// An address was refused.
    #[error("cannot give {link} the address {address}")]
    Address {
        /// The link.
        link: InterfaceName,
        /// The address.
        address: IpNet,
        /// What went wrong.
        #[source]
        source: RequestError,
    },
    /// A default route was refused.
    #[error("cannot make {router} the default router of {link}")]
    DefaultRoute {
        /// The link.
        link: InterfaceName,
        /// The router.
        router: IpAddr,
        /// What went wrong.
        #[source]
        source: RequestError,
    },
    /// The loopback interface does not come up.
    #[error("cannot bring up the container's loopback interface")]
    Loopback {
        /// What went wrong.
        #[source]
        source: RequestError,
    },
    /// A step that happens inside a namespace was to be done without one.
    #[error("the step needs the container's network namespace")]
    NoNamespace,
    /// The namespace could not be entered.
    #[error("cannot enter the container's network namespace")]
    EnterNamespace {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The ruleset could not be changed or read.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The sockets of the host could not be listed.
    #[error("cannot list the listening sockets")]
    Listeners {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A program of the host is bound to a port that is to be kept from it.
    #[error(
        "port {}/{} is in use by a program of the host{}; choose another port or stop it",
        .port.port, .port.protocol, .uid.map(|uid| format!(", of user {uid}")).unwrap_or_default()
    )]
    PortInUse {
        /// The port.
        port: Reservation,
        /// The program's uid, where the kernel tells.
        uid: Option<u32>,
    },
    /// No socket could be bound to a port, for a reason other than that it is in use.
    #[error("cannot reserve port {port}")]
    ReservePort {
        /// The port.
        port: Reservation,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Connection tracking entries could not be deleted.
    #[error("cannot delete connection tracking entries")]
    ForgetFlows {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A kernel parameter could not be read.
    #[error("cannot read kernel parameter {sysctl}")]
    ReadSysctl {
        /// The parameter.
        sysctl: Sysctl,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The links' kernel parameters could not be listed.
    #[error("cannot list the kernel parameters of links")]
    ListSysctls {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A kernel parameter could not be set.
    #[error("cannot set kernel parameter {sysctl} to {value}")]
    WriteSysctl {
        /// The parameter.
        sysctl: Sysctl,
        /// The value.
        value: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What is done to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAction {
    /// It is made.
    Create,
    /// Its properties are set.
    Configure,
    /// It is brought up.
    BringUp,
    /// It is removed.
    Delete,
}

impl std::fmt::Display for LinkAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Configure => "configure",
            Self::BringUp => "bring up",
            Self::Delete => "delete",
        })
    }
}

/// What came of one netlink request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The kernel refused it.
    #[error("{errno}{}", .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// The error number.
        errno: Errno,
        /// The kernel's own explanation, where it gives one.
        message: Option<String>,
    },
    /// Links or routes kept changing while they were listed.
    #[error("it kept changing while it was read")]
    KeptChanging,
}
