//! Asks the caller's podman about containers, and has it initialize one. No shell is involved, and nothing
//! that is handed over can be taken for an option.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rootful_net_core::name::{ContainerName, NameError, quoted};
use rootful_net_core::request::{ContainerId, RequestError};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::Exit;

mod pod;

/// Why podman gave no answer, or a useless one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodmanError {
    #[error(
        "podman is not installed, so containers cannot be found by name; \
         name the container's namespace with --pid or --netns"
    )]
    NotInstalled,
    #[error("cannot run podman")]
    Run(#[source] io::Error),
    #[error(
        "container {container} does not exist, nor does such a pod; see 'podman ps --all --pod'"
    )]
    NoSuchContainer { container: String },
    #[error("podman cannot {task} {kind} {name}: {message}")]
    Failed { task: &'static str, kind: Kind, name: String, message: String },
    #[error("podman's description of {kind} {name} is not understood")]
    Json { kind: Kind, name: String, source: serde_json::Error },
    #[error("podman describes {count} {kind}s instead of {kind} {name}")]
    Count { kind: Kind, name: String, count: usize },
    #[error("podman gives a {kind} an id that is none")]
    Id { kind: Kind, source: RequestError },
    #[error("podman gives a {kind} a name that is none")]
    Name { kind: Kind, source: NameError },
    #[error(
        "pod \"{pod}\" has no infra container, so its containers have no network in common; \
         set up each of them"
    )]
    NoInfra { pod: ContainerName },
}

impl PodmanError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoSuchContainer { .. } => Exit::NotFound,
            Self::NoInfra { .. } => Exit::Conflict,
            Self::NotInstalled
            | Self::Run(_)
            | Self::Failed { .. }
            | Self::Json { .. }
            | Self::Count { .. }
            | Self::Id { .. }
            | Self::Name { .. } => Exit::Failed,
        }
    }
}

/// What podman is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Pod,
}

impl Kind {
    fn command(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.command())
    }
}

/// A container as podman describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) name: ContainerName,
    pub(crate) state: State,
    pub(crate) network: Network,
    pub(crate) hosts: HostsFile,
}

/// Whose `/etc/hosts` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostsFile {
    /// Podman made it for the container.
    Podmans,
    /// It is the image's, or there is none.
    Images,
}

/// Whether a container has a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not yet: it was created and never initialized.
    Created,
    /// It has the namespace of this process.
    Alive { pid: u32 },
    /// Not any more, or not now. Holds podman's word for it.
    Gone { status: String },
}

/// What podman gives a container for a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Nothing: a namespace of its own with only a loopback interface.
    None,
    /// The namespace of another container, by its id.
    Container { id: String },
    /// Something else.
    Other { description: String },
}

/// Asks for the container with this name, id or beginning of an id. A pod is the container that holds its
/// namespaces, and that container is called as the pod is.
pub(crate) fn inspect(name: &str) -> Result<Container, PodmanError> {
    if let Some(json) = described(Kind::Container, name)? {
        let (container, pod) = parse(name, &json)?;
        let Some(pod) = pod else {
            return Ok(container);
        };
        let pod = pod::inspect(&pod)?;
        return Ok(Container { name: pod.name, ..container });
    }
    let pod = pod::inspect(name)?;
    let infra = pod.infra.as_str();
    let json = described(Kind::Container, infra)?.ok_or_else(|| no_such(infra))?;
    let (container, _) = parse(infra, &json)?;
    Ok(Container { name: pod.name, ..container })
}

/// What podman says about a container or pod; nothing where there is none.
fn described(kind: Kind, name: &str) -> Result<Option<Vec<u8>>, PodmanError> {
    let output = podman(&[kind.command(), "inspect", "--format", "json", "--", name])?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    // Every failure of inspect has the exit code 125; that of exists, podman-container-exists(1), is 1 only
    // for a container that is not there.
    match podman(&[kind.command(), "exists", "--", name])?.status.code() {
        Some(1) => Ok(None),
        Some(_) | None => Err(failed("inspect", kind, name, &output)),
    }
}

fn no_such(name: &str) -> PodmanError {
    PodmanError::NoSuchContainer { container: quoted(name) }
}

/// Has a created container initialized and asks for it again.
pub(crate) fn initialize(id: &ContainerId) -> Result<Container, PodmanError> {
    let output = podman(&["init", "--", id.as_str()])?;
    let container = inspect(id.as_str())?;
    match container.state {
        // Somebody else may have been faster, then podman complains about it.
        State::Alive { .. } => Ok(container),
        State::Created | State::Gone { .. } => {
            let name = container.name.as_str();
            Err(failed("initialize", Kind::Container, name, &output))
        }
    }
}

/// A command that runs `program` as root of podman's user namespace, in which every id of the caller's
/// containers is one.
pub(crate) fn unshare(program: &Path) -> Command {
    let mut command = Command::new("podman");
    command.arg("unshare").arg(program);
    command
}

fn podman(arguments: &[&str]) -> Result<Output, PodmanError> {
    let output = Command::new("podman").args(arguments).stdin(Stdio::null()).output();
    output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PodmanError::NotInstalled,
        _ => PodmanError::Run(error),
    })
}

fn failed(task: &'static str, kind: Kind, name: &str, output: &Output) -> PodmanError {
    let stderr = String::from_utf8_lossy(&output.stderr);
    PodmanError::Failed { task, kind, name: quoted(name), message: last_message(&stderr) }
}

/// The last line of podman's stderr, which is where it says what failed, after all warnings.
pub(crate) fn last_message(stderr: &str) -> String {
    let last = stderr.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let last = last.unwrap_or("it does not say why");
    last.strip_prefix("Error: ").unwrap_or(last).to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedContainer {
    id: String,
    name: String,
    state: InspectedState,
    host_config: InspectedHostConfig,
    network_settings: Option<InspectedNetworkSettings>,
    #[serde(default)]
    hosts_path: String,
    #[serde(default)]
    pod: String,
    #[serde(default)]
    is_infra: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    #[serde(default)]
    pid: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHostConfig {
    network_mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedNetworkSettings {
    networks: Option<BTreeMap<String, IgnoredAny>>,
}

/// A container, and the pod whose namespaces it holds, if it does.
fn parse(name: &str, json: &[u8]) -> Result<(Container, Option<String>), PodmanError> {
    let kind = Kind::Container;
    let containers: Vec<InspectedContainer> = serde_json::from_slice(json)
        .map_err(|source| PodmanError::Json { kind, name: quoted(name), source })?;
    let [container] = <[_; 1]>::try_from(containers).map_err(|containers| PodmanError::Count {
        kind,
        name: quoted(name),
        count: containers.len(),
    })?;
    let networks = container.network_settings.and_then(|settings| settings.networks);
    let pod = container.is_infra.then_some(container.pod);
    let id = container.id.parse();
    let name = container.name.parse();
    let container = Container {
        id: id.map_err(|source| PodmanError::Id { kind, source })?,
        name: name.map_err(|source| PodmanError::Name { kind, source })?,
        state: state(container.state),
        network: network(container.host_config.network_mode, networks.unwrap_or_default()),
        hosts: match container.hosts_path.is_empty() {
            true => HostsFile::Images,
            false => HostsFile::Podmans,
        },
    };
    Ok((container, pod))
}

fn state(state: InspectedState) -> State {
    match (state.status.as_str(), state.pid) {
        // Podman before 3.0 says configured where later ones say created, and created where they say
        // initialized.
        ("created" | "configured", 0) => State::Created,
        ("created" | "initialized" | "running" | "paused", pid @ 1..) => State::Alive { pid },
        _ => State::Gone { status: state.status },
    }
}

fn network(mode: String, networks: BTreeMap<String, IgnoredAny>) -> Network {
    if let Some(id) = mode.strip_prefix("container:") {
        return Network::Container { id: id.to_owned() };
    }
    if mode == "none" {
        return Network::None;
    }
    let names: Vec<_> = networks.into_keys().collect();
    let description = if names.is_empty() { mode } else { names.join(", ") };
    Network::Other { description }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "e516d4c90fe72cbf45e19a861a25978254a83c6e74d1ed7abc4b6fa3b185cb9f";

    /// What podman 4.3.1 prints for a created container, shortened by what is not read.
    const CREATED: &str = r#"[
     {
          "Id": "e516d4c90fe72cbf45e19a861a25978254a83c6e74d1ed7abc4b6fa3b185cb9f",
          "Created": "2025-11-23T06:44:02.16711163Z",
          "Path": "/bin/sleep",
          "Args": ["100"],
          "State": {
               "OciVersion": "1.0.2-dev", "Status": "created", "Running": false, "Paused": false,
               "Restarting": false, "OOMKilled": false, "Dead": false, "Pid": 0, "ExitCode": 0, "Error": "",
               "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z",
               "Health": {"Status": "", "FailingStreak": 0, "Log": null}
          },
          "Name": "web",
          "Pod": "",
          "IsInfra": false,
          "NetworkSettings": {"EndpointID": "", "Ports": {}, "SandboxKey": ""},
          "HostConfig": {"CgroupMode": "host", "NetworkMode": "none", "PortBindings": {}}
     }
]"#;

    fn with_state(status: &str, pid: u32) -> Container {
        let json = CREATED
            .replace(r#""Status": "created""#, &format!(r#""Status": "{status}""#))
            .replace(r#""Pid": 0"#, &format!(r#""Pid": {pid}"#));
        parse("web", json.as_bytes()).expect("valid").0
    }

    fn with_network(mode: &str, networks: &str) -> Network {
        let json = CREATED
            .replace(r#""NetworkMode": "none""#, &format!(r#""NetworkMode": "{mode}""#))
            .replace(
                r#""SandboxKey": """#,
                &format!(r#""SandboxKey": "", "Networks": {networks}"#),
            );
        parse("web", json.as_bytes()).expect("valid").0.network
    }

    #[test]
    fn a_created_container_is_read() {
        let expected = Container {
            id: ID.parse().expect("an id"),
            name: "web".parse().expect("a name"),
            state: State::Created,
            network: Network::None,
            hosts: HostsFile::Images,
        };
        let read = parse("web", CREATED.as_bytes()).expect("valid");
        assert_eq!(read, (expected, None));
    }

    #[test]
    fn the_container_that_holds_a_pods_namespaces_is_told_from_its_members() {
        let pod = |infra: &str| {
            let json = CREATED
                .replace(r#""Pod": """#, r#""Pod": "7a4b""#)
                .replace(r#""IsInfra": false"#, infra);
            parse("web", json.as_bytes()).expect("valid").1
        };
        assert_eq!(pod(r#""IsInfra": true"#).as_deref(), Some("7a4b"));
        assert_eq!(pod(r#""IsInfra": false"#), None);
    }

    #[test]
    fn states_say_whether_there_is_a_namespace() {
        let gone = |status: &str| State::Gone { status: status.to_owned() };
        let cases = [
            ("created", 0, State::Created),
            ("configured", 0, State::Created),
            ("created", 7, State::Alive { pid: 7 }),
            ("initialized", 7, State::Alive { pid: 7 }),
            ("running", 7, State::Alive { pid: 7 }),
            ("paused", 7, State::Alive { pid: 7 }),
            ("running", 0, gone("running")),
            ("initialized", 0, gone("initialized")),
            ("exited", 0, gone("exited")),
            ("exited", 7, gone("exited")),
            ("stopped", 7, gone("stopped")),
            ("stopping", 7, gone("stopping")),
            ("removing", 0, gone("removing")),
            ("unknown", 0, gone("unknown")),
        ];
        for (status, pid, expected) in cases {
            assert_eq!(with_state(status, pid).state, expected, "{status} {pid}");
        }
    }

    #[test]
    fn networks_are_told_apart() {
        let other = |description: &str| Network::Other { description: description.to_owned() };
        let cases = [
            ("none", "null", Network::None),
            ("none", "{}", Network::None),
            (&*format!("container:{ID}"), "null", Network::Container { id: ID.to_owned() }),
            ("bridge", r#"{"podman": {"MacAddress": ""}}"#, other("podman")),
            ("bridge", r#"{"b": {}, "a": {}}"#, other("a, b")),
            ("slirp4netns", "null", other("slirp4netns")),
            ("pasta", "{}", other("pasta")),
            ("host", "null", other("host")),
            ("ns:/run/netns/x", "null", other("ns:/run/netns/x")),
        ];
        for (mode, networks, expected) in cases {
            assert_eq!(with_network(mode, networks), expected, "{mode}");
        }
    }

    #[test]
    fn what_is_no_description_of_one_container_is_refused() {
        let two = format!("[{0},{0}]", CREATED.trim_matches(['[', ']', '\n']));
        let cases: &[(&str, &str)] = &[
            ("", "is not understood"),
            ("{}", "is not understood"),
            (r#"[{"Id": "x"}]"#, "is not understood"),
            ("[]", "describes 0 containers"),
            (&two, "describes 2 containers"),
            (&CREATED.replace(ID, "e516"), "an id that is none"),
            (&CREATED.replace(r#""web""#, r#""-x\u001b""#), "a name that is none"),
        ];
        for (json, expected) in cases {
            let error = parse("web", json.as_bytes()).expect_err(json);
            assert!(error.to_string().contains(expected), "{json}: {error}");
            assert_eq!(error.exit().code(), 1);
        }
    }

    #[test]
    fn the_last_line_of_stderr_is_the_message() {
        let cases = [
            (
                "Error: inspecting object: no such container x\n",
                "inspecting object: no such container x",
            ),
            ("WARN[0000] cgroups\nError: boom\n\n", "boom"),
            ("", "it does not say why"),
            ("\n \n", "it does not say why"),
        ];
        for (stderr, message) in cases {
            assert_eq!(last_message(stderr), message);
        }
    }
}
