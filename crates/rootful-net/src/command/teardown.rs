//! `rootful-net teardown`: detaches. It must work when the container is gone, and does not need podman.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use clap::Args;
use rootful_net_core::name::ContainerName;
use rootful_net_core::request::RequestError;
use rootful_net_dbus::{DetachOptions, Error as WireError};

use crate::attached::{self, LookupError};
use crate::cidfile;
use crate::error::Error;
use crate::namespace::{self, NamespaceError};
use crate::output;
use crate::service::Service;

/// Detach a container from all networks
///
/// It may have stopped or be gone. To detach what is not attached is no error.
#[derive(Debug, Args)]
#[group(id = "teardown-target", required = true, multiple = false)]
pub(crate) struct Teardown {
    /// The container's name, or 12 or more digits of its id
    container: Option<ContainerName>,

    /// The file that podman wrote the container's id to
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,

    /// A process in the container
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// A network namespace in the file system
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,

    /// The name that the container was attached under, never an id
    #[arg(long, value_name = "NAME")]
    name: Option<ContainerName>,

    /// Detach all of the caller's containers, for root everybody's, and print their names
    #[arg(long)]
    all: bool,
}

impl Teardown {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let Self { container, cidfile, pid, netns, name, all: _ } = self;
        match (container, cidfile, pid, netns, name) {
            (Some(container), ..) => detach_container(&container).await,
            (_, Some(path), ..) => match cidfile::read(&path) {
                Ok(id) => detach_id(&Service::connect().await?, id.as_str()).await,
                Err(error) if error.is_gone() => Ok(String::new()),
                Err(error) => Err(error.into()),
            },
            (_, _, Some(pid), ..) => detach_namespace(namespace::of_process(pid)).await,
            (_, _, _, Some(path), _) => detach_namespace(namespace::at_path(&path)).await,
            (_, _, _, _, Some(name)) => {
                detach_name(&Service::connect().await?, &name).await?;
                Ok(String::new())
            }
            (None, None, None, None, None) => detach_all().await,
        }
    }
}

async fn detach_container(container: &ContainerName) -> Result<String, Error> {
    let service = Service::connect().await?;
    let found = detach_name(&service, container).await?;
    if !found && attached::is_id(container.as_str()) {
        return detach_id(&service, container.as_str()).await;
    }
    Ok(String::new())
}

async fn detach_name(service: &Service, name: &ContainerName) -> Result<bool, Error> {
    Ok(service.detach(name.as_str(), DetachOptions::default()).await?)
}

async fn detach_id(service: &Service, digits: &str) -> Result<String, Error> {
    let attachments = attached::visible(service.attachments().await?, attached::own_uid());
    let mut found = attached::with_id(attachments, digits);
    if found.len() > 1 {
        return Err(LookupError::Ambiguous {
            container: output::printable(digits),
            count: found.len(),
        }
        .into());
    }
    if let Some((_, attachment)) = found.pop() {
        let owner = (attachment.owner != attached::own_uid()).then_some(attachment.owner);
        let container_id = attachment.container_id.parse();
        let container_id = Some(
            container_id.map_err(|error: RequestError| WireError::Internal(error.to_string()))?,
        );
        service.detach_all(DetachOptions { owner, container_id }).await?;
    }
    Ok(String::new())
}

/// A namespace that is gone took its attachment with it.
async fn detach_namespace(namespace: Result<OwnedFd, NamespaceError>) -> Result<String, Error> {
    let namespace = match namespace {
        Ok(namespace) => namespace,
        Err(error) if error.is_gone() => return Ok(String::new()),
        Err(error) => return Err(error.into()),
    };
    let service = Service::connect().await?;
    service.detach_namespace(namespace.as_fd()).await?;
    Ok(String::new())
}

async fn detach_all() -> Result<String, Error> {
    let service = Service::connect().await?;
    let uid = attached::own_uid();
    let owners: BTreeSet<u32> = match uid {
        0 => service.attachments().await?.into_iter().map(|(_, found)| found.owner).collect(),
        uid => [uid].into(),
    };
    let mut names = Vec::new();
    for owner in owners {
        let owner = (owner != uid).then_some(owner);
        names.extend(service.detach_all(DetachOptions { owner, container_id: None }).await?);
    }
    Ok(names.iter().map(|name| output::printable(name) + "\n").collect())
}
