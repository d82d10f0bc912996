//! Where the service's files are.

use std::path::Path;

/// What the distribution ships.
pub(crate) const VENDOR_DIR: &str = "/usr/share/rootful-net";
/// What the administrator configures.
pub(crate) const CONFIGURATION_DIR: &str = "/etc/rootful-net";
/// What is lost at reboot, as the namespaces are.
pub(crate) const RUNTIME_DIR: &str = "/run/rootful-net";
/// What outlives a reboot.
pub(crate) const STATE_DIR: &str = "/var/lib/rootful-net";

/// The files of `name` with the extension `extension` in the directories, in the order of their names. A file
/// in a later directory stands for one of the same name in an earlier one.
///
/// # Errors
/// A directory cannot be read; one that does not exist is empty.
pub(crate) fn layered_files(
    directories: &[&Path],
    extension: &str,
) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut files = std::collections::BTreeMap::new();
    for directory in directories {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().map(std::ffi::OsStr::to_owned);
            if path.extension().is_some_and(|own| own == extension)
                && let Some(name) = name
            {
                files.insert(name, path);
            }
        }
    }
    Ok(files.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_directory_stands_for_an_earlier_one() {
        let root = tempfile::tempdir().unwrap();
        let (vendor, own) = (root.path().join("vendor"), root.path().join("own"));
        for (directory, names) in [(&vendor, ["b.toml", "a.toml"]), (&own, ["b.toml", "c.json"])] {
            std::fs::create_dir(directory).unwrap();
            names.iter().for_each(|name| std::fs::write(directory.join(name), "").unwrap());
        }
        let missing = root.path().join("missing");
        let files = layered_files(&[&vendor, &own, &missing], "toml").unwrap();
        assert_eq!(files, [vendor.join("a.toml"), own.join("b.toml")]);
    }
}
