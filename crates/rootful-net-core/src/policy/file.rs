//! Policy files: TOML, one `[[grant]]` table a grant.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::grant::{AddressPattern, Grant, NamePattern, PortSpan, Principal};
use crate::publish::Protocol;

/// The longest policy file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Says what is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not TOML, or not of the right shape.
    #[error("{file_name}: {message}")]
    Malformed {
        /// The file.
        file_name: String,
        /// What the parser says, with the line.
        message: String,
    },
    /// A grant does not say what it must.
    #[error("{file_name}: grant {number}: {problem}")]
    Grant {
        /// The file.
        file_name: String,
        /// Which grant of the file, from 1.
        number: usize,
        /// What is missing and what to write.
        problem: &'static str,
    },
    /// The file is too long.
    #[error("{file_name}: is longer than {MAX_FILE_BYTES} bytes")]
    TooLong {
        /// The file.
        file_name: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    grant: Vec<RawGrant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrant {
    #[serde(default)]
    users: Vec<Principal>,
    #[serde(default)]
    groups: Vec<Principal>,
    networks: Vec<NamePattern>,
    #[serde(default)]
    host_addresses: Vec<AddressPattern>,
    #[serde(default)]
    ports: BTreeMap<Protocol, Vec<PortSpan>>,
    #[serde(default)]
    static_addresses: bool,
    #[serde(default)]
    quota: RawQuota,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuota {
    attachments: Option<u32>,
}

pub(super) fn parse(file_name: &str, text: &str) -> Result<Vec<Grant>, PolicyError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(PolicyError::TooLong { file_name: file_name.to_owned() });
    }
    let file: File = toml::from_str(text).map_err(|error| PolicyError::Malformed {
        file_name: file_name.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    let grants = file.grant.into_iter().zip(1..);
    grants.map(|(grant, number)| finish(file_name, number, grant)).collect()
}

fn finish(file_name: &str, number: usize, raw: RawGrant) -> Result<Grant, PolicyError> {
    let problem = |problem| {
        Err(PolicyError::Grant { file_name: file_name.to_owned(), number, problem })
    };
    if raw.users.is_empty() && raw.groups.is_empty() {
        return problem("is for nobody; name users or groups");
    }
    if raw.networks.is_empty() {
        return problem("names no network; write networks = [\"rootful0\"]");
    }
    if !raw.ports.is_empty() && raw.host_addresses.is_empty() {
        return problem(
            "grants ports but no host address; write host_addresses = [\"*\"] for all of them",
        );
    }
    Ok(Grant {
        source: format!("{file_name}, grant {number}"),
        users: raw.users,
        groups: raw.groups,
        networks: raw.networks,
        host_addresses: raw.host_addresses,
        ports: raw.ports,
        static_addresses: raw.static_addresses,
        max_attachments: raw.quota.attachments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_answered_with_file_and_reason() {
        let cases = [
            ("[[grant]]\nusers = [\"alice\"]\n", "missing field `networks`"),
            ("[[grant]]\nusers = []\nnetworks = [\"a\"]\n", "is for nobody"),
            ("[[grant]]\nusers = [1]\nnetworks = []\n", "names no network"),
            ("[[grant]]\nusers = [1]\nnetworks = [\"a\"]\nports = { tcp = [\"80\"] }\n", "no host address"),
            ("[[grant]]\nusers = [1]\nnetworks = [\"a\"]\nport = 80\n", "unknown field `port`"),
            ("[[grant]]\nusers = [1]\nnetworks = [\"a\"]\nhost_addresses = [\"*\"]\nports = { tcp = [\"0-5\"] }\n", "line 5"),
            ("[[grant]]\nusers = [1]\nnetworks = [\"a\"]\nhost_addresses = [\"*\"]\nports = { icmp = [\"5\"] }\n", "icmp"),
            ("[[grant]]\nusers = [-1]\nnetworks = [\"a\"]\n", "line 2"),
            ("[[grant]]\nusers = [1]\nnetworks = [\"a b\"]\n", "line 3"),
            ("[[grants]]\n", "unknown field `grants`"),
        ];
        for (text, expected) in cases {
            let error = parse("50-test.toml", text).expect_err(text).to_string();
            assert!(error.starts_with("50-test.toml: "), "{error}");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
