//! What is recorded of one attachment, so that the next start knows what the last one was doing.

use rootful_net_core::attachment::Attachment;
use serde::{Deserialize, Serialize};

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Its plan is being carried out.
    Pending,
    /// Its plan is done, but the kernel may still remember what was there before.
    Settling,
    /// Its plan is done.
    Live,
    /// It is being detached.
    Ending,
}

/// What is recorded of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// The attachment.
    pub(crate) attachment: Attachment,
    /// What was live in whose place a pending or settling one comes.
    pub(crate) previous: Option<Attachment>,
}

impl Record {
    /// The version of the form that is written, and the only one that is read.
    pub(super) const VERSION: u32 = 2;

    /// An attachment whose plan is about to be carried out, in the place of `previous`.
    pub(crate) fn pending(attachment: Attachment, previous: Option<Attachment>) -> Self {
        Self { version: Self::VERSION, phase: Phase::Pending, attachment, previous }
    }

    /// An attachment whose plan is done, in the place of `previous`; what the kernel remembers is still to be forgotten.
    pub(crate) fn settling(attachment: Attachment, previous: Option<Attachment>) -> Self {
        Self { version: Self::VERSION, phase: Phase::Settling, attachment, previous }
    }

    /// An attachment whose plan is done.
    pub(crate) fn live(attachment: Attachment) -> Self {
        Self { version: Self::VERSION, phase: Phase::Live, attachment, previous: None }
    }

    /// An attachment that is about to be detached.
    pub(crate) fn ending(attachment: Attachment) -> Self {
        Self { version: Self::VERSION, phase: Phase::Ending, attachment, previous: None }
    }

    /// The version that it was written in.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// The attachments that it speaks of.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.previous.iter().chain([&self.attachment])
    }
}
