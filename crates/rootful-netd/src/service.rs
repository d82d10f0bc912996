//! The service on the bus: its name, its objects, and how it starts and ends.

mod attachment;
mod manager;
mod network;
mod objects;

use anyhow::Context as _;
use rootful_net_dbus::name::{BUS_NAME, MANAGER_PATH};
use tokio::signal::unix::{SignalKind, signal};
use zbus::fdo::{ObjectManager, RequestNameFlags};

pub(crate) use objects::Objects;

use crate::engine;
use manager::Manager;

/// Serves until it is told to stop. Attachments stay as they are then.
///
/// # Errors
/// The service cannot start.
pub(crate) async fn serve() -> anyhow::Result<()> {
    // From here on, so that no removal is missed while the records are read.
    let link_events = rootful_net_kernel::link_removals()?;
    let connection =
        zbus::connection::Builder::system().build().await.context("no system bus")?;
    let server = connection.object_server();
    server.at(MANAGER_PATH, ObjectManager).await?;
    let (engine, handle) = engine::start(&connection).await?;
    server.at(MANAGER_PATH, Manager::new(handle)).await?;
    // Only now can there be calls: a name that is owned is a service that is ready.
    connection
        .request_name_with_flags(BUS_NAME, RequestNameFlags::DO_NOT_QUEUE)
        .await
        .with_context(|| format!("cannot own the name {BUS_NAME} on the system bus"))?;
    tracing::info!(
        networks = engine.catalogue().networks().count(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = engine.run(link_events) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    Ok(())
}
