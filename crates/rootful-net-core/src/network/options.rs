//! Owns the options of a network. An option is one row of [`OPTIONS`]: its name, its values, and how it is
//! read and written.

use std::collections::BTreeMap;

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

/// What the options of a network say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mtu: Option<u16>,
    pub(super) isolate: Isolate,
    pub(super) derivation: Derivation,
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
                NetworkProblem::UnknownOption {
                    option: quoted(name),
                    accepted: names.join(", "),
                }
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
        OPTIONS
            .iter()
            .filter_map(|row| Some((row.name.to_owned(), (row.write)(self)?)))
            .collect()
    }
}
