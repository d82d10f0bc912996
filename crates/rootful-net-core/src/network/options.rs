//! Owns the options of a network. An option is one row of [`OPTIONS`]: its name, its values, and how it is
//! read and written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NetworkProblem;
use crate::derivation::Derivation;
use crate::name::quoted;

/// How far a network is kept apart from other networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolate {
    /// Not at all.
    #[default]
    Off,
    /// From other isolated networks.
    On,
    /// From all other networks.
    Strict,
}

/// Which services of the host containers reach, at whichever of its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostAccess {
    /// All of them.
    All,
    /// Names, at the gateway.
    #[default]
    Dns,
    /// None.
    None,
}

/// Whether containers on one network reach each other.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Neighbours {
    /// They do.
    #[default]
    Reachable,
    /// They only reach the host, and what lies behind it.
    Isolated,
}

/// How many connections each address of a container may have where the network does not say: enough for a
/// busy proxy, and one in 64 of what a host with 8 GiB tracks in all (`net.netfilter.nf_conntrack_max`).
pub const DEFAULT_CONNECTION_LIMIT: u32 = 4096;

/// What the options of a network say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mtu: Option<u16>,
    pub(super) isolate: Isolate,
    pub(super) neighbours: Neighbours,
    pub(super) host_access: HostAccess,
    /// `None` for no limit.
    pub(super) connection_limit: Option<u32>,
    pub(super) derivation: Derivation,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mtu: None,
            isolate: Isolate::default(),
            neighbours: Neighbours::default(),
            host_access: HostAccess::default(),
            connection_limit: Some(DEFAULT_CONNECTION_LIMIT),
            derivation: Derivation::default(),
        }
    }
}

struct OptionRow {
    name: &'static str,
    accepted: &'static str,
    /// `None` where the text is not one of the accepted values.
    read: fn(&mut Options, &str) -> Option<()>,
    /// `None` where the option has its default.
    write: fn(&Options) -> Option<String>,
}

const OPTIONS: &[OptionRow] = &[
    OptionRow {
        name: "mtu",
        accepted: "68 to 65535",
        read: |options, text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            // RFC 791: every IPv4 link carries 68 bytes.
            let mtu = text.parse().ok().filter(|mtu| digits && *mtu >= 68)?;
            options.mtu = Some(mtu);
            Some(())
        },
        write: |options| options.mtu.map(|mtu| mtu.to_string()),
    },
    OptionRow {
        name: "isolate",
        accepted: "true, false, strict",
        read: |options, text| {
            options.isolate = match text {
                "true" | "1" => Isolate::On,
                "false" | "0" => Isolate::Off,
                "strict" => Isolate::Strict,
                _ => return None,
            };
            Some(())
        },
        write: |options| match options.isolate {
            Isolate::Off => None,
            Isolate::On => Some("true".into()),
            Isolate::Strict => Some("strict".into()),
        },
    },
    OptionRow {
        name: "isolate_containers",
        accepted: "true, false",
        read: |options, text| {
            options.neighbours = match text {
                "true" | "1" => Neighbours::Isolated,
                "false" | "0" => Neighbours::Reachable,
                _ => return None,
            };
            Some(())
        },
        write: |options| match options.neighbours {
            Neighbours::Reachable => None,
            Neighbours::Isolated => Some("true".into()),
        },
    },
    OptionRow {
        name: "host_access",
        accepted: "all, dns, none",
        read: |options, text| {
            options.host_access = match text {
                "all" => HostAccess::All,
                "dns" => HostAccess::Dns,
                "none" => HostAccess::None,
                _ => return None,
            };
            Some(())
        },
        write: |options| match options.host_access {
            HostAccess::All => Some("all".into()),
            HostAccess::Dns => None,
            HostAccess::None => Some("none".into()),
        },
    },
    OptionRow {
        name: "connection_limit",
        accepted: "1 to 1000000, or none",
        read: |options, text| {
            options.connection_limit = match text {
                "none" => None,
                _ => {
                    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                    let limit = text.parse().ok().filter(|_| digits)?;
                    Some((1..=1_000_000).contains(&limit).then_some(limit)?)
                }
            };
            Some(())
        },
        write: |options| match options.connection_limit {
            Some(DEFAULT_CONNECTION_LIMIT) => None,
            Some(limit) => Some(limit.to_string()),
            None => Some("none".into()),
        },
    },
    OptionRow {
        name: "address_derivation",
        accepted: "hmac-sha512, podman-rootful-network",
        read: |options, text| {
            options.derivation = Derivation::from_name(text)?;
            Some(())
        },
        write: |options| {
            let derivation = options.derivation;
            (derivation != Derivation::default()).then(|| derivation.to_string())
        },
    },
];

impl Options {
    pub(super) fn read(texts: &BTreeMap<String, String>) -> Result<Self, NetworkProblem> {
        let mut options = Self::default();
        for (name, text) in texts {
            let row = OPTIONS.iter().find(|row| row.name == name).ok_or_else(|| {
                let names: Vec<_> = OPTIONS.iter().map(|row| row.name).collect();
                NetworkProblem::UnknownOption { option: quoted(name), accepted: names.join(", ") }
            })?;
            (row.read)(&mut options, text).ok_or_else(|| NetworkProblem::OptionValue {
                option: row.name,
                found: quoted(text),
                accepted: row.accepted,
            })?;
        }
        Ok(options)
    }

    pub(super) fn write(&self) -> BTreeMap<String, String> {
        OPTIONS.iter().filter_map(|row| Some((row.name.to_owned(), (row.write)(self)?))).collect()
    }
}
