//! Asks the caller's podman about pods. A pod has no network of its own: its infra container has.

use rootful_net_core::name::{ContainerName, quoted};
use rootful_net_core::request::ContainerId;
use serde::Deserialize;

use super::{Kind, PodmanError, described, no_such};

/// A pod whose members share namespaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: ContainerName,
    pub(super) infra: ContainerId,
}

/// Asks for the pod with this name, id or beginning of an id.
pub(super) fn inspect(name: &str) -> Result<Pod, PodmanError> {
    let json = described(Kind::Pod, name)?.ok_or_else(|| no_such(name))?;
    parse(name, &json)
}

/// Podman before 5.0 describes the one pod, later ones a list of all that were asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Inspected {
    One(InspectedPod),
    All(Vec<InspectedPod>),
}

#[derive(Deserialize)]
struct InspectedPod {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "InfraContainerID", default)]
    infra: String,
}

fn parse(name: &str, json: &[u8]) -> Result<Pod, PodmanError> {
    let kind = Kind::Pod;
    let inspected = serde_json::from_slice(json).map_err(|source| PodmanError::Json {
        kind,
        name: quoted(name),
        source,
    })?;
    let pods = match inspected {
        Inspected::One(pod) => vec![pod],
        Inspected::All(pods) => pods,
    };
    let [pod] = <[_; 1]>::try_from(pods).map_err(|pods| PodmanError::Count {
        kind,
        name: quoted(name),
        count: pods.len(),
    })?;
    let name = pod.name.parse();
    let name = name.map_err(|source| PodmanError::Name { kind, source })?;
    if pod.infra.is_empty() {
        return Err(PodmanError::NoInfra { pod: name });
    }
    let infra = pod.infra.parse();
    let infra = infra.map_err(|source| PodmanError::Id { kind, source })?;
    Ok(Pod { name, infra })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What podman 5.4.2 prints, shortened by what is not read.
    const SITE: &str = r#"{
          "Id": "19d44dedae90c4f304bfc14d068cb1532625b5fd277b18797b46b06a9748ad91",
          "Name": "site",
          "InfraContainerID": "f81807a35c3aba3c78c84acac9a320d0a598f1c25d7a3b9ffcca7344c07e9ebb",
          "InfraConfig": {"HostNetwork": false, "Networks": null}
     }"#;
    const INFRA: &str = "f81807a35c3aba3c78c84acac9a320d0a598f1c25d7a3b9ffcca7344c07e9ebb";

    #[test]
    fn a_pod_is_read_from_a_list_and_by_itself() {
        for json in [SITE.to_owned(), format!("[{SITE}]")] {
            let expected =
                Pod { name: "site".parse().expect("a name"), infra: INFRA.parse().expect("an id") };
            assert_eq!(parse("site", json.as_bytes()).expect("valid"), expected);
        }
    }

    #[test]
    fn what_is_no_description_of_one_pod_with_a_network_is_refused() {
        let two = format!("[{SITE},{SITE}]");
        let cases: &[(&str, i32, &str)] = &[
            ("", 1, "description of pod \"site\" is not understood"),
            ("[]", 1, "describes 0 pods"),
            (&two, 1, "describes 2 pods"),
            (&SITE.replace(INFRA, ""), 5, "pod \"site\" has no infra container"),
            (&SITE.replace(INFRA, "f818"), 1, "gives a pod an id that is none"),
            (&SITE.replace("\"site\"", "\"-x\""), 1, "gives a pod a name that is none"),
        ];
        for (json, code, expected) in cases {
            let error = parse("site", json.as_bytes()).expect_err(json);
            assert!(error.to_string().contains(expected), "{json}: {error}");
            assert_eq!(i32::from(error.exit().code()), *code);
        }
    }
}
