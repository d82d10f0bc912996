//! The product as it is installed, for one test: its files where they really are, users and groups, and a
//! system bus. All of it is in the test's own mount namespace and goes with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::bus::Bus;
use crate::sandbox::Sandbox;

/// In the group `rootful-net`.
pub const ALICE: u32 = 10_001;
/// In the group `rootful-net`.
pub const BOB: u32 = 10_002;
/// Without any grant.
pub const MALLORY: u32 = 10_003;

/// Where the binaries are, reachable for every user.
const BINARY_DIR: &str = "/run/bin";

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
alice:x:10001:10001::/nonexistent:/bin/sh
bob:x:10002:10002::/nonexistent:/bin/sh
mallory:x:10003:10003::/nonexistent:/bin/sh
";
const GROUP: &str = "\
root:x:0:
alice:x:10001:
bob:x:10002:
mallory:x:10003:
rootful-net:x:990:alice,bob
";

/// An installed product whose daemon does not run yet, see [`crate::daemon::Daemon::start`].
#[derive(Debug)]
pub struct Installation {
    _bus: Bus,
}

impl Installation {
    /// Installs what was built beside the test: configuration, shipped policy, users, and a bus with the
    /// shipped bus policy.
    ///
    /// # Errors
    /// Where a file system cannot be mounted or the bus does not start.
    pub fn new(_: &Sandbox) -> anyhow::Result<Self> {
        for directory in ["/run", "/var/lib"] {
            mount("tmpfs", directory, "tmpfs", MountFlags::empty(), c"mode=0755")
                .with_context(|| format!("mount {directory}"))?;
        }
        for directory in ["/etc", "/usr/share"] {
            make_writable(directory)?;
        }
        let built_dir = built_dir()?;
        fs::create_dir(BINARY_DIR)?;
        mount_bind(&built_dir, BINARY_DIR).context("mount the binaries")?;
        fs::write("/etc/passwd", PASSWD)?;
        fs::write("/etc/group", GROUP)?;
        fs::write("/etc/nsswitch.conf", "passwd: files\ngroup: files\n")?;
        // What a developer's machine has installed is not what is tested.
        for directory in ["/etc/rootful-net", "/usr/share/rootful-net"] {
            if Path::new(directory).exists() {
                fs::remove_dir_all(directory)?;
            }
            fs::create_dir_all(Path::new(directory).join("policy.d"))?;
        }
        fs::create_dir("/etc/rootful-net/networks")?;
        let shipped_path = "/usr/share/rootful-net/policy.d/50-default.toml";
        install(shipped_path, &fs::read(source_dir().join("policy/50-default.toml"))?)?;
        let bus_policy_path = source_dir().join("dbus/io.rootful_net1.conf");
        Ok(Self { _bus: Bus::start(&bus_policy_path)? })
    }

    /// Adds a network's definition, in podman's JSON format, to the administrator's.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add_network(&self, json: &str) -> anyhow::Result<()> {
        let network: serde_json::Value = serde_json::from_str(json)?;
        let name = network["name"].as_str().context("a network has a name")?;
        let path = format!("/etc/rootful-net/networks/{name}.json");
        install(&path, json.as_bytes())
    }

    /// Adds a policy file of the administrator's.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add_policy(&self, file_name: &str, toml: &str) -> anyhow::Result<()> {
        let path = format!("/etc/rootful-net/policy.d/{file_name}");
        install(&path, toml.as_bytes())
    }
}

/// Writes a file that only root can write, whatever the umask is.
fn install(path: &str, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| path.to_owned())?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o644))?)
}

/// One of the product's binaries as it is installed.
pub fn binary_path(name: &str) -> PathBuf {
    Path::new(BINARY_DIR).join(name)
}

/// The top of the source tree.
pub fn source_dir() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the tests are a directory of the workspace")
}

/// Where cargo puts binaries: test executables are in `deps` below it.
fn built_dir() -> anyhow::Result<PathBuf> {
    let test_path = std::env::current_exe()?;
    let built_dir = test_path.ancestors().nth(2).context("the test has no directory")?;
    for name in ["rootful-netd", "rootful-net"] {
        let path = built_dir.join(name);
        anyhow::ensure!(
            path.exists(),
            "{} is missing: 'make test-netns' builds it",
            path.display()
        );
    }
    Ok(built_dir.to_owned())
}

/// Lays a private layer over a directory, so that whatever is changed there is changed for the test alone.
fn make_writable(directory: &str) -> anyhow::Result<()> {
    let layer = Path::new("/run/layers").join(directory.trim_start_matches('/'));
    let (upper_dir, work_dir) = (layer.join("upper"), layer.join("work"));
    fs::create_dir_all(&upper_dir)?;
    fs::create_dir_all(&work_dir)?;
    let options = format!(
        "lowerdir={directory},upperdir={},workdir={}",
        upper_dir.display(),
        work_dir.display()
    );
    let options = std::ffi::CString::new(options)?;
    mount("overlay", directory, "overlay", MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("mount an overlay on {directory}"))
}
