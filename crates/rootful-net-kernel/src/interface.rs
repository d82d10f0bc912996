//! Sets up the container's end of a veth pair, from inside its namespace.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rootful_net_core::link::{InterfaceSetup, with_link_local};
use rootful_net_core::name::InterfaceName;
use rootful_net_core::observed::Sysctl;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use crate::error::{KernelError, LinkAction, RequestError};
use crate::links::{add_address, failure, index, set, without_generated_addresses};
use crate::namespace::Namespace;
use crate::route_socket::{Batch, RouteSocket};
use crate::sysctl;

/// The loopback interface has this index in every namespace: `LOOPBACK_IFINDEX` of net/flow.h.
const LOOPBACK: u32 = 1;

/// Gives the interface what `setup` says and brings it and the loopback interface up. When it returns, the
/// addresses can be used.
pub(crate) fn set_up(setup: &InterfaceSetup, namespace: &Namespace) -> Result<(), KernelError> {
    namespace.run(|| set_up_here(setup))?
}

fn set_up_here(setup: &InterfaceSetup) -> Result<(), KernelError> {
    let mut socket = RouteSocket::open()?;
    let index = index(&socket, &setup.name)?;
    // Before it is up: routers that answer are then ignored from the first packet on.
    ignore_router_advertisements(&setup.name)?;
    let mut batch = Batch::new();
    let up = |index| set(LinkUnspec::new_with_index(index).up().build());
    batch.add(up(LOOPBACK), 0, loopback_failure);
    let mode = without_generated_addresses(LinkUnspec::new_with_index(index)).build();
    batch.add(set(mode), 0, failure(LinkAction::Configure, &setup.name));
    for address in with_link_local(&setup.addresses, setup.link_local) {
        add_address(&mut batch, index, &setup.name, address, NLM_F_CREATE | NLM_F_EXCL);
    }
    batch.add(up(index), 0, failure(LinkAction::BringUp, &setup.name));
    for &router in &setup.default_routers {
        let message = RouteNetlinkMessage::NewRoute(default_route(index, router));
        let link = &setup.name;
        batch.add(message, NLM_F_CREATE | NLM_F_EXCL, move |source| KernelError::DefaultRoute {
            link: link.clone(),
            router,
            source,
        });
    }
    socket.change(batch)
}

fn default_route(index: u32, router: IpAddr) -> RouteMessage {
    match router {
        IpAddr::V4(router) => {
            RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(router).build()
        }
        IpAddr::V6(router) => {
            RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).gateway(router).build()
        }
    }
}

fn ignore_router_advertisements(link: &InterfaceName) -> Result<(), KernelError> {
    match sysctl::write(&Sysctl::ipv6_link(link, "accept_ra"), "0") {
        // Without IPv6 in the kernel there is nothing to ignore.
        Err(KernelError::WriteSysctl { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(())
        }
        outcome => outcome,
    }
}

fn loopback_failure(source: RequestError) -> KernelError {
    KernelError::Loopback { source }
}
