//! Owns a container's configuration, `config.json`: what the hook reads from it, and what it changes. Whatever
//! else is in it stays as it is.

use std::path::{Path, PathBuf};

use rootful_net_core::request::ContainerId;
use serde_json::{Value, json};

use crate::deadline::Deadline;
use crate::input::{self, InputError};

/// Where a container's resolver configuration is.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where a container's hosts file is.
pub(crate) const HOSTS: &str = "/etc/hosts";
/// The option that says to `attach` which process has the user's terminal.
pub(crate) const PODMAN_OPTION: &str = "--podman=";

/// Files that podman makes for every container, each on a mount of its own.
const PODMAN_FILES: [&str; 3] = ["/etc/hostname", "/run/.containerenv", HOSTS];
const PROGRAM: &str = "rootful-net-hook";
/// Podman's are around 10 KiB; mounts and annotations make them longer.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to read it from.
    #[error(transparent)]
    Input(#[from] InputError),
    /// It is no JSON.
    #[error("the container's configuration is malformed")]
    Format(#[source] serde_json::Error),
    /// It is some other JSON.
    #[error("the container's configuration is not an object")]
    Kind,
}

/// Whose network namespace a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// One that was made for it.
    Own,
    /// That of another container, as in a pod.
    OfContainer,
    /// That of the host.
    OfHost,
}

/// A container's configuration.
#[derive(Debug)]
pub struct Config {
    value: Value,
}

impl Config {
    /// Reads it from stdin.
    pub(crate) fn read(deadline: Deadline) -> Result<Self, ConfigError> {
        Self::parse(&input::stdin("the container's configuration", MAX_BYTES, deadline)?)
    }

    /// Reads it from a bundle.
    pub(crate) fn of_bundle(bundle: &Path) -> Result<Self, ConfigError> {
        Self::parse(&input::file(&bundle.join("config.json"), MAX_BYTES)?)
    }

    /// Reads it from its text.
    ///
    /// # Errors
    /// It is no JSON, or no object.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_slice(json).map_err(ConfigError::Format)?;
        match value.is_object() {
            true => Ok(Self { value }),
            false => Err(ConfigError::Kind),
        }
    }

    /// Its text, changed or not.
    pub fn to_json(&self) -> Vec<u8> {
        self.value.to_string().into_bytes()
    }

    /// Its annotations, as far as they are text.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations = self.value["annotations"].as_object();
        let pairs = annotations.into_iter().flatten();
        pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The container's host name.
    pub fn hostname(&self) -> Option<&str> {
        self.value["hostname"].as_str()
    }

    /// Whose network namespace the container has.
    pub fn network_namespace(&self) -> NetworkNamespace {
        let namespaces = self.value["linux"]["namespaces"].as_array();
        let network =
            namespaces.into_iter().flatten().find(|namespace| namespace["type"] == "network");
        match network {
            None => NetworkNamespace::OfHost,
            // Podman names another container's by a process, and what it made itself by a file elsewhere.
            Some(network) => match network["path"].as_str() {
                Some(path) if path.starts_with("/proc/") => NetworkNamespace::OfContainer,
                Some(_) | None => NetworkNamespace::Own,
            },
        }
    }

    /// Whether something is mounted at this very place.
    pub fn has_mount(&self, destination: &str) -> bool {
        self.mount(destination).is_some()
    }

    /// Whether this file is mounted anywhere.
    pub(crate) fn has_mount_of(&self, source: &Path) -> bool {
        let mut mounts = self.value["mounts"].as_array().into_iter().flatten();
        mounts.any(|mount| mount["source"].as_str().is_some_and(|text| Path::new(text) == source))
    }

    fn mount(&self, destination: &str) -> Option<&Value> {
        let mounts = self.value["mounts"].as_array();
        mounts.into_iter().flatten().find(|mount| {
            mount["destination"]
                .as_str()
                .is_some_and(|text| Path::new(text) == Path::new(destination))
        })
    }

    /// The directory of the files that podman makes for this run of the container.
    pub fn files_dir(&self) -> Option<PathBuf> {
        let sources = PODMAN_FILES.iter().filter_map(|file| self.mount(file)?["source"].as_str());
        let mut dirs = sources.filter_map(|source| Path::new(source).parent());
        dirs.find(|dir| container_of(dir).is_some()).map(Path::to_owned)
    }

    /// The container's id, which the configuration does not say but the place of podman's files.
    pub fn container_id(&self) -> Option<ContainerId> {
        self.files_dir().and_then(|dir| container_of(&dir))
    }

    /// The user and group, in podman's user namespace, who are root in the container.
    pub fn root_user(&self) -> (u32, u32) {
        (self.outer_id("uidMappings"), self.outer_id("gidMappings"))
    }

    fn outer_id(&self, mappings: &str) -> u32 {
        let mappings = self.value["linux"][mappings].as_array();
        let of_root = mappings.into_iter().flatten().find(|mapping| mapping["containerID"] == 0);
        let id = of_root.and_then(|mapping| mapping["hostID"].as_u64());
        id.and_then(|id| u32::try_from(id).ok()).unwrap_or_default()
    }

    /// The SELinux label of the container's files.
    pub fn mount_label(&self) -> Option<&str> {
        self.value["linux"]["mountLabel"].as_str().filter(|label| !label.is_empty())
    }

    /// Mounts a file into the container, in the way in which podman mounts its own.
    pub fn bind(&mut self, source: &Path, destination: &str) {
        let like = PODMAN_FILES.iter().find_map(|file| self.mount(file));
        let options = match like.map(|mount| &mount["options"]) {
            Some(options) if options.is_array() => options.clone(),
            Some(_) | None => json!(["bind", "rprivate"]),
        };
        let mount = json!({
            "destination": destination,
            "type": "bind",
            "source": source.to_string_lossy(),
            "options": options,
        });
        match self.value["mounts"].as_array_mut() {
            Some(mounts) => mounts.push(mount),
            None => self.value["mounts"] = json!([mount]),
        }
    }

    /// Has the hook that attaches the container tell podman, too, why it failed.
    pub fn have_reported_to(&mut self, podman: u32) {
        for stage in ["prestart", "createRuntime"] {
            let hooks = self.value.pointer_mut(&format!("/hooks/{stage}"));
            for hook in hooks.and_then(Value::as_array_mut).into_iter().flatten() {
                if hook["args"] == json!([PROGRAM, "attach"]) {
                    hook["args"] = json!([PROGRAM, "attach", format!("{PODMAN_OPTION}{podman}")]);
                }
            }
        }
    }
}

/// Podman's directories are called `…/CONTAINER/userdata`.
fn container_of(dir: &Path) -> Option<ContainerId> {
    if dir.file_name()? != "userdata" {
        return None;
    }
    dir.parent()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
