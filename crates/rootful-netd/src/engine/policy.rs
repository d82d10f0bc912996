//! The policy as the engine has it: what is in force, how it is read again, and what it says when asked.

use rootful_net_core::attachment::Holder;
use rootful_net_core::policy::{
    self, Authorize, Caller, Finding, Grant, Outcome, Policy, Resource, Subject,
};
use rootful_net_core::request::AttachRequest;
use rootful_net_dbus::{Error, FindingProperties, GrantProperties, Result};

use super::Engine;
use crate::error::chain;
use crate::policy_files;

/// The policy that decides now.
#[derive(Debug)]
pub(super) struct PolicyInForce {
    policy: Policy,
    /// Why nothing is granted to anybody, where that is so.
    problem: Option<String>,
    generation: u64,
}

impl PolicyInForce {
    /// Reads the policy. One that cannot be read grants nothing; what is attached already stays.
    pub(super) fn read() -> Self {
        match policy_files::read() {
            Ok(policy) => Self { policy, problem: None, generation: 0 },
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "no policy is in force, nobody but root is granted anything: {error}"
                );
                Self { policy: Policy::default(), problem: Some(error), generation: 0 }
            }
        }
    }

    /// The policy that decides on what this caller asks.
    pub(super) fn of(&self, caller: &Caller) -> Result<&Policy> {
        match (&self.problem, caller.is_root()) {
            (Some(_), false) => Err(Error::Unavailable(
                "no policy is in force, so nothing is granted: a policy file is wrong; an administrator finds which in the log of rootful-netd, and what is in force with 'rootful-net policy show'".to_owned(),
            )),
            (Some(_), true) | (None, _) => Ok(&self.policy),
        }
    }

    /// Grows with every change.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

/// What the policy says of a request.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Whether it is allowed, once polkit consents where it is asked.
    pub(crate) allowed: bool,
    /// One thing after the other.
    pub(crate) findings: Vec<FindingProperties>,
}

/// What is in force for a user.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Why nothing is granted to anybody; empty where a policy is in force.
    pub(crate) problem: String,
    /// The grants.
    pub(crate) grants: Vec<GrantProperties>,
    /// The limits for all users together, and how much of them is in use.
    pub(crate) limits: Vec<(String, u32, u32)>,
}

impl Engine {
    /// Reads the policy again. What is wrong leaves the old one in force.
    pub(super) fn reload(&mut self) -> Result<()> {
        let read = tokio::task::block_in_place(policy_files::read);
        match read {
            Ok(policy) => {
                let generation = self.policy.generation + 1;
                let grants = policy.grants().len();
                self.policy = PolicyInForce { policy, problem: None, generation };
                tracing::info!(grants, "policy read again");
                Ok(())
            }
            Err(error) => {
                let error = chain(&error);
                let in_force = match self.policy.problem {
                    Some(_) => "none",
                    None => "the one from before",
                };
                tracing::error!(
                    error,
                    in_force,
                    "the policy is wrong and is not put in force: {error}"
                );
                Err(Error::InvalidArgument(format!(
                    "the policy is not put in force: {error}; in force is {in_force}"
                )))
            }
        }
    }

    /// Says what the policy says of a request of this caller's, for a container that is not attached yet.
    pub(super) fn check(&self, caller: &Caller, request: &AttachRequest) -> Checked {
        let policy = match self.policy.of(caller) {
            Ok(policy) => policy,
            Err(error) => {
                let finding = FindingProperties {
                    subject: "policy".to_owned(),
                    outcome: "denied".to_owned(),
                    grant: String::new(),
                    reason: error.to_string(),
                };
                return Checked { allowed: false, findings: vec![finding] };
            }
        };
        let holder = Holder { owner: caller.uid, name: request.name.clone() };
        let usage = self.ledger.usage_beside(&holder);
        let mut allowed = true;
        let mut findings: Vec<FindingProperties> = Vec::new();
        let mut left_out = false;
        for finding in policy::examine(policy, caller, usage, request) {
            allowed &= !matches!(finding.outcome, Outcome::Denied(_));
            left_out = findings.len() >= MAX_FINDINGS;
            match left_out {
                // The others can make it no worse, and everybody waits for it.
                true if !allowed => break,
                true => {}
                false => findings.push(described(&finding)),
            }
        }
        if left_out {
            findings.push(FindingProperties {
                subject: "and more".to_owned(),
                outcome: if allowed { "granted" } else { "denied" }.to_owned(),
                ..FindingProperties::default()
            });
        }
        if caller.is_root() {
            findings.push(FindingProperties {
                subject: "everything".to_owned(),
                outcome: "granted".to_owned(),
                grant: String::new(),
                reason: "root needs no grant".to_owned(),
            });
        }
        Checked { allowed, findings }
    }

    /// Says what is in force for this user; for root, what is in force for anybody.
    pub(super) fn show(&self, caller: &Caller) -> Shown {
        let PolicyInForce { policy, problem, .. } = &self.policy;
        let problem = match (problem, caller.is_root()) {
            (None, _) => String::new(),
            (Some(problem), true) => problem.clone(),
            (Some(_), false) => {
                "a policy file is wrong; the log of rootful-netd says which".to_owned()
            }
        };
        let is_shown = |grant: &&Grant| caller.is_root() || grant.is_for(caller);
        let grants = policy.grants().iter().filter(is_shown).map(grant_properties).collect();
        let in_use = self.ledger.in_use();
        let limits = Resource::ALL.into_iter().filter_map(|resource| {
            let limit = policy.limits().of(resource)?;
            Some((key_of(resource).to_owned(), in_use.of(resource), limit))
        });
        Shown { problem, grants, limits: limits.collect() }
    }
}

/// More than this are not listed: an answer is a message, and messages are bounded.
const MAX_FINDINGS: usize = 256;

fn described(finding: &Finding<'_>) -> FindingProperties {
    let (outcome, reason) = match &finding.outcome {
        Outcome::Granted => ("granted", String::new()),
        Outcome::AskPolkit => ("polkit", "polkit is asked".to_owned()),
        Outcome::Denied(denied) => ("denied", denied.to_string()),
    };
    let limit = match finding.subject {
        Subject::Quota(resource) => finding
            .grant
            .and_then(|grant| grant.quota(resource))
            .map(|limit| format!("up to {limit}")),
        _ => None,
    };
    FindingProperties {
        subject: finding.subject.to_string(),
        outcome: outcome.to_owned(),
        grant: finding.grant.map(|grant| grant.source().to_owned()).unwrap_or_default(),
        reason: match reason.is_empty() {
            true => limit.unwrap_or_default(),
            false => reason,
        },
    }
}

fn grant_properties(grant: &Grant) -> GrantProperties {
    let quota = Resource::ALL.into_iter().filter_map(|resource| {
        grant.quota(resource).map(|limit| (key_of(resource).to_owned(), limit))
    });
    GrantProperties {
        source: grant.source().to_owned(),
        users: grant.users().collect(),
        groups: grant.groups().collect(),
        networks: grant.networks().map(str::to_owned).collect(),
        host_addresses: grant.host_addresses().collect(),
        ports: grant.ports().map(|(protocol, span)| format!("{span}/{protocol}")).collect(),
        static_addresses: grant.static_addresses(),
        aliases: grant.aliases(),
        polkit: grant.authorize() == Authorize::Polkit,
        quota: quota.collect(),
    }
}

/// What policy files call the resource.
fn key_of(resource: Resource) -> &'static str {
    match resource {
        Resource::Attachments => "attachments",
        Resource::Interfaces => "interfaces",
        Resource::Ports => "ports",
        Resource::Aliases => "aliases",
    }
}
