//! The networks' files: what is configured, and the default network, which is made at the first start.

use std::path::{Path, PathBuf};

use rootful_net_core::catalogue::{Catalogue, DEFAULT_NETWORK, NoFreeSubnet, default_network};
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::name::NetworkName;
use rootful_net_core::network::{Network, NetworkError};
use rootful_net_core::observed::Query;
use rootful_net_kernel::{Kernel, KernelError, fault};

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
    let path = Path::new(STATE_DIR).join("networks").join(format!("{DEFAULT_NETWORK}.json"));
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
