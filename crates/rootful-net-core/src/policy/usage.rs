//! How much of what is limited somebody holds, asks for, and may have.

use std::fmt::{self, Display, Formatter};
use std::ops::{Add, AddAssign, SubAssign};

use serde::Deserialize;

use crate::attachment::Attachment;
use crate::request::AttachRequest;

/// What is counted and limited, for each user and in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Attached containers.
    Attachments,
    /// Networks joined: one for each container and network.
    Interfaces,
    /// Published ports, one for each port and protocol.
    Ports,
    /// Further names of containers, one for each network and alias.
    Aliases,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Attachments, Self::Interfaces, Self::Ports, Self::Aliases];
}

impl Display for Resource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attachments => "attachments",
            Self::Interfaces => "interfaces",
            Self::Ports => "published ports",
            Self::Aliases => "aliases",
        })
    }
}

/// An amount of each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Attached containers.
    pub attachments: u32,
    /// Networks joined.
    pub interfaces: u32,
    /// Published ports.
    pub ports: u32,
    /// Further names.
    pub aliases: u32,
}

impl Amounts {
    /// How much of the resource it is.
    pub fn of(&self, resource: Resource) -> u32 {
        match resource {
            Resource::Attachments => self.attachments,
            Resource::Interfaces => self.interfaces,
            Resource::Ports => self.ports,
            Resource::Aliases => self.aliases,
        }
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.attachments = self.attachments.saturating_add(other.attachments);
        self.interfaces = self.interfaces.saturating_add(other.interfaces);
        self.ports = self.ports.saturating_add(other.ports);
        self.aliases = self.aliases.saturating_add(other.aliases);
    }
}

impl SubAssign for Amounts {
    fn sub_assign(&mut self, other: Self) {
        self.attachments = self.attachments.saturating_sub(other.attachments);
        self.interfaces = self.interfaces.saturating_sub(other.interfaces);
        self.ports = self.ports.saturating_sub(other.ports);
        self.aliases = self.aliases.saturating_sub(other.aliases);
    }
}

impl Add for Amounts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl From<&Attachment> for Amounts {
    fn from(attachment: &Attachment) -> Self {
        let aliases = attachment.interfaces().iter().map(|interface| interface.aliases.len());
        Self {
            attachments: 1,
            interfaces: saturated(attachment.interfaces().len()),
            ports: saturated(attachment.forwards().len()),
            aliases: saturated(aliases.sum()),
        }
    }
}

impl From<&AttachRequest> for Amounts {
    fn from(request: &AttachRequest) -> Self {
        let aliases = request.networks.iter().map(|network| network.aliases.len());
        Self {
            attachments: 1,
            interfaces: saturated(request.networks.len()),
            ports: saturated(request.forwards.len()),
            aliases: saturated(aliases.sum()),
        }
    }
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What is held already, apart from what a request replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By the owner of the namespace.
    pub by_owner: Amounts,
    /// By all users.
    pub in_all: Amounts,
}

/// The most of each resource; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Attached containers.
    pub attachments: Option<u32>,
    /// Networks joined.
    pub interfaces: Option<u32>,
    /// Published ports.
    pub ports: Option<u32>,
    /// Further names.
    pub aliases: Option<u32>,
}

impl Quota {
    /// What all users can have together where no policy file says otherwise: what a host with a few
    /// gigabytes of memory carries without anybody noticing.
    pub const IN_ALL: Self = Self {
        attachments: Some(4096),
        interfaces: Some(8192),
        ports: Some(65536),
        aliases: Some(65536),
    };

    /// The limit of the resource.
    pub fn of(&self, resource: Resource) -> Option<u32> {
        match resource {
            Resource::Attachments => self.attachments,
            Resource::Interfaces => self.interfaces,
            Resource::Ports => self.ports,
            Resource::Aliases => self.aliases,
        }
    }

    /// With what `other` says in the place of what is said here.
    pub(super) fn overridden_by(self, other: Self) -> Self {
        Self {
            attachments: other.attachments.or(self.attachments),
            interfaces: other.interfaces.or(self.interfaces),
            ports: other.ports.or(self.ports),
            aliases: other.aliases.or(self.aliases),
        }
    }
}
