//! A podman that is a shell script: it has at most one container, and writes down how it was called.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

/// The id of the container "web".
pub(crate) const ID: &str = "e516d4c90fe72cbf45e19a861a25978254a83c6e74d1ed7abc4b6fa3b185cb9f";

pub(crate) struct Podman {
    dir: TempDir,
}

impl Podman {
    /// None is installed.
    pub(crate) fn missing() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// One without containers.
    pub(crate) fn empty() -> Self {
        Self::script(
            "echo '[]'; echo 'Error: no such container' >&2\n[ $2 = exists ] && exit 1\nexit 125",
        )
    }

    /// One that fails whatever it is asked.
    pub(crate) fn broken() -> Self {
        Self::script("printf 'Error: database \\033 is locked\\n' >&2; exit 125")
    }

    /// One with the container "web". Initialized, it has the namespace of this process.
    pub(crate) fn with(status: &str, pid: u32, network_mode: &str) -> Self {
        let json = |status: &str, pid: u32| {
            format!(
                r#"[{{"Id": "{ID}", "Name": "web", "State": {{"Status": "{status}", "Pid": {pid}}},
                "HostConfig": {{"NetworkMode": "{network_mode}"}}, "NetworkSettings": {{"Networks": null}}}}]"#
            )
        };
        let podman = Self::script(
            "case $1 in\n\
             init) exec /bin/cp \"${0%/*}/initialized\" \"${0%/*}/web\" ;;\n\
             container) exec /bin/cat \"${0%/*}/web\" ;;\n\
             esac\n\
             exit 125",
        );
        for (name, json) in
            [("web", json(status, pid)), ("initialized", json("initialized", std::process::id()))]
        {
            fs::write(podman.dir.path().join(name), json).expect("the file can be written");
        }
        podman
    }

    /// One with the pod "site", whose infra container is initialized.
    pub(crate) fn with_pod() -> Self {
        let podman = Self::script(
            "case \"$*\" in\n\
             *\" site\") [ $1 = pod ] || { [ $2 = exists ] && exit 1; exit 125; } ;;\n\
             esac\n\
             exec /bin/cat \"${0%/*}/$1\"",
        );
        let pid = std::process::id();
        let infra = format!(
            r#"[{{"Id": "{ID}", "Name": "7a4b1fb4c892-infra", "Pod": "7a4b1fb4c892", "IsInfra": true,
            "State": {{"Status": "initialized", "Pid": {pid}}}, "HostConfig": {{"NetworkMode": "none"}},
            "NetworkSettings": {{"Networks": null}}}}]"#
        );
        let pod = format!(r#"[{{"Name": "site", "InfraContainerID": "{ID}"}}]"#);
        for (name, json) in [("container", infra), ("pod", pod)] {
            fs::write(podman.dir.path().join(name), json).expect("the file can be written");
        }
        podman
    }

    fn script(body: &str) -> Self {
        let podman = Self::missing();
        let path = podman.dir.path().join("podman");
        let script = format!("#!/bin/sh\necho \"$*\" >> \"${{0%/*}}/calls\"\n{body}\n");
        fs::write(&path, script).expect("the script can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("it can be executable");
        podman
    }

    /// For the environment variable PATH.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The calls so far, a line for each.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default()
    }
}
