//! The networks' files: what is configured, what was made on request, and the default network, which is made at the
//! first start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rootful_net_core::catalogue::{Catalogue, DEFAULT_NETWORK, NoFreeSubnet, default_network};
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::name::NetworkName;
use rootful_net_core::network::{Network, NetworkError};
use rootful_net_core::observed::Query;
use rootful_net_kernel::fault::{self, Point};
use rootful_net_kernel::{Kernel, KernelError};

use crate::directories::{CONFIGURATION_DIR, STATE_DIR, VENDOR_DIR, layered_files};
use crate::store::write_atomically;

/// Says why the default network is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DefaultNetworkError {
    /// The host's routes cannot be observed.
    #[error("cannot see which subnets the host routes")]
    Observe(#[from] KernelError),
    /// There is no room.
    #[error(transparent)]
    NoFreeSubnet(#[from] NoFreeSubnet),
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// Reads all networks. One that is wrong is left out, with a log record that says why: the others' containers
/// must not suffer for it.
pub(crate) fn read() -> Catalogue {
    let directories = [VENDOR_DIR, STATE_DIR, CONFIGURATION_DIR];
    let directories = directories.map(|dir| Path::new(dir).join("networks"));
    let mut catalogue = Catalogue::default();
    let files = layered_files(&directories.each_ref().map(PathBuf::as_path), "json");
    let files = files.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read the directories of networks");
        Vec::new()
    });
    for path in files {
        if let Err(error) = add(&mut catalogue, &path) {
            let path = path.display();
            tracing::error!(%path, error = format!("{error:#}"), "network left out");
        }
    }
    catalogue
}

fn add(catalogue: &mut Catalogue, path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let network = Network::from_json(&text).map_err(|error: NetworkError| error)?;
    Ok(catalogue.insert(network)?)
}

/// Makes the default network where there is none, and keeps it.
///
/// # Errors
/// There is no room for it, or it cannot be kept.
pub(crate) fn ensure_default(
    catalogue: &mut Catalogue,
    kernel: &mut Kernel,
    key: &AddressKey,
) -> Result<(), DefaultNetworkError> {
    let name: NetworkName = DEFAULT_NETWORK.parse().expect("the default network's name is one");
    let path = kept_path(&name);
    // A file of that name that was left out stays as it is: it is there to be mended.
    let configured = Path::new(CONFIGURATION_DIR).join("networks/rootful0.json");
    if catalogue.get(&name).is_some() || path.exists() || configured.exists() {
        return Ok(());
    }
    let observed = kernel.observe(&Query { routes: true, ..Query::default() }, None)?;
    let network = default_network(key, &observed.routes)?;
    let subnets: Vec<_> =
        network.subnets().iter().map(|subnet| subnet.subnet().to_string()).collect();
    let _scope = fault::scope("write default network");
    write_atomically(&path, network.to_json().as_bytes(), 0o644)
        .map_err(|source| DefaultNetworkError::Write { path, source })?;
    tracing::info!(network = DEFAULT_NETWORK, subnets = subnets.join(" "), "default network made");
    if let Err(error) = catalogue.insert(network) {
        tracing::error!(%error, "default network left out");
    }
    Ok(())
}

/// A file that is in the way of what is asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It is not ours to remove, and would define the network again.
    #[error(
        "network \"{network}\" is defined in {}: remove that file and restart rootful-netd.service",
        path.display()
    )]
    Configured { network: NetworkName, path: PathBuf },
    /// It is there, and the network is not.
    #[error(
        "there is a file {} already, which is not in use: mend it and restart rootful-netd.service, or remove it",
        path.display()
    )]
    Unused { path: PathBuf },
    /// The disk refuses.
    #[error("cannot {action} {}", path.display())]
    Disk { action: &'static str, path: PathBuf, source: io::Error },
}

/// Keeps a network that is made on request.
///
/// # Errors
/// It cannot be kept, or not where it would be read; there is no file then that was not there.
pub(crate) fn keep(network: &Network) -> Result<(), FileError> {
    let path = kept_path(network.name());
    let configured = configured_path(network.name())?;
    if let Some(path) = configured.or(is_there(&path)?.then(|| path.clone())) {
        return Err(FileError::Unused { path });
    }
    let _scope = fault::scope("write network file");
    write_atomically(&path, network.to_json().as_bytes(), 0o644).map_err(|source| {
        // It may be in place nevertheless.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = path.display();
            tracing::error!(%path, %error, "the file of a network that is not made stays; remove it");
        }
        FileError::Disk { action: "write", path, source }
    })
}

/// Removes what was kept of a network that was made on request.
///
/// # Errors
/// It cannot be removed, or is defined elsewhere.
pub(crate) fn remove(name: &NetworkName) -> Result<(), FileError> {
    if let Some(path) = configured_path(name)? {
        return Err(FileError::Configured { network: name.clone(), path });
    }
    let _scope = fault::scope("remove network file");
    let directory = Path::new(STATE_DIR).join("networks");
    for path in defining(name, &directory)? {
        let removed = fault::point(Point::File, "before").and_then(|()| fs::remove_file(&path));
        removed.map_err(|source| FileError::Disk { action: "remove", path, source })?;
        fault::passage("after");
    }
    if let Err(error) = fs::File::open(&directory).and_then(|directory| directory.sync_all()) {
        let network = name.as_str();
        tracing::error!(network, %error, "a network that was removed may be there again after a power cut");
    }
    Ok(())
}

/// Where a network that is not configured is kept.
fn kept_path(name: &NetworkName) -> PathBuf {
    Path::new(STATE_DIR).join("networks").join(format!("{name}.json"))
}

/// The administrator's or the vendor's file that defines the network, or stands in the place of one of its name.
fn configured_path(name: &NetworkName) -> Result<Option<PathBuf>, FileError> {
    for directory in [CONFIGURATION_DIR, VENDOR_DIR] {
        let directory = Path::new(directory).join("networks");
        let namesake = directory.join(format!("{name}.json"));
        if is_there(&namesake)? {
            return Ok(Some(namesake));
        }
        if let Some(path) = defining(name, &directory)?.into_iter().next() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The files in the directory that define the network; one that cannot be read as any is by its name.
fn defining(name: &NetworkName, directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut files = layered_files(&[directory], "json").map_err(|source| FileError::Disk {
        action: "read",
        path: directory.to_owned(),
        source,
    })?;
    files.retain(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        match Network::from_json(&text) {
            Ok(network) => network.name() == name,
            Err(_) => path.file_stem().is_some_and(|stem| stem == name.as_str()),
        }
    });
    Ok(files)
}

fn is_there(path: &Path) -> Result<bool, FileError> {
    path.try_exists().map_err(|source| FileError::Disk {
        action: "look for",
        path: path.to_owned(),
        source,
    })
}
