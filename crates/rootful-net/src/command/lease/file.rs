//! The form in which leases are exported and imported.

use rootful_net_dbus::LeaseEntry;
use serde::{Deserialize, Serialize};

/// The version of the form that is written, and the only one that is read.
const VERSION: u32 = 1;

/// What `lease export` prints.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseFile {
    version: u32,
    leases: Vec<LeaseEntry>,
}

/// Says why a text is not an export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("it is not what 'rootful-net lease export' prints")]
    Json(#[from] serde_json::Error),
    #[error("version {found} of an export is unknown (accepted: {VERSION})")]
    Version { found: u32 },
    #[error(transparent)]
    Lease(#[from] rootful_net_dbus::Error),
}

impl LeaseFile {
    pub(super) fn new(leases: Vec<LeaseEntry>) -> Self {
        Self { version: VERSION, leases }
    }

    /// Reads what was exported, in the order of use.
    ///
    /// # Errors
    /// It is no export, or one of the leases is malformed.
    pub(super) fn read(text: &str) -> Result<Vec<LeaseEntry>, FormatError> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Header {
            version: u32,
        }
        let Header { version: found } = serde_json::from_str(text)?;
        if found != VERSION {
            return Err(FormatError::Version { found });
        }
        let Self { version: _, mut leases } = serde_json::from_str(text)?;
        for lease in &leases {
            // Nothing is imported of a file that is not good to its end.
            lease.parse()?;
        }
        leases.sort_by_key(|lease| lease.used);
        Ok(leases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output;

    fn lease(name: &str, used: u64) -> LeaseEntry {
        LeaseEntry {
            network: "rootful0".to_owned(),
            address: "10.87.3.4".to_owned(),
            owner: 1000,
            name: name.to_owned(),
            origin: "derived".to_owned(),
            used,
        }
    }

    #[test]
    fn what_is_exported_is_read_in_the_order_of_use() {
        let file = LeaseFile::new(vec![lease("web", 9), lease("db", 7)]);
        let read = LeaseFile::read(&output::json(&file)).unwrap();
        assert_eq!(read, [lease("db", 7), lease("web", 9)]);
    }

    #[test]
    fn the_documented_json_is_what_is_printed() {
        let documented = include_str!("../../../../../docs/cli.md");
        let printed = output::json(&LeaseFile::new(vec![lease("web", 7)]));
        assert!(documented.contains(&format!("```json\n{printed}```\n")), "{printed}");
    }

    #[test]
    fn what_is_no_export_is_refused() {
        let cases = [
            ("", "rootful-net lease export"),
            ("[]", "rootful-net lease export"),
            (r#"{"leases": []}"#, "rootful-net lease export"),
            (r#"{"version": 1}"#, "rootful-net lease export"),
            (r#"{"version": 2, "entries": []}"#, "version 2 of an export is unknown"),
        ];
        for (text, expected) in cases {
            let error = LeaseFile::read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let file = LeaseFile::new(vec![lease("web", 9), lease("a/b", 10)]);
        let error = LeaseFile::read(&output::json(&file)).unwrap_err().to_string();
        assert!(error.contains("\"a/b\""), "{error}");
    }
}
