//! Detach: how what an attachment has is taken out of service and removed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Change, World, reserve, tables};
use crate::attachment::{Attachment, Interface};
use crate::name::NetworkName;
use crate::observed::{Observed, Query};
use crate::plan::{Flows, Plan, Step};
use crate::publish::Protocol;
use crate::ruleset::Element;

/// What must be observed to detach.
pub fn detach_query() -> Query {
    Query { tables: true, ..Query::default() }
}

/// Takes the attachment out of service; its links, and the bridges and tables that nobody needs any more,
/// go afterwards.
pub fn detach(world: World<'_>, observed: &Observed, attachment: &Attachment) -> Change {
    // Without an element of its own, a port is closed; when it is none of ours any more, its link is gone.
    let ports = tables::ports(attachment, attachment.interfaces());
    let own = tables::of_attachment(attachment).into_iter();
    let own = own.filter(|element| !ports.contains(element));
    let steps = tables::removal_of(observed, own.chain(released_rules(world, attachment, &[])));
    let steps = steps.into_iter().chain(reserve::release(attachment)).collect();
    let mut afterwards = forget_flows([attachment]);
    let links = attachment.interfaces().iter().map(|interface| &interface.veth.host_link);
    afterwards.extend(links.cloned().map(Step::DeleteLink));
    if world.ledger.attachments().all(|other| other.id() == attachment.id()) {
        // The kernel takes 20 ms for a table and half a millisecond for its elements.
        afterwards.extend(tables::removal(observed));
    } else {
        afterwards.extend(tables::removal_of(observed, ports));
    }
    let remaining = attachment.interfaces().iter();
    let remaining = remaining.filter(|interface| world.ledger.members(&interface.network) > 1);
    afterwards.extend(remaining.map(forget_neighbours));
    afterwards.extend(idle_bridges(world, attachment, &[]));
    Change {
        plan: Plan { steps, afterwards },
        released: vec![attachment.id().clone()],
        attached: None,
    }
}

/// The networks that have no attachment but this one, and are not among `remaining`.
fn ended<'a>(
    world: World<'a>,
    attachment: &'a Attachment,
    remaining: &'a [&NetworkName],
) -> impl Iterator<Item = &'a crate::network::Network> {
    let networks = attachment.interfaces().iter().map(|interface| &interface.network);
    let ended =
        networks.filter(move |name| !remaining.contains(name) && world.ledger.members(name) <= 1);
    ended.filter_map(move |name| world.catalogue.get(name))
}

/// The elements of networks that end with this attachment.
pub(super) fn released_rules<'a>(
    world: World<'a>,
    attachment: &'a Attachment,
    remaining: &'a [&NetworkName],
) -> impl Iterator<Item = Element> + 'a {
    ended(world, attachment, remaining).flat_map(move |network| tables::of_network(world, network))
}

/// The removal of bridges whose networks end with this attachment.
pub(super) fn idle_bridges(
    world: World<'_>,
    attachment: &Attachment,
    remaining: &[&NetworkName],
) -> Vec<Step> {
    let bridges = ended(world, attachment, remaining);
    bridges.map(|network| Step::DeleteLink(network.interface().clone())).collect()
}

/// Has the host ask anew who has the addresses of an interface that is no more.
pub(super) fn forget_neighbours(interface: &Interface) -> Step {
    Step::ForgetNeighbours {
        bridge: interface.veth.bridge.clone(),
        addresses: interface
            .addresses()
            .chain(interface.setup.link_local.map(IpAddr::V6))
            .collect(),
    }
}

/// Has the kernel forget what it may remember of attachments that were changed or dropped before the world was as it
/// is: flows to their ports, and who had their addresses on bridges that are still there.
pub fn forget<'a>(
    world: World<'_>,
    attachments: impl IntoIterator<Item = &'a Attachment> + Clone,
) -> Vec<Step> {
    let mut steps = forget_flows(attachments.clone());
    let interfaces = attachments.into_iter().flat_map(Attachment::interfaces);
    let gone = interfaces.filter(|interface| {
        world.ledger.members(&interface.network) > 0
            && world.ledger.of_host_link(interface.veth.host_link.as_str()).is_none()
    });
    steps.extend(gone.map(forget_neighbours));
    steps
}

/// Has the flows routed afresh that were addressed to the ports of these attachments, when they come or go:
/// only those of connectionless protocols, since a connection that outlives its forward is dead anyway. The
/// kernel walks its whole table for that, which may take tens of milliseconds, so nobody should wait for it.
pub(super) fn forget_flows<'a>(attachments: impl IntoIterator<Item = &'a Attachment>) -> Vec<Step> {
    let forwards = attachments.into_iter().flat_map(Attachment::forwards);
    let flows: BTreeSet<_> = forwards
        .filter(|forward| forward.protocol == Protocol::Udp)
        .map(|forward| Flows {
            protocol: forward.protocol,
            host_address: forward.host_address,
            host_port: forward.host_port,
        })
        .collect();
    if flows.is_empty() {
        return Vec::new();
    }
    vec![Step::ForgetFlows(flows.into_iter().collect())]
}
