//! Detaches a container that has stopped. The service notices by itself, a moment later, so this may fail.

use rootful_net_dbus::DetachOptions;

use crate::deadline::Deadline;
use crate::error::HookError;
use crate::report::Report;
use crate::service;
use crate::state::State;

pub(crate) fn run(deadline: Deadline, report: &mut Report) -> Result<(), HookError> {
    let state = State::read(deadline)?;
    report.about(&state.id);
    // By its id: another container may have the name by now.
    let options = DetachOptions { container_id: Some(state.id), ..DetachOptions::default() };
    service::with_service(deadline, async |service| service.detach_all(options).await)?;
    Ok(())
}
