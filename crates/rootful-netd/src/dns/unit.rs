//! `rootful-net-dns.service`, started, told of changes and stopped by systemd.

use std::io;
use std::time::Duration;

use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant};

const UNIT: &str = "rootful-net-dns.service";

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long a start or stop may take; systemd itself gives up earlier.
const JOB_DEADLINE: Duration = Duration::from_secs(60);

/// How long one answer may take, as the bus's own libraries have it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(25);

/// How often it is looked whether a job is done. Its signal is not waited for: of signals only the bus's own
/// reach the service.
const JOB_INTERVAL: Duration = Duration::from_millis(10);

/// SIGHUP, signal(7): the name server reads its records again.
const SIGHUP: i32 = 1;

/// Why the unit does not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnitError {
    #[error("systemd does not answer")]
    Call(#[from] zbus::Error),
    #[error("{UNIT} does not start, it is {state}; see 'systemctl status {UNIT}'")]
    NotActive { state: String },
    #[error("systemd does not finish {method} of {UNIT}")]
    TimedOut { method: &'static str },
}

/// The unit, seen from the bus.
#[derive(Debug)]
pub(super) struct Unit {
    connection: Connection,
}

impl Unit {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Has the name server read its records, after starting it where it does not run.
    pub(super) async fn reload_or_start(&self) -> Result<(), UnitError> {
        if self.hang_up().await.is_ok() {
            return Ok(());
        }
        self.run("StartUnit").await?;
        let state = self.active_state().await?;
        if state != "active" {
            return Err(UnitError::NotActive { state });
        }
        // It may have been starting already, and have read the records before they were written.
        Ok(self.hang_up().await?)
    }

    pub(super) async fn stop(&self) -> Result<(), UnitError> {
        self.run("StopUnit").await
    }

    /// Fails where there is no main process: one that has not started completely would die of the signal,
    /// and systemd does not know it yet.
    async fn hang_up(&self) -> zbus::Result<()> {
        self.call("KillUnit", &(UNIT, "main", SIGHUP)).await.map(|_| ())
    }

    /// Runs a job to its end, whatever that is.
    async fn run(&self, method: &'static str) -> Result<(), UnitError> {
        let finished = tokio::time::timeout(JOB_DEADLINE, async {
            let job: OwnedObjectPath =
                self.call(method, &(UNIT, "replace")).await?.body().deserialize()?;
            // A job is an object for as long as it is not done.
            while self.property(job.as_str(), "org.freedesktop.systemd1.Job", "State").await.is_ok()
            {
                tokio::time::sleep(JOB_INTERVAL).await;
            }
            Ok(())
        });
        finished.await.unwrap_or(Err(UnitError::TimedOut { method }))
    }

    async fn active_state(&self) -> zbus::Result<String> {
        let unit: OwnedObjectPath = self.call("LoadUnit", &(UNIT,)).await?.body().deserialize()?;
        self.property(unit.as_str(), "org.freedesktop.systemd1.Unit", "ActiveState").await
    }

    async fn call<B>(&self, method: &str, arguments: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let connection = &self.connection;
        let call =
            connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, arguments);
        in_time(call).await
    }

    async fn property(&self, path: &str, interface: &str, name: &str) -> zbus::Result<String> {
        const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
        let (connection, arguments) = (&self.connection, (interface, name));
        let call = connection.call_method(Some(SYSTEMD), path, Some(PROPERTIES), "Get", &arguments);
        let value: OwnedVariant = in_time(call).await?.body().deserialize()?;
        String::try_from(value)
    }
}

async fn in_time(call: impl Future<Output = zbus::Result<Message>>) -> zbus::Result<Message> {
    let too_late = |_| Err(io::Error::from(io::ErrorKind::TimedOut).into());
    tokio::time::timeout(ANSWER_DEADLINE, call).await.unwrap_or_else(too_late)
}
