//! The policy: which user may use which networks, publish which ports and hold how much. It owns the
//! decision; where the files are and who may write them is the daemon's business.
//!
//! Grants are additive and nothing is allowed without one (DESIGN §8).

mod decision;
mod denied;
mod examine;
mod file;
mod grant;
mod usage;

pub use decision::{Authorized, Caller, Consent, Decision, Group, authorize};
pub use denied::Denied;
pub use examine::{Finding, Outcome, Subject, examine};
pub use file::PolicyError;
pub use grant::{Authorize, Grant, PortSpan};
pub use usage::{Amounts, Quota, Resource, Usage};

/// What is in force: all grants, and the limits for all users together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    grants: Vec<Grant>,
    limits: Quota,
}

impl Default for Policy {
    /// No grant, and the limits that hold where no file says otherwise.
    fn default() -> Self {
        Self { grants: Vec::new(), limits: Quota::IN_ALL }
    }
}

impl Policy {
    /// Adds the grants of the policy file `file_name`, whose text is `text`. A limit in it stands in the place
    /// of one in an earlier file.
    ///
    /// # Errors
    /// What is wrong, with the file's name and, from TOML, the line; nothing of the file is added then.
    pub fn add_file(&mut self, file_name: &str, text: &str) -> Result<(), PolicyError> {
        let file = file::parse(file_name, text)?;
        self.grants.extend(file.grants);
        self.limits = self.limits.overridden_by(file.limits);
        Ok(())
    }

    /// The limits for all users together.
    pub fn limits(&self) -> Quota {
        self.limits
    }

    /// The grants for this user, in the order in which they were read.
    pub fn grants_for<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| grant.is_for(caller))
    }

    /// The grants in the order in which they were read.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }
}
