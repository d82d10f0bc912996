//! The policy: which user may use which networks, publish which ports and hold how much. It owns the
//! decision; where the files are and who may write them is the daemon's business.
//!
//! Grants are additive and nothing is allowed without one (DESIGN §8).

mod decision;
mod file;
mod grant;

pub use decision::{Authorized, Caller, Denied, Group, Usage, authorize};
pub use file::PolicyError;
pub use grant::{Grant, PortSpan};

/// All grants in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    grants: Vec<Grant>,
}

impl Policy {
    /// Adds the grants of the policy file `file_name`, whose text is `text`.
    ///
    /// # Errors
    /// What is wrong, with the file's name and, from TOML, the line; nothing of the file is added then.
    pub fn add_file(&mut self, file_name: &str, text: &str) -> Result<(), PolicyError> {
        self.grants.extend(file::parse(file_name, text)?);
        Ok(())
    }

    /// The grants in the order in which they were read.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }
}
