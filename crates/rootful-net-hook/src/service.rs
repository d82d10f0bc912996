//! The connection to the service, from inside podman's user namespace and within the deadline.

use rootful_net_client::{Service, ServiceError, user};

use crate::deadline::Deadline;
use crate::error::HookError;

/// Does something with the service.
///
/// # Errors
/// It fails, or the deadline passes, whatever it waits for.
pub(crate) fn with_service<T>(
    deadline: Deadline,
    work: impl AsyncFnOnce(Service) -> Result<T, ServiceError>,
) -> Result<T, HookError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HookError::Runtime)?;
    let work = async {
        work(Service::connect_as(user::own_outer_uid(), deadline.remaining()).await?).await
    };
    let timely = runtime.block_on(async { tokio::time::timeout(deadline.remaining(), work).await });
    // What may still be under way has no one to wait for it.
    runtime.shutdown_background();
    Ok(timely.map_err(|_| HookError::TimedOut)??)
}
