//! A container as podman leaves it for a hook: bundle, storage and the directory of its files.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

pub(crate) const ID: &str = "28d26f56a01b99347aa859a4e1507805f78669756d3d8380c21b28e324e3b1aa";

/// It ends with the value.
pub(crate) struct Bundle {
    root: TempDir,
}

impl Bundle {
    /// A container with this network namespace, and with this name in storage.
    pub(crate) fn new(namespace: &str, name: Option<&str>) -> Self {
        let bundle = Self { root: tempfile::tempdir().expect("a temporary directory") };
        fs::create_dir_all(bundle.dir()).expect("a directory");
        let config = format!(r#"{{"linux":{{"namespaces":[{{"type":"mount"}},{namespace}]}}}}"#);
        fs::write(bundle.dir().join("config.json"), config).expect("it can be written");
        if let Some(name) = name {
            let storage = format!(r#"[{{"id":"{ID}","names":["{name}"],"layer":"x"}}]"#);
            let path = bundle.root.path().join("volatile-containers.json");
            fs::write(path, storage).expect("it can be written");
        }
        bundle
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join(ID).join("userdata")
    }

    /// What the runtime says of it, with this process for the container's.
    pub(crate) fn state(&self, annotations: &str) -> String {
        let (bundle, pid) = (self.dir(), std::process::id());
        format!(
            r#"{{"ociVersion":"1.0","id":"{ID}","pid":{pid},"status":"created","bundle":"{}",
                "annotations":{{{annotations}}}}}"#,
            bundle.display()
        )
    }

    /// What podman says of it when it has stopped.
    pub(crate) fn stopped(&self) -> String {
        let bundle = self.dir();
        format!(
            r#"{{"ociVersion":"1.2.0","id":"{ID}","status":"stopped","bundle":"{}"}}"#,
            bundle.display()
        )
    }

    /// A configuration with this bundle's paths in it.
    pub(crate) fn placed(&self, text: &str) -> String {
        text.replace("@FILES@", self.dir().to_str().expect("UTF-8"))
    }

    /// The same without them, and without this process.
    pub(crate) fn unplaced(&self, text: &str) -> String {
        text.replace(self.dir().to_str().expect("UTF-8"), "@FILES@")
            .replace(&format!("--podman={}\"", std::process::id()), "--podman=@PID@\"")
    }

    /// What the hook has written for the container.
    pub(crate) fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir()).expect("a directory");
        files
            .map(|file| file.expect("a file").path())
            .filter(|path| !path.ends_with("config.json"))
            .map(|path| fs::read_to_string(path).expect("text"))
            .collect()
    }
}
