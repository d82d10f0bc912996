//! Reads and sets kernel parameters below `/proc/sys/net`, those of the network namespace that the current
//! thread is in.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rootful_net_core::name::InterfaceName;
use rootful_net_core::observed::Sysctl;

use crate::error::KernelError;

/// Where the parameters are: at the second where `/proc` has nothing but processes, as in the service's sandbox.
const ROOT_DIRS: [&str; 2] = ["/proc/sys/net", "/sysctl/net"];

fn root_dir() -> &'static Path {
    static ROOT_DIR: OnceLock<&str> = OnceLock::new();
    let [usual, elsewhere] = ROOT_DIRS;
    Path::new(ROOT_DIR.get_or_init(|| if Path::new(usual).exists() { usual } else { elsewhere }))
}

/// Whether the kernel has IPv6, which it keeps once it has it.
pub(crate) fn has_ipv6() -> bool {
    static HAS_IPV6: AtomicBool = AtomicBool::new(false);
    if !HAS_IPV6.load(Ordering::Relaxed) {
        HAS_IPV6.store(root_dir().join("ipv6").exists(), Ordering::Relaxed);
    }
    HAS_IPV6.load(Ordering::Relaxed)
}

/// The value without its trailing newline; `None` where the kernel has no such parameter.
pub(crate) fn read(sysctl: &Sysctl) -> Result<Option<String>, KernelError> {
    let text = match fs::read_to_string(path(sysctl)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KernelError::ReadSysctl { sysctl: sysctl.clone(), source });
        }
    };
    Ok(Some(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)))
}

/// Gives the parameter its value, unless it has it: some parameters do more than remember what is written.
pub(crate) fn write(sysctl: &Sysctl, value: &str) -> Result<(), KernelError> {
    if read(sysctl)?.as_deref() == Some(value) {
        return Ok(());
    }
    let set = || {
        let mut file = fs::OpenOptions::new().write(true).open(path(sysctl))?;
        // In one call: the kernel takes what one call brings for the whole value.
        file.write_all(format!("{value}\n").as_bytes())
    };
    set().map_err(|source| KernelError::WriteSysctl {
        sysctl: sysctl.clone(),
        value: value.to_owned(),
        source,
    })
}

/// The links that have parameters of IPv6, in order, without those whose names rootful-net would not give.
pub(crate) fn ipv6_links() -> Result<Vec<InterfaceName>, KernelError> {
    let directory = match fs::read_dir(root_dir().join("ipv6/conf")) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(KernelError::ListSysctls { source }),
    };
    let mut links = Vec::new();
    for entry in directory {
        let entry = entry.map_err(|source| KernelError::ListSysctls { source })?;
        links.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    links.sort_unstable();
    Ok(links)
}

fn path(sysctl: &Sysctl) -> PathBuf {
    root_dir().join(sysctl.path())
}
