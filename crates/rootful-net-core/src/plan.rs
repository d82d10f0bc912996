//! A plan: the ordered steps of one change, each with its undo. It can be printed and compared; carrying it
//! out is the kernel crate's business and leaves no choices.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use crate::link::{Bridge, InterfaceSetup, Veth};
use crate::name::InterfaceName;
use crate::network::Neighbours;
use crate::observed::Sysctl;
use crate::publish::{HostAddress, Port, Protocol, Reservation};
use crate::ruleset::{Change, Transaction};

/// One step. A step that fails leaves nothing of itself behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets a kernel parameter. Has no undo: parameters belong to the host as a whole.
    SetSysctl {
        /// The parameter.
        sysctl: Sysctl,
        /// The value it is given.
        value: String,
    },
    /// Makes a bridge with its addresses, and brings it up. Fails where a link of that name exists.
    CreateBridge(Bridge),
    /// Brings an existing bridge of ours to what it should be: MTU, addresses, up.
    RepairBridge(Bridge),
    /// Makes a veth pair, the container's end directly in its namespace; both ends stay down.
    CreateVeth(Veth),
    /// Removes a host link, and with the host's end of a veth pair the container's; it may be gone already.
    DeleteLink(InterfaceName),
    /// Removes a veth pair, to put another in its place in the same namespace.
    Unplug {
        /// The pair.
        veth: Veth,
        /// What its container end carries.
        setup: InterfaceSetup,
    },
    /// Gives the container's interface its addresses, brings it and the loopback interface up and adds
    /// the default routes. Undone by the removal of the veth.
    SetUpInterface(InterfaceSetup),
    /// Brings a host link up. Undone by its removal.
    BringUp(InterfaceName),
    /// Makes the host end of an existing veth pair a port of its bridge again, as it was when it was made: with its
    /// flags and its station. Leaves it down. Has no undo: what was there before was wrong.
    PlugIn(Veth),
    /// Keeps ports of the host from its own programs; those that are kept already stay so. Fails, and keeps none of
    /// them, where a program is bound to one. One that only connected sockets use, which take nothing from a forward,
    /// is left out: it is kept once [`Self::ReservePorts`] finds it free.
    ClaimPorts(Vec<Reservation>),
    /// Keeps those of the ports from the host's own programs that nobody uses, for attachments that are there already.
    /// Fails where one is in use; the others are kept.
    ReservePorts(Vec<Reservation>),
    /// Gives ports back to the host's programs; they may be free already.
    ReleasePorts(Vec<Reservation>),
    /// Changes the ruleset.
    ChangeRules(Transaction),
    /// Deletes connection tracking entries of flows to published ports, so that they are routed afresh.
    ForgetFlows(Vec<Flows>),
    /// Has the host forget which MAC addresses these addresses had on a bridge: whoever gets one next may have another.
    ForgetNeighbours {
        /// The bridge; it may be gone already.
        bridge: InterfaceName,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
}

/// The tracked flows that were addressed to one published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flows {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host addresses they were sent to.
    pub host_address: HostAddress,
    /// The port they were sent to.
    pub host_port: Port,
}

impl Step {
    /// Whether frames come in by a port from then on. It is not to be done where rules that it relies on could not be
    /// changed: reconciliation does it behind them.
    pub fn opens_a_port(&self) -> bool {
        matches!(self, Self::BringUp(_))
    }

    /// The steps that take this one back, in order; none where nothing needs to be or can be taken back.
    pub fn undo(&self) -> Vec<Self> {
        match self {
            Self::CreateBridge(bridge) => vec![Self::DeleteLink(bridge.name.clone())],
            Self::CreateVeth(veth) => vec![Self::DeleteLink(veth.host_link.clone())],
            // First of all: what guards a link must not be taken back while frames come in by it.
            Self::BringUp(link) => vec![Self::DeleteLink(link.clone())],
            Self::Unplug { veth, setup } => vec![
                Self::CreateVeth(veth.clone()),
                Self::SetUpInterface(setup.clone()),
                Self::BringUp(veth.host_link.clone()),
            ],
            Self::ChangeRules(transaction) => {
                let inverse = transaction.inverse();
                if inverse.is_empty() { Vec::new() } else { vec![Self::ChangeRules(inverse)] }
            }
            Self::ClaimPorts(ports) | Self::ReservePorts(ports) => {
                vec![Self::ReleasePorts(ports.clone())]
            }
            Self::ReleasePorts(ports) => vec![Self::ReservePorts(ports.clone())],
            Self::SetSysctl { .. }
            | Self::PlugIn(_)
            | Self::RepairBridge(_)
            | Self::DeleteLink(_)
            | Self::SetUpInterface(_)
            | Self::ForgetFlows(_)
            | Self::ForgetNeighbours { .. } => Vec::new(),
        }
    }
}

/// The steps of one change.
///
/// When a step of the first part fails, what was done is taken back in reverse order. The second part
/// begins once the change is in force and has been answered for; nothing in it can be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What must be done before the caller is answered.
    pub steps: Vec<Step>,
    /// What nobody waits for, such as removing links.
    pub afterwards: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.afterwards.is_empty()
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to do\n");
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        if !self.afterwards.is_empty() {
            writeln!(f, "afterwards:")?;
        }
        for step in &self.afterwards {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetSysctl { sysctl, value } => write!(f, "set sysctl {sysctl} = {value}"),
            Self::CreateBridge(bridge) => write!(f, "create bridge {bridge}"),
            Self::RepairBridge(bridge) => write!(f, "repair bridge {bridge}"),
            Self::CreateVeth(veth) => {
                let Veth { host_link, bridge, container_link, container_mac, .. } = veth;
                write!(f, "create veth {host_link} on {bridge}")?;
                write!(f, ", in the container {container_link} {container_mac}")?;
                mtu(f, veth.mtu)?;
                match veth.neighbours {
                    Neighbours::Reachable => Ok(()),
                    Neighbours::Isolated => f.write_str(", isolated"),
                }
            }
            Self::DeleteLink(link) => write!(f, "delete link {link}"),
            Self::Unplug { veth, .. } => write!(f, "unplug {}", veth.host_link),
            Self::SetUpInterface(setup) => {
                write!(f, "set up {} in the container", setup.name)?;
                list(f, "address", &setup.addresses)?;
                list(f, "link-local", setup.link_local.as_slice())?;
                list(f, "default route via", &setup.default_routers)
            }
            Self::BringUp(link) => write!(f, "bring up {link}"),
            Self::PlugIn(veth) => write!(f, "plug {} into {}", veth.host_link, veth.bridge),
            Self::ClaimPorts(ports) => ports_of(f, "claim", ports),
            Self::ReservePorts(ports) => ports_of(f, "reserve", ports),
            Self::ReleasePorts(ports) => ports_of(f, "release", ports),
            Self::ChangeRules(transaction) => {
                f.write_str("nft:")?;
                transaction.changes().iter().try_for_each(|change| match change {
                    Change::ReplaceTable(table) => {
                        write!(f, "\n    replace table {} with the fixed rules", table.name)
                    }
                    Change::DeleteTable(_) | Change::AddElement(_) | Change::DeleteElement(_) => {
                        write!(f, "\n    {change}")
                    }
                })
            }
            Self::ForgetNeighbours { bridge, addresses } => {
                write!(f, "forget neighbours on {bridge}")?;
                addresses.iter().try_for_each(|address| write!(f, " {address}"))
            }
            Self::ForgetFlows(flows) => {
                f.write_str("forget flows to")?;
                flows.iter().try_for_each(|flow| {
                    let Flows { protocol, host_address, host_port } = flow;
                    write!(f, " {host_address}:{host_port}/{protocol}")
                })
            }
        }
    }
}

impl Display for Bridge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.mac)?;
        list(f, "address", &self.addresses)?;
        mtu(f, self.mtu)
    }
}

fn ports_of(f: &mut Formatter<'_>, verb: &str, ports: &[Reservation]) -> fmt::Result {
    f.write_str(verb)?;
    ports.iter().try_for_each(|port| write!(f, " {port}"))
}

fn list<T: Display>(f: &mut Formatter<'_>, label: &str, items: &[T]) -> fmt::Result {
    items.iter().try_for_each(|item| write!(f, ", {label} {item}"))
}

fn mtu(f: &mut Formatter<'_>, mtu: Option<u16>) -> fmt::Result {
    mtu.map_or(Ok(()), |mtu| write!(f, ", mtu {mtu}"))
}
