//! Acts. This crate carries out plans: it makes links, gives addresses and routes, changes the nftables
//! ruleset, and looks at what is really there. It decides nothing.
//!
//! Everything here blocks, for as long as the kernel works: around a millisecond for an attachment, 20 for
//! the removal of a veth. Give it a thread that may.

mod attribute;
pub mod conntrack;
mod error;
mod events;
mod execute;
pub mod fault;
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

use std::os::fd::OwnedFd;

use rootful_net_core::observed::{Observed, Query};

pub use error::{KernelError, LinkAction, RequestError};
pub use events::KernelEvent;
pub use execute::{ExecuteError, UndoFailure};
pub use ffi::memory::give_back as give_back_memory;
pub use namespace::{Namespace, NamespaceError};
pub use rules::RulesetMark;

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
        Ok(Self { route, rules, reservations: Reservations::with_room() })
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
        let _scope = fault::scope("observe");
        let mut observed = observe::observe(&mut self.route, query, namespace)?;
        if query.listeners {
            observed.listeners =
                listeners::listeners().map_err(|source| KernelError::Listeners { source })?;
        }
        observed.reserved = self.reservations.ports();
        if query.tables {
            observed.tables = self.rules.tables()?;
        }
        if query.ruleset {
            observed.ruleset = self.rules.contents()?;
        }
        Ok(observed)
    }

    /// What was noted when the tables were made, to be remembered by whoever opens the kernel next; `None`
    /// where they are not known to be intact.
    pub fn mark(&self) -> Option<&RulesetMark> {
        self.rules.mark()
    }

    /// Takes over a mark of an earlier run. One of other rules is as good as none.
    pub fn remember(&mut self, mark: RulesetMark) {
        self.rules.remember(mark);
    }

    /// The number of the last change to any nftables table: while it stays the same, so does the ruleset.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn ruleset_generation(&mut self) -> Result<u32, KernelError> {
        let _scope = fault::scope("observe");
        Ok(self.rules.generation()?)
    }

    /// How many times this changed the ruleset. Where the generation grew by as many, nobody else did.
    pub fn transactions(&self) -> u32 {
        self.rules.transactions()
    }
}

/// Takes over the descriptors that the service manager kept for this process, each with the name it was kept under;
/// none when called again.
pub fn inherited_descriptors() -> Vec<(String, OwnedFd)> {
    ffi::inherited::take()
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
