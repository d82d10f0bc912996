//! The service on the bus: its name, its objects, and how it starts and ends.

mod attachment;
mod manager;
mod network;
mod object_manager;
mod objects;

use std::time::Duration;

use anyhow::Context as _;
use rootful_net_dbus::name::{BUS_NAME, MANAGER_PATH};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zbus::Connection;
use zbus::fdo::RequestNameFlags;

pub(crate) use objects::Objects;

use crate::authority::Authority;
use crate::decision_log;
use crate::engine::{self, EngineHandle};
use crate::gate::{self, Gate};
use manager::Manager;

/// How long the last answers may take when the service stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Serves until it is told to stop. Attachments stay as they are then.
///
/// # Errors
/// The service cannot start.
pub(crate) async fn serve() -> anyhow::Result<()> {
    // Before anybody is told that the service is ready: who is told may stop it at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let (connection, gate) = gate::connect().await.context("no system bus")?;
    let authority = Authority::new(gate.clone(), connection.clone());
    let server = connection.object_server();
    let (engine, handle) = engine::start(&connection, authority.clone()).await?;
    server.at(MANAGER_PATH, Manager::new(handle.clone(), authority)).await?;
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
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tokio::spawn(reload_when_told(handle, hangup));
    tokio::spawn(summarize_decisions());
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        gate.stop();
    };
    engine.run(stop).await;
    // Answers are on their way, and who asks from now on is told that the service stops.
    let _ = tokio::time::timeout(LAST_ANSWERS, answer_the_rest(&connection, &gate)).await;
    Ok(())
}

/// Gives the name back, so that the bus hands over no further calls, and waits until those that it did hand over are
/// answered: a call that is lost with the connection would tell its caller nothing.
async fn answer_the_rest(connection: &Connection, gate: &Gate) {
    gate.all_answered().await;
    if let Err(error) = connection.release_name(BUS_NAME).await {
        tracing::debug!(%error, "the name is not given back");
    }
    // The bus answered behind everything that it had sent before.
    gate.all_answered().await;
}

/// Reads the policy again at each SIGHUP. What is wrong with it is in the log, and the old one in force.
async fn reload_when_told(engine: EngineHandle, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let mut reloading = vec![NotifyState::Reloading];
        reloading.extend(NotifyState::monotonic_usec_now());
        let _ = sd_notify::notify(&reloading);
        // The engine logs how it went.
        let _ = engine.reload().await;
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }
}

async fn summarize_decisions() {
    loop {
        tokio::time::sleep(decision_log::SUMMARY).await;
        decision_log::summarize();
    }
}
