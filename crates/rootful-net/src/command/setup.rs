//! `rootful-net setup`: attaches a container. It finds the container's namespace and asks the service.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use clap::Args;
use rootful_net_core::name::{Alias, ContainerName};
use rootful_net_core::publish::Publish;
use rootful_net_core::request::{ContainerId, NetworkRequest};
use rootful_net_dbus::AttachMessage;

use crate::cidfile;
use crate::cli::{Format, dns_server, text_of};
use crate::command::ps;
use crate::error::{Error, Exit};
use crate::namespace;
use crate::output;
use crate::podman::{self, Container, HostsFile, Network, State};
use crate::resolver::Files;
use crate::service::Service;

/// Attach a container to networks and publish its ports
///
/// The container must have been created with --network=none. Where it was only created, podman initializes
/// it first; a running one is attached as it is. The same setup again changes nothing and succeeds.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    #[command(flatten)]
    target: Target,

    /// Attach under this name instead of the container's own
    #[arg(long, value_name = "NAME")]
    name: Option<ContainerName>,

    /// Attach to this network; may be repeated. Options: ip, mac, alias, interface_name
    #[arg(
        long = "network",
        value_name = "NET[:OPTION=VALUE,…]",
        default_value = "rootful0",
        value_parser = text_of::<NetworkRequest>
    )]
    networks: Vec<String>,

    /// Publish a port, [[ip:][hostPort[-end]]:]containerPort[-end][/protocol]; may be repeated
    #[arg(short, long, value_name = "PUBLISH", value_parser = text_of::<Publish>)]
    publish: Vec<String>,

    /// A further name of the container on every network; may be repeated
    #[arg(long = "network-alias", value_name = "NAME", value_parser = text_of::<Alias>)]
    aliases: Vec<String>,

    /// A DNS server instead of the networks' own; may be repeated
    #[arg(long, value_name = "IP", value_parser = dns_server)]
    dns: Vec<String>,

    /// Replace what the container is attached to
    #[arg(long)]
    replace: bool,

    /// Print what would be done and change nothing
    #[arg(long, conflicts_with = "format")]
    dry_run: bool,

    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[group(id = "setup-target", required = true, multiple = false)]
struct Target {
    /// The name or id of the container, or of a pod
    container: Option<ContainerName>,

    /// The file that podman wrote the container's id to
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,

    /// A process in the container; podman is not asked
    #[arg(long, requires = "name", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// A network namespace in the file system; podman is not asked
    #[arg(long, value_name = "PATH", requires = "name")]
    netns: Option<PathBuf>,
}

/// Why a container cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error(
        "container \"{name}\" is not initialized yet, and a dry run does not initialize it; \
         run 'podman init {name}' first"
    )]
    NotInitialized { name: ContainerName },
    #[error(
        "container \"{name}\" has no network namespace, its state is \"{status}\"; \
         run 'podman init {name}' or 'podman start {name}' first"
    )]
    NotAlive { name: ContainerName, status: String },
    #[error(
        "container \"{name}\" already has network \"{network}\"; \
         create it with --network=none to have it attached"
    )]
    OtherNetwork { name: ContainerName, network: String },
    #[error(
        "container \"{name}\" shares the network namespace of container {id}; \
         set up that one: 'rootful-net setup {id}'"
    )]
    SharedNamespace { name: ContainerName, id: String },
}

impl ContainerError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotInitialized { .. } | Self::NotAlive { .. } => Exit::NotInitialized,
            Self::OtherNetwork { .. } | Self::SharedNamespace { .. } => Exit::Conflict,
        }
    }
}

/// Where a container's namespace is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// It is that of a process.
    Process(u32),
    /// A file stands for it.
    File(PathBuf),
    /// There is none before podman initializes the container.
    AfterInit(ContainerName, ContainerId),
}

/// A container that can be attached.
#[derive(Debug, PartialEq, Eq)]
struct Located {
    name: ContainerName,
    id: Option<ContainerId>,
    place: Place,
    hosts: HostsFile,
}

impl Setup {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let located = self.locate()?;
        let message = self.message(&located);
        // Here, too, so that a container is not initialized for a request that cannot be.
        message.parse()?;
        let service = Service::connect().await?;
        if self.dry_run {
            return plan(&service, &message, &located.place).await;
        }
        let located = initialized(located)?;
        let namespace = existing(&located.place)?;
        let path = service.attach(namespace.as_fd(), &message).await?;
        let attachment = service.attachment(&path).await?;
        if let (Place::Process(pid), Some(_)) = (&located.place, &located.id) {
            let files = Files::new(&service, &attachment, located.hosts).await?;
            if let Err(error) = files.write(*pid) {
                output::warning(&error);
            }
        }
        Ok(match self.format {
            Format::Json => output::json(&attachment),
            Format::Table => ps::table(&[attachment]),
        })
    }

    fn locate(&self) -> Result<Located, Error> {
        let Target { container, cidfile, pid, netns } = &self.target;
        let container = match (container, cidfile) {
            (Some(container), _) => podman::inspect(container.as_str())?,
            (None, Some(path)) => podman::inspect(cidfile::read(path)?.as_str())?,
            (None, None) => {
                let place = match (pid, netns) {
                    (Some(pid), _) => Place::Process(*pid),
                    (None, netns) => {
                        Place::File(netns.clone().expect("clap requires one of the group"))
                    }
                };
                let name = self.name.clone().expect("clap requires a name with --pid and --netns");
                let hosts = HostsFile::Images;
                return Ok(Located { name, id: None, place, hosts });
            }
        };
        let located = locate(container)?;
        let name = self.name.clone().unwrap_or(located.name);
        Ok(Located { name, ..located })
    }

    fn message(&self, located: &Located) -> AttachMessage {
        AttachMessage {
            name: located.name.to_string(),
            networks: self.networks.clone(),
            publish: self.publish.clone(),
            container_id: located.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            aliases: self.aliases.clone(),
            dns: self.dns.clone(),
            replace: self.replace,
        }
    }
}

/// Says where the namespace of a container is, or why it cannot be attached.
fn locate(container: Container) -> Result<Located, ContainerError> {
    let Container { id, name, state, network, hosts } = container;
    match network {
        Network::None => {}
        Network::Container { id } => {
            // As many digits as podman prints.
            let id = id.chars().take(12).collect();
            return Err(ContainerError::SharedNamespace { name, id });
        }
        Network::Other { description } => {
            return Err(ContainerError::OtherNetwork { name, network: description });
        }
    }
    let place = match state {
        State::Alive { pid } => Place::Process(pid),
        State::Created => Place::AfterInit(name.clone(), id.clone()),
        State::Gone { status } => return Err(ContainerError::NotAlive { name, status }),
    };
    Ok(Located { name, id: Some(id), place, hosts })
}

/// Has podman make the namespace where there is none yet.
fn initialized(located: Located) -> Result<Located, Error> {
    match &located.place {
        Place::AfterInit(_, id) => {
            let initialized = locate(podman::initialize(id)?)?;
            Ok(Located { name: located.name, ..initialized })
        }
        Place::Process(_) | Place::File(_) => Ok(located),
    }
}

/// Opens the namespace where there is one.
fn existing(place: &Place) -> Result<OwnedFd, Error> {
    match place {
        Place::Process(pid) => Ok(namespace::of_process(*pid)?),
        Place::File(path) => Ok(namespace::at_path(path)?),
        Place::AfterInit(name, _) => {
            Err(ContainerError::NotInitialized { name: name.clone() }.into())
        }
    }
}

async fn plan(service: &Service, message: &AttachMessage, place: &Place) -> Result<String, Error> {
    let namespace = existing(place)?;
    let plan = service.plan(namespace.as_fd(), message).await?;
    Ok(plan.lines().map(|line| output::printable(line) + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "e516d4c90fe72cbf45e19a861a25978254a83c6e74d1ed7abc4b6fa3b185cb9f";

    fn container(state: State, network: Network) -> Container {
        Container {
            id: ID.parse().expect("an id"),
            name: "web".parse().expect("a name"),
            state,
            network,
            hosts: HostsFile::Podmans,
        }
    }

    #[test]
    fn a_container_without_network_is_located_or_initialized_first() {
        let name: ContainerName = "web".parse().expect("a name");
        let id: ContainerId = ID.parse().expect("an id");
        let cases = [
            (State::Alive { pid: 7 }, Place::Process(7)),
            (State::Created, Place::AfterInit(name.clone(), id.clone())),
        ];
        for (state, place) in cases {
            let located = locate(container(state, Network::None)).expect("attachable");
            assert_eq!(
                located,
                Located {
                    name: name.clone(),
                    id: Some(id.clone()),
                    place,
                    hosts: HostsFile::Podmans,
                }
            );
        }
    }

    #[test]
    fn other_containers_are_refused_with_what_to_do() {
        let other = Network::Other { description: "podman".to_owned() };
        let shared = Network::Container { id: ID.to_owned() };
        let gone = State::Gone { status: "exited".to_owned() };
        let cases = [
            (State::Created, other.clone(), 5, "--network=none"),
            (State::Alive { pid: 7 }, other, 5, "already has network \"podman\""),
            (State::Alive { pid: 7 }, shared, 5, "'rootful-net setup e516d4c90fe7'"),
            (gone, Network::None, 7, "'podman start web'"),
        ];
        for (state, network, code, text) in cases {
            let error = locate(container(state, network)).expect_err("refused");
            assert_eq!(error.exit().code(), code, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_dry_run_does_not_initialize() {
        let located = locate(container(State::Created, Network::None)).expect("attachable");
        let error = existing(&located.place).expect_err("not initialized");
        assert_eq!(error.exit().code(), 7);
        assert!(error.to_string().contains("run 'podman init web' first"), "{error}");
    }
}
