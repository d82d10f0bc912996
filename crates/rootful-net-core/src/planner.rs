//! The planner: from what is observed, recorded and authorized to the steps that make it so. It is the one
//! place where attach, detach and repair are decided; it does nothing itself.

mod address;
mod attach;
mod bridge;
mod detach;
mod error;
mod forward;
mod reconcile;
mod reserve;
mod tables;

pub use attach::{AttachDecision, attach, attach_query};
pub use detach::{detach, detach_query, forget};
pub use error::PlanError;
pub use reconcile::{
    Scope, is_forwarding, is_link_intact, is_untouched, link_query, reconcile, reconcile_query,
    restore, restore_query, unfinished_alias,
};

pub(crate) use bridge::is_own as is_own_bridge;

use crate::attachment::{Attachment, AttachmentId};
use crate::catalogue::Catalogue;
use crate::derivation::AddressKey;
use crate::ledger::Ledger;
use crate::plan::Plan;

/// What every decision rests on besides what is observed.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it has the address key")]
pub struct World<'a> {
    /// The networks.
    pub catalogue: &'a Catalogue,
    /// What is attached.
    pub ledger: &'a Ledger,
    /// The secret that addresses are derived from.
    pub key: &'a AddressKey,
}

/// A change: the steps, and what the ledger says once they are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The steps.
    pub plan: Plan,
    /// Attachments that are no more.
    pub released: Vec<AttachmentId>,
    /// The attachment that is new, or new in the place of one with the same id.
    pub attached: Option<Attachment>,
}
