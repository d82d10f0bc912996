//! What a container is called: the runtime does not know, but containers/storage keeps ids and names in files
//! two directories above the bundle.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rootful_net_core::name::{ContainerName, NameError};
use rootful_net_core::request::ContainerId;
use serde::Deserialize;

use crate::input::{self, InputError};

/// Containers that go with their end (`--rm`) are in a file of their own.
const FILES: [&str; 2] = ["volatile-containers.json", "containers.json"];
/// An entry has less than a kilobyte, apart from labels and the like.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Why a container's name is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error(
        "there is no name for it in {}; give it one with annotation io.rootful-net.name",
        dir.display()
    )]
    Unknown { dir: PathBuf },
    #[error(transparent)]
    Input(InputError),
    #[error("{} is not a list of containers", path.display())]
    Format { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Name(#[from] NameError),
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    names: Vec<Cow<'a, str>>,
}

/// The name of the container with this bundle.
pub(crate) fn container_name(
    bundle: &Path,
    id: &ContainerId,
) -> Result<ContainerName, StorageError> {
    // Not `parent()`: the bundle may be reached through a link.
    let dir = bundle.join("../..");
    for file in FILES {
        let path = dir.join(file);
        let json = match input::file(&path, MAX_BYTES) {
            Ok(json) => json,
            Err(InputError::File { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                continue;
            }
            Err(error) => return Err(StorageError::Input(error)),
        };
        let name = name_in(&json, id).map_err(|source| StorageError::Format { path, source })?;
        if let Some(name) = name {
            return Ok(name.parse()?);
        }
    }
    Err(StorageError::Unknown { dir })
}

/// The first name of the container with this id in the text of a list; nothing where it is not there or has none.
///
/// # Errors
/// It is no such list.
pub fn name_in(json: &[u8], id: &ContainerId) -> Result<Option<String>, serde_json::Error> {
    if json.is_empty() {
        return Ok(None);
    }
    let entries: Vec<Entry<'_>> = serde_json::from_slice(json)?;
    let entry = entries.into_iter().find(|entry| entry.id == id.as_str());
    Ok(entry.and_then(|entry| entry.names.into_iter().next()).map(Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id(digit: char) -> ContainerId {
        digit.to_string().repeat(64).parse().expect("an id")
    }

    #[test]
    fn names_are_found_in_either_file() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let bundle = root.path().join("id/userdata");
        fs::create_dir_all(&bundle).expect("a directory");
        let name = |id: &ContainerId| container_name(&bundle, id).map(String::from);
        let write = |file: &str, text: &str| {
            fs::write(root.path().join(file), text).expect("it can be written");
        };

        assert!(matches!(name(&id('a')), Err(StorageError::Unknown { .. })));
        let entry = |id: &ContainerId, names: &str| {
            format!(
                r#"{{"id":"{id}","names":{names},"metadata":"{{\"x\":1}}","flags":{{"a":[]}}}}"#
            )
        };
        let kept = [entry(&id('a'), r#"["web","other"]"#), entry(&id('b'), "[]")].join(",");
        write("containers.json", &format!("[{kept}]"));
        assert_eq!(name(&id('a')).expect("it is there"), "web");
        assert!(matches!(name(&id('b')), Err(StorageError::Unknown { .. })));
        write("volatile-containers.json", &format!("[{}]", entry(&id('c'), r#"["\u0064b"]"#)));
        assert_eq!(name(&id('c')).expect("it is there"), "db");
        assert_eq!(name(&id('a')).expect("it is there"), "web");
        write("volatile-containers.json", "");
        assert_eq!(name(&id('a')).expect("it is there"), "web");
        write("containers.json", &format!("[{}]", entry(&id('a'), r#"["a b"]"#)));
        assert!(matches!(name(&id('a')), Err(StorageError::Name(_))));
        write("containers.json", "{}");
        assert!(matches!(name(&id('a')), Err(StorageError::Format { .. })));
    }
}
