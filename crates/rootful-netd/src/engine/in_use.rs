//! The definitions of networks in use: kept while something is attached, so that a file that is edited or
//! removed meanwhile does not change what is attached.

use std::collections::BTreeSet;

use rootful_net_core::attachment::Attachment;
use rootful_net_core::catalogue::Catalogue;
use rootful_net_core::name::NetworkName;
use rootful_net_dbus::Result;

use super::Engine;
use crate::error::{chain, unrecorded};
use crate::store::{Record, Store, StoreError};

/// Has the networks of what is recorded be what they were when it was attached, and forgets the others.
///
/// # Errors
/// The definitions cannot be read.
pub(super) fn take_up(
    store: &Store,
    catalogue: &mut Catalogue,
    records: &[Record],
) -> std::result::Result<(), StoreError> {
    let used: BTreeSet<&NetworkName> = records
        .iter()
        .flat_map(Record::attachments)
        .flat_map(Attachment::interfaces)
        .map(|interface| &interface.network)
        .collect();
    let (kept, unused): (Vec<_>, Vec<_>) =
        store.kept_networks()?.into_iter().partition(|network| used.contains(network.name()));
    for network in &unused {
        // One that stays is forgotten at the next start.
        forget(store, network.name());
    }
    for difference in catalogue.insert_in_use(kept) {
        tracing::warn!("{difference}");
    }
    Ok(())
}

impl Engine {
    /// Keeps the definitions of the networks that get their first attachment with this one.
    ///
    /// # Errors
    /// One cannot be written; then none is kept.
    pub(super) fn keep_networks(&mut self, attachment: &Attachment) -> Result<()> {
        let kept = unused(self, attachment)
            .filter_map(|name| self.catalogue.get(name))
            .try_for_each(|network| self.store.keep_network(network));
        kept.map_err(|error| {
            self.forget_networks(attachment);
            unrecorded(&error)
        })
    }

    /// Forgets the definitions of those of the attachment's networks that nothing is attached to any more.
    pub(super) fn forget_networks(&mut self, attachment: &Attachment) {
        let unused: Vec<NetworkName> = unused(self, attachment).cloned().collect();
        for name in unused {
            if !forget(&self.store, &name) {
                self.upkeep.unforgotten.insert(name);
            }
        }
    }
}

fn unused<'a>(
    engine: &'a Engine,
    attachment: &'a Attachment,
) -> impl Iterator<Item = &'a NetworkName> {
    let networks = attachment.interfaces().iter().map(|interface| &interface.network);
    networks.filter(|network| engine.ledger.members(network) == 0)
}

/// Says whether it is forgotten.
fn forget(store: &Store, network: &NetworkName) -> bool {
    match store.forget_network(network) {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(error = chain(&error), "cannot forget a network that is not in use");
            false
        }
    }
}
