//! Which names a container has on a network. A name is one user's at a time: the first who attaches a
//! container with it has it until the last of their containers that has it is gone.

use std::collections::BTreeSet;

use super::has_names;
use crate::attachment::{Attachment, Holder, Interface};
use crate::catalogue::Catalogue;
use crate::ledger::Ledger;
use crate::name::{Alias, ContainerName};
use crate::network::Network;
use crate::planner::PlanError;
use crate::request::{AttachRequest, ContainerId, NetworkRequest};

/// As many digits of a container's id as podman prints and gives it as a name.
const SHORT_ID_DIGITS: usize = 12;

/// The names that the container has on the network.
///
/// # Errors
/// An alias that was asked for is another user's, or has a dot. A name that nobody asked for, the
/// container's own or its short id, is left out instead.
pub(crate) fn served(
    ledger: &Ledger,
    network: &Network,
    holder: &Holder,
    request: &AttachRequest,
    asked: &NetworkRequest,
) -> Result<BTreeSet<Alias>, PlanError> {
    if !has_names(network) {
        return Ok(BTreeSet::new());
    }
    let is_free = |name: &Alias| {
        ledger.name_owner(network.name(), name).is_none_or(|owner| owner == holder.owner)
    };
    for alias in &asked.aliases {
        let (alias, network) = (|| alias.clone(), || network.name().clone());
        if !is_one_label(&alias()) {
            return Err(PlanError::AliasDotted { alias: alias(), network: network() });
        }
        if !is_free(&alias()) {
            return Err(PlanError::AliasTaken { alias: alias(), network: network() });
        }
    }
    let own =
        own_name(&request.name).into_iter().chain(request.container_id.as_ref().map(short_id));
    Ok(asked.aliases.iter().cloned().chain(own.filter(is_free)).collect())
}

/// The interfaces on which the container's own name is not served although the network has names: another
/// user's container has it, or it is not one label.
pub fn unserved<'a>(
    catalogue: &'a Catalogue,
    attachment: &'a Attachment,
) -> impl Iterator<Item = &'a Interface> {
    let own = own_name(attachment.name());
    attachment.interfaces().iter().filter(move |interface| {
        let network = catalogue.get(&interface.network);
        network.is_some_and(has_names)
            && own.as_ref().is_none_or(|own| !interface.names.contains(own))
    })
}

/// The container's name as DNS has it.
fn own_name(name: &ContainerName) -> Option<Alias> {
    name.as_str().parse().ok().filter(is_one_label)
}

fn short_id(id: &ContainerId) -> Alias {
    let digits = &id.as_str()[..SHORT_ID_DIGITS];
    digits.parse().expect("hexadecimal digits are a name")
}

/// A name with a dot could be one of the Internet, and whoever had it would get what the containers of all
/// other users send there.
fn is_one_label(name: &Alias) -> bool {
    !name.as_str().contains('.')
}
