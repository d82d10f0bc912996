//! Acts. This crate carries out plans: it makes links, gives addresses and routes, changes the nftables
//! ruleset, and looks at what is really there. It decides nothing.
//!
//! Everything here blocks, for as long as the kernel works: around a millisecond for an attachment, 20 for
//! the removal of a veth. Give it a thread that may.

pub mod conntrack;
mod error;
mod events;
mod execute;
mod ffi;
mod interface;
mod links;
pub mod listeners;
mod namespace;
mod netlink;
mod observe;
mod reservations;
mod route_socket;
pub mod rules;
mod sysctl;

use rootful_net_core::observed::{Observed, Query};

pub use error::{KernelError, LinkAction, RequestError};
pub use events::{LinkEvent, link_removals};
pub use execute::{ExecuteError, UndoFailure};
pub use namespace::{Namespace, NamespaceError};

use reservations::Reservations;
use route_socket::RouteSocket;
use rules::Rules;

/// The kernel's network, as seen from the network namespace in which it was opened.
#[derive(Debug)]
pub struct Kernel {
    route: RouteSocket,
    rules: Rules,
    reservations: Reservations,
}

impl Kernel {
    /// Opens the sockets, in the network namespace that the current thread is in. Kernel parameters are
    /// those of the thread that uses it, so use it from threads of that namespace only. Several can be open
    /// at once, such as one more for work that nobody waits for.
    ///
    /// # Errors
    /// Where a socket is not to be had.
    pub fn open() -> Result<Self, KernelError> {
        let route = RouteSocket::open()?;
        let rules = Rules::open()?;
        Ok(Self { route, rules, reservations: Reservations::default() })
    }

    /// Looks at what `query` asks for, and at the links inside `namespace` where one is given.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn observe(
        &mut self,
        query: &Query,
        namespace: Option<&Namespace>,
    ) -> Result<Observed, KernelError> {
        let mut observed = observe::observe(&mut self.route, query, namespace)?;
        if query.listeners {
            observed.listeners =
                listeners::listeners().map_err(|source| KernelError::Listeners { source })?;
        }
        if query.tables {
            observed.tables = self.rules.tables()?;
        }
        Ok(observed)
    }
}

#[cfg(test)]
mod tests {
    /// Work that blocks is handed to threads that may.
    #[test]
    fn a_kernel_and_a_namespace_can_be_handed_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<super::Kernel>();
        is_send::<super::Namespace>();
    }
}
