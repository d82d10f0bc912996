//! The policies that an administrator puts in force.

use std::fs;

use anyhow::Result;

use crate::random::operation::Policy;

const POLICY_PATH: &str = "/etc/rootful-net/policy.d/50-default.toml";

pub(super) fn write(policy: Policy) -> Result<()> {
    let grant = |who: &str, networks: &str, ports: &str| {
        format!(
            "[[grant]]\n{who}\nnetworks = [{networks}]\nhost_addresses = [\"*\"]\nports = {{ tcp = [\"{ports}\"] }}\n"
        )
    };
    let (members, both) = (r#"groups = ["rootful-net"]"#, r#""rootful0", "second""#);
    let usual = grant(members, both, "1024-65535");
    let text = match policy {
        Policy::Usual => usual,
        Policy::Narrow => grant(members, r#""rootful0""#, "8000-8004"),
        Policy::Open => usual + &grant(r#"users = ["mallory"]"#, both, "1024-65535"),
    };
    Ok(fs::write(POLICY_PATH, text)?)
}
