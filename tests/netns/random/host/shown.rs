//! What the bus shows of attachments, against the model.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use rootful_net_dbus::AttachmentProperties;

use crate::random::model::{Attached, Holder, Model};
use crate::random::operation::{name, user};

/// Fails unless it is what the model says, and nobody has an address of another.
pub(super) fn ensure_modelled(shown: &[AttachmentProperties], model: &Model) -> Result<()> {
    let wanted: BTreeSet<_> = model.attached.iter().map(described).collect();
    let found: BTreeSet<_> = shown.iter().map(described_object).collect();
    ensure!(found == wanted, "the bus shows {found:#?}, not {wanted:#?}");
    let interfaces = || shown.iter().flat_map(|attachment| &attachment.interfaces);
    let addresses: Vec<_> = interfaces().flat_map(|interface| &interface.addresses).collect();
    let different: BTreeSet<_> = addresses.iter().collect();
    ensure!(different.len() == addresses.len(), "an address is there twice: {addresses:#?}");
    let macs: BTreeSet<_> = interfaces().map(|interface| &interface.mac).collect();
    ensure!(macs.len() == interfaces().count(), "a MAC address is there twice: {macs:#?}");
    Ok(())
}

/// An attachment in words, from the model and from the bus.
fn described(((owner, number), attached): (&Holder, &Attached)) -> String {
    let owner = user(*owner).uid();
    let (networks, ports) = (&attached.networks, &attached.ports);
    format!("{} of {owner} {networks:?} {ports:?}", name(*number))
}

fn described_object(attachment: &AttachmentProperties) -> String {
    let interfaces = attachment.interfaces.iter();
    let networks: Vec<_> = interfaces.map(|interface| &interface.network).collect();
    let ports: Vec<_> = attachment.ports.iter().map(|port| port.host_port).collect();
    format!("{} of {} {networks:?} {ports:?}", attachment.name, attachment.owner)
}
