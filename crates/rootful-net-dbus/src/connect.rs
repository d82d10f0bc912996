//! A client's connection to the system bus.

use std::time::Duration;

use zbus::Connection;
use zbus::connection::Builder;

/// Says why there is no connection to the system bus.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the system bus")]
pub struct ConnectError(#[source] zbus::Error);

/// Connects to the system bus. Every call on the connection fails after `deadline`.
///
/// `user_id` is the uid that the bus sees, where it is not the caller's own: inside a user namespace a
/// process must name the uid that it has outside.
///
/// # Errors
/// The bus is not there or does not accept the caller.
pub async fn connect(user_id: Option<u32>, deadline: Duration) -> Result<Connection, ConnectError> {
    let mut builder = Builder::system().method_timeout(deadline);
    if let Some(uid) = user_id {
        builder = builder.user_id(uid);
    }
    builder.build().await.map_err(ConnectError)
}
