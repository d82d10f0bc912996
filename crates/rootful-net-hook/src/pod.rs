//! What a pod is attached as: its name. Its network is that of its infra container, whose own name is made from the
//! pod's id, and another one each time the pod is created.

use rootful_net_core::name::ContainerName;

/// What the names of all infra containers end with.
const SUFFIX: &str = "-infra";
/// With how many digits of its id a pod's infra container is called, unless by `--infra-name`.
const ID_DIGITS: usize = 12;

/// The name that a container is attached under. An infra container is told by its name; the pod's is its host name.
pub(crate) fn attachment_name(container: ContainerName, hostname: Option<&str>) -> ContainerName {
    let pod = hostname.filter(|hostname| is_infra_of(container.as_str(), hostname));
    pod.and_then(|pod| pod.parse().ok()).unwrap_or(container)
}

fn is_infra_of(container: &str, pod: &str) -> bool {
    // Quadlets call it NAME-infra.
    container.strip_suffix(SUFFIX).is_some_and(|name| name == pod || is_id(name))
}

fn is_id(name: &str) -> bool {
    name.len() == ID_DIGITS && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infra_container_is_attached_under_its_pods_name() {
        let cases = [
            ("7a4b1fb4c892-infra", Some("site"), "site"),
            ("systemd-site-infra", Some("systemd-site"), "systemd-site"),
            // Not infra containers, as far as can be told.
            ("web", Some("site"), "web"),
            ("web-infra", Some("site"), "web-infra"),
            ("7a4b1fb4c892", Some("site"), "7a4b1fb4c892"),
            ("7a4b1fb4c89-infra", Some("site"), "7a4b1fb4c89-infra"),
            ("7A4B1FB4C892-infra", Some("site"), "7A4B1FB4C892-infra"),
            // Nothing to be called.
            ("7a4b1fb4c892-infra", None, "7a4b1fb4c892-infra"),
            ("7a4b1fb4c892-infra", Some(""), "7a4b1fb4c892-infra"),
            ("7a4b1fb4c892-infra", Some("a b"), "7a4b1fb4c892-infra"),
        ];
        for (container, hostname, expected) in cases {
            let container: ContainerName = container.parse().expect("a name");
            assert_eq!(
                attachment_name(container.clone(), hostname).as_str(),
                expected,
                "{container}"
            );
        }
    }
}
