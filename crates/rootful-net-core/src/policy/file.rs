//! Policy files: TOML, one `[[grant]]` table a grant.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::grant::{AddressPattern, Authorize, Grant, NamePattern, PortSpan, Principal};
use super::usage::Quota;
use crate::publish::Protocol;

/// The longest policy file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Says what is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not TOML, or says what a policy file does not say.
    #[error("{file_name}: line {line}: {problem}")]
    Line {
        /// The file.
        file_name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what is accepted.
        problem: String,
    },
    /// A grant does not say what it must.
    #[error("{file_name}: line {line}: grant {number} {problem}")]
    Grant {
        /// The file.
        file_name: String,
        /// Where the grant starts, from 1.
        line: usize,
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

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct PolicyFile {
    pub(super) grants: Vec<Grant>,
    pub(super) limits: Quota,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    grant: Vec<Spanned<RawGrant>>,
    #[serde(default)]
    limits: Quota,
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
    aliases: bool,
    #[serde(default)]
    quota: Quota,
    #[serde(default)]
    authorize: Authorize,
}

pub(super) fn parse(file_name: &str, text: &str) -> Result<PolicyFile, PolicyError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(PolicyError::TooLong { file_name: file_name.to_owned() });
    }
    let file: RawFile = toml::from_str(text).map_err(|error| PolicyError::Line {
        file_name: file_name.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        problem: error.message().lines().collect::<Vec<_>>().join("; "),
    })?;
    let mut grants = Vec::new();
    for (raw, number) in file.grant.into_iter().zip(1..) {
        let line = line_of(text, raw.span().start);
        let file_name = || file_name.to_owned();
        let grant = finish(&file_name(), number, raw.into_inner());
        grants.push(grant.map_err(|problem| PolicyError::Grant {
            file_name: file_name(),
            line,
            number,
            problem,
        })?);
    }
    Ok(PolicyFile { grants, limits: file.limits })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn finish(file_name: &str, number: usize, raw: RawGrant) -> Result<Grant, &'static str> {
    if raw.users.is_empty() && raw.groups.is_empty() {
        return Err("is for nobody; name users or groups");
    }
    if raw.networks.is_empty() {
        return Err("names no network; write networks = [\"rootful0\"]");
    }
    if !raw.ports.is_empty() && raw.host_addresses.is_empty() {
        return Err(
            "has ports but no host address; write host_addresses = [\"*\"] for all of them",
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
        aliases: raw.aliases,
        quota: raw.quota,
        authorize: raw.authorize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_answered_with_file_and_reason() {
        let grant = "[[grant]]\nusers = [1]\nnetworks = [\"a\"]\n";
        let with = |line: &str| format!("{grant}{line}\n");
        let cases = [
            ("[[grant]]\nusers = [\"alice\"]\n".to_owned(), 1, "missing field `networks`"),
            (
                "\n[[grant]]\nusers = []\nnetworks = [\"a\"]\n".to_owned(),
                2,
                "grant 1 is for nobody",
            ),
            ("[[grant]]\nusers = [1]\nnetworks = []\n".to_owned(), 1, "names no network"),
            (format!("{grant}\n[[grant]]\nnetworks = [\"a\"]\n"), 5, "grant 2 is for nobody"),
            (with("ports = { tcp = [\"80\"] }"), 1, "no host address"),
            (with("port = 80"), 4, "unknown field `port`"),
            (with("quota = { ports = -1 }"), 4, "-1"),
            (with("quota = { port = 1 }"), 4, "unknown field `port`"),
            (with("authorize = \"sudo\""), 4, "unknown variant `sudo`"),
            (with("aliases = 1"), 4, "invalid type"),
            (with("host_addresses = [\"*\"]\nports = { tcp = [\"0-5\"] }"), 5, "\"0-5\""),
            (with("host_addresses = [\"*\"]\nports = { tcp = [\"9-5\"] }"), 5, "\"9-5\""),
            (with("host_addresses = [\"*\"]\nports = { tcp = [\"1-65536\"] }"), 5, "65536"),
            (with("host_addresses = [\"*\"]\nports = { tcp = [\"+5\"] }"), 5, "\"+5\""),
            (with("host_addresses = [\"*\"]\nports = { tcp = [80] }"), 5, "invalid type"),
            (with("host_addresses = [\"*\"]\nports = { icmp = [\"5\"] }"), 5, "icmp"),
            (with("host_addresses = [\"192.0.2.0/33\"]"), 4, "192.0.2.0/33"),
            (with("host_addresses = [\"localhost\"]"), 4, "localhost"),
            (with("users = [2]"), 4, "duplicate key"),
            (
                "[[grant]]\nusers = [-1]\nnetworks = [\"a\"]\n".to_owned(),
                2,
                "a name or a numeric id",
            ),
            (
                "[[grant]]\nusers = [\"*\"]\nnetworks = [\"a\"]\n".to_owned(),
                2,
                "a name or a numeric id",
            ),
            ("[[grant]]\nusers = [1]\nnetworks = [\"a b\"]\n".to_owned(), 3, "a b"),
            ("[[grants]]\n".to_owned(), 1, "unknown field `grants`"),
            ("[limits]\nattachments = \"many\"\n".to_owned(), 2, "invalid type"),
            ("[limits]\nmemory = 1\n".to_owned(), 2, "unknown field `memory`"),
            ("[[grant]\n".to_owned(), 1, ""),
        ];
        for (text, line, expected) in cases {
            let error = parse("50-test.toml", &text).expect_err(&text).to_string();
            let expected_start = format!("50-test.toml: line {line}: ");
            assert!(error.starts_with(&expected_start), "{text}: {error}");
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let text = " ".repeat(MAX_FILE_BYTES + 1);
        let error = parse("50-test.toml", &text).expect_err("it is too long");
        assert!(matches!(error, PolicyError::TooLong { .. }), "{error}");
    }
}
