//! `rootful-net doctor`: whether everything is there that containers on bridges need, as far as the user who
//! asks can see it.

use std::path::Path;

use clap::Args;
use rootful_net_core::dns;
use rootful_net_dbus::NetworkProperties;

use crate::error::Error;
use crate::service::{Refusal, Service, ServiceError};

/// Where podman looks for hooks without configuration.
const HOOKS_DIR: &str = "/usr/share/containers/oci/hooks.d";

/// Look for what is missing or damaged
///
/// Prints a line for each thing that was looked at: "ok", or "warning" with what does not work for want of it. For
/// root, and whoever polkit lets manage, the kernel is compared with what is attached as well, which the service also
/// does once a second. A service that does not answer is an error.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Repair what is damaged; not for other users than root without polkit's consent
    #[arg(long)]
    repair: bool,
}

enum Finding {
    Ok(String),
    Repaired(String),
    Warning(String),
}

impl Doctor {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let service = Service::connect().await?;
        let manager = service.manager().await?;
        let version = manager
            .version()
            .await
            .map_err(|error| ServiceError::from(rootful_net_dbus::Error::from(error)))?;
        let networks = service.networks().await?;
        let mut findings = vec![Finding::Ok(format!("the service answers, version {version}"))];
        if networks.is_empty() {
            let text = "there is no network; the log of rootful-netd.service says why";
            findings.push(Finding::Warning(text.to_owned()));
        }
        findings.extend(networks.iter().map(names));
        findings.push(name_server(dns::PROGRAM_DIRS.map(Path::new)));
        findings.push(hooks(Path::new(HOOKS_DIR)));
        findings.extend(self.damage(&service).await?);
        Ok(findings.iter().map(line).collect())
    }

    /// Compares, or repairs; only who insists is told that they may not.
    async fn damage(&self, service: &Service) -> Result<Vec<Finding>, Error> {
        match (service.repair(!self.repair).await, self.repair) {
            (Ok(steps), _) if steps.is_empty() => {
                Ok(vec![Finding::Ok("the kernel holds what is attached".to_owned())])
            }
            (Ok(steps), true) => Ok(steps.into_iter().map(repaired).collect()),
            (Ok(steps), false) => Ok(steps
                .iter()
                .map(|step| Finding::Warning(format!("to repair: {step}")))
                .collect()),
            (Err(ServiceError::Refused { refusal: Refusal::Denied, .. }), false) => Ok(Vec::new()),
            (Err(error), _) => Err(error.into()),
        }
    }
}

fn repaired(step: String) -> Finding {
    match step.contains(": failed: ") {
        true => Finding::Warning(step),
        false => Finding::Repaired(step),
    }
}

fn line(finding: &Finding) -> String {
    match finding {
        Finding::Ok(text) => format!("ok       {text}\n"),
        Finding::Repaired(text) => format!("repaired {text}\n"),
        Finding::Warning(text) => format!("warning  {text}\n"),
    }
}

fn names(network: &NetworkProperties) -> Finding {
    let NetworkProperties { name, name_servers, .. } = network;
    if name_servers.is_empty() {
        Finding::Warning(format!(
            "network \"{name}\" has no names: containers find each other by address only"
        ))
    } else {
        Finding::Ok(format!("network \"{name}\" has names, at {}", name_servers.join(" and ")))
    }
}

fn name_server<const N: usize>(dirs: [&Path; N]) -> Finding {
    if dirs.iter().any(|dir| dir.join("aardvark-dns").exists()) {
        Finding::Ok("aardvark-dns is installed".to_owned())
    } else {
        let text =
            "aardvark-dns is not installed: no network has names; install podman's package of it";
        Finding::Warning(text.to_owned())
    }
}

fn hooks(dir: &Path) -> Finding {
    let stages = ["precreate", "attach", "detach"];
    let is_missing = |stage: &str| !dir.join(format!("50-rootful-net-{stage}.json")).exists();
    match stages.into_iter().find(|stage| is_missing(stage)) {
        None => Finding::Ok("podman finds the hooks: annotations work".to_owned()),
        Some(stage) => Finding::Warning(format!(
            "the hook definition 50-rootful-net-{stage}.json is not in {}: annotations do nothing",
            dir.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path();
        assert!(line(&name_server([dir])).starts_with("warning  aardvark-dns is not installed"));
        std::fs::write(dir.join("aardvark-dns"), "").expect("a file");
        assert!(line(&name_server([dir])).starts_with("ok "));
        for stage in ["precreate", "attach"] {
            std::fs::write(dir.join(format!("50-rootful-net-{stage}.json")), "").expect("a file");
        }
        assert!(line(&hooks(dir)).contains("50-rootful-net-detach.json"));
        std::fs::write(dir.join("50-rootful-net-detach.json"), "").expect("a file");
        assert!(line(&hooks(dir)).starts_with("ok "));
    }
}
