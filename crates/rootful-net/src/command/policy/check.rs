//! `rootful-net policy check`: whether a container could be set up, and which grant says so.

use clap::Args;
use rootful_net_core::catalogue::DEFAULT_NETWORK;
use rootful_net_core::name::Alias;
use rootful_net_core::publish::Publish;
use rootful_net_core::request::NetworkRequest;
use rootful_net_dbus::{CheckOptions, FindingProperties, PolicyUser};
use serde::Serialize;

use crate::cli::{Format, text_of};
use crate::error::Error;
use crate::output;
use crate::service::Service;

/// Say whether a container could be set up so, and which grants decide
///
/// Each line is one thing that the set-up needs: whether it is granted, denied, or granted if polkit consents,
/// and the file and number of the grant. Exit code 3 where it is denied. Nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The user to ask about, by name or uid; only root may ask about others
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// A network to join, as in setup; the default network without it
    #[arg(long = "network", value_name = "NETWORK", value_parser = text_of::<NetworkRequest>)]
    networks: Vec<String>,

    /// A port to publish, as in setup
    #[arg(short, long, value_name = "PUBLISH", value_parser = text_of::<Publish>)]
    publish: Vec<String>,

    /// A further name on every network
    #[arg(long = "network-alias", value_name = "NAME", value_parser = text_of::<Alias>)]
    aliases: Vec<String>,

    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    allowed: bool,
    findings: &'a [FindingProperties],
}

/// The policy denies what was asked about.
#[derive(Debug, thiserror::Error)]
#[error("the policy denies it")]
pub(crate) struct Denied {
    /// What was found out all the same.
    pub(crate) output: String,
}

impl Check {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let Self { user, mut networks, publish, aliases, format } = self;
        if networks.is_empty() {
            networks.push(DEFAULT_NETWORK.to_owned());
        }
        let user = user.as_deref().map(PolicyUser::from_text);
        let options = CheckOptions { user, aliases }.to_dictionary();
        let service = Service::connect().await?;
        let manager = service.manager().await?;
        let (allowed, findings) = manager.check_policy(&networks, &publish, &options).await?;
        let output = match format {
            Format::Json => output::json(&Answer { allowed, findings: &findings }),
            Format::Table => table(&findings),
        };
        match allowed {
            true => Ok(output),
            false => Err(Denied { output }.into()),
        }
    }
}

fn table(findings: &[FindingProperties]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            let why = [finding.grant.as_str(), finding.reason.as_str()];
            let why: Vec<_> = why.into_iter().filter(|text| !text.is_empty()).collect();
            [finding.outcome.clone(), finding.subject.clone(), why.join(": ")]
        })
        .collect();
    output::table(["OUTCOME", "NEEDED", "BECAUSE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_needed_and_which_grant_decides() {
        let finding = |outcome: &str, subject: &str, grant: &str, reason: &str| FindingProperties {
            subject: subject.to_owned(),
            outcome: outcome.to_owned(),
            grant: grant.to_owned(),
            reason: reason.to_owned(),
        };
        let findings = [
            finding("granted", "network rootful0", "50.toml, grant 1", ""),
            finding("granted", "quota of attachments", "50.toml, grant 1", "up to 64"),
            finding("denied", "port 80/tcp", "", "not\u{1b} granted"),
        ];
        let expected = "\
OUTCOME  NEEDED                BECAUSE
granted  network rootful0      50.toml, grant 1
granted  quota of attachments  50.toml, grant 1: up to 64
denied   port 80/tcp           not\\u{1b} granted
";
        assert_eq!(table(&findings), expected);
    }
}
