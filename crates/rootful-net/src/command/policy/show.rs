//! `rootful-net policy show`: the grants and limits that are in force.

use clap::Args;
use rootful_net_dbus::{GrantProperties, PolicyUser, StatusOptions};
use serde::Serialize;

use crate::cli::Format;
use crate::error::Error;
use crate::output;
use crate::service::Service;

/// Show the grants that are in force
///
/// Everybody sees the grants for themselves, root sees all. It is what the service read when it was started or
/// reloaded last, not what the files say now.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The user whose grants to show, by name or uid; only root may ask about others
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// How to print the grants
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Answer {
    in_force: bool,
    problem: String,
    grants: Vec<GrantProperties>,
    limits: Vec<Limit>,
}

#[derive(Debug, Serialize)]
struct Limit {
    resource: String,
    in_use: u32,
    limit: u32,
}

impl Show {
    pub(crate) async fn run(self) -> Result<String, Error> {
        let user = self.user.as_deref().map(PolicyUser::from_text);
        let options = StatusOptions { user }.to_dictionary();
        let service = Service::connect().await?;
        let (problem, grants, limits) = service.manager().await?.show_policy(&options).await?;
        let limits = limits.into_iter();
        let answer = Answer {
            in_force: problem.is_empty(),
            problem,
            grants,
            limits: limits
                .map(|(resource, in_use, limit)| Limit { resource, in_use, limit })
                .collect(),
        };
        Ok(match self.format {
            Format::Json => output::json(&answer),
            Format::Table => text(&answer),
        })
    }
}

fn text(answer: &Answer) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(&output::printable(text));
        out.push('\n');
    };
    if !answer.in_force {
        line(&format!("no policy is in force, nothing is granted: {}", answer.problem));
    } else if answer.grants.is_empty() {
        line("nothing is granted");
    }
    for grant in &answer.grants {
        line(&grant.source);
        let authorize = if grant.polkit { "polkit" } else { "" };
        let also = [(grant.static_addresses, "addresses of choice"), (grant.aliases, "aliases")];
        let also: Vec<_> = also.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        let quota: Vec<_> =
            grant.quota.iter().map(|(resource, limit)| format!("{limit} {resource}")).collect();
        let fields = [
            ("users", grant.users.join(", ")),
            ("groups", grant.groups.join(", ")),
            ("networks", grant.networks.join(", ")),
            ("ports", grant.ports.join(", ")),
            ("host addresses", grant.host_addresses.join(", ")),
            ("also", also.join(", ")),
            ("quota", quota.join(", ")),
            ("authorize", authorize.to_owned()),
        ];
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            line(&format!("  {name}: {value}"));
        }
    }
    let limits = answer.limits.iter();
    let limits: Vec<_> = limits
        .map(|limit| format!("{} of {} {}", limit.in_use, limit.limit, limit.resource))
        .collect();
    if !limits.is_empty() {
        line(&format!("in use by all users: {}", limits.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_a_block_without_what_it_does_not_say() {
        let grant = GrantProperties {
            source: "50.toml, grant 1".to_owned(),
            groups: vec!["web".to_owned(), "77".to_owned()],
            networks: vec!["rootful0".to_owned()],
            ports: vec!["80/tcp".to_owned(), "443/tcp".to_owned()],
            host_addresses: vec!["*".to_owned()],
            aliases: true,
            polkit: true,
            quota: [("ports".to_owned(), 9)].into(),
            ..GrantProperties::default()
        };
        let limits = vec![Limit { resource: "ports".to_owned(), in_use: 2, limit: 9 }];
        let answer = Answer { in_force: true, problem: String::new(), grants: vec![grant], limits };
        let expected = "\
50.toml, grant 1
  groups: web, 77
  networks: rootful0
  ports: 80/tcp, 443/tcp
  host addresses: *
  also: aliases
  quota: 9 ports
  authorize: polkit
in use by all users: 2 of 9 ports
";
        assert_eq!(text(&answer), expected);
    }

    #[test]
    fn a_policy_that_is_not_in_force_says_so_first() {
        let problem = "50.toml: line 3: wrong".to_owned();
        let answer = Answer { in_force: false, problem, grants: Vec::new(), limits: Vec::new() };
        let expected = "no policy is in force, nothing is granted: 50.toml: line 3: wrong\n";
        assert_eq!(text(&answer), expected);
    }
}
