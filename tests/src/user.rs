//! Users of the host, who ask for networks with the real command line or over the bus.

use std::os::fd::BorrowedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rootful_net_dbus::{
    AttachMessage, AttachmentProperties, AttachmentProxy, DetachOptions, Dictionary,
    Error as WireError, ManagerProxy,
};
use rustix::io::Errno;
use rustix::process::Uid;
use zbus::names::OwnedErrorName;
use zbus::{Connection, DBusError as _, Fd, OwnedObjectPath};

use crate::container::Container;
use crate::installation::binary_path;

/// How long a call may take, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A user of the host.
#[derive(Clone, Copy, Debug)]
pub struct User {
    uid: u32,
}

/// What a program answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The exit code.
    pub code: Option<i32>,
    /// The standard output.
    pub output: String,
    /// The standard error.
    pub error: String,
}

/// An error as it came over the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The D-Bus error's name, without the prefix that all of the service's share.
    pub name: String,
    /// What it says to people.
    pub message: String,
}

impl User {
    /// The user with this uid.
    pub const fn new(uid: u32) -> Self {
        Self { uid }
    }

    /// The uid.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Runs `rootful-net` with these arguments.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let uid = self.uid;
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={uid}"), &format!("--regid={uid}")]);
        command.args(["--clear-groups", "--pdeathsig=KILL", "--"]);
        command.arg(binary_path("rootful-net")).args(arguments).stdin(Stdio::null());
        let output = command.output().context("rootful-net")?;
        Ok(Answer {
            code: output.status.code(),
            output: String::from_utf8(output.stdout)?,
            error: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs `rootful-net` and returns what it printed.
    ///
    /// # Errors
    /// With what it said where it fails.
    pub fn succeed(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let answer = self.run(arguments)?;
        ensure!(answer.code == Some(0), "rootful-net {arguments:?}: {answer:?}");
        Ok(answer.output)
    }

    /// Sets the container up under `name` with the command line, with further arguments split at white space.
    ///
    /// # Errors
    /// With what it said where it is refused.
    pub fn set_up(
        &self,
        container: &Container,
        name: &str,
        arguments: &str,
    ) -> anyhow::Result<AttachmentProperties> {
        let pid = container.pid().to_string();
        let mut all = vec!["setup", "--pid", &pid, "--name", name, "--format", "json"];
        all.extend(arguments.split_whitespace());
        let text = self.succeed(&all)?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// Takes down what is attached under `name` with the command line.
    ///
    /// # Errors
    /// With what it said where it fails.
    pub fn tear_down(&self, name: &str) -> anyhow::Result<()> {
        self.succeed(&["teardown", "--name", name]).map(|_| ())
    }

    /// Does `work` as a program of this user, on a thread of its own: the others of the process keep their rights.
    ///
    /// # Errors
    /// Where the thread cannot become the user's, and what `work` returns.
    pub fn on_thread<T: Send, E: From<Errno> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let id = Uid::from_raw(self.uid);
        let as_user = || {
            rustix::thread::set_thread_res_uid(id, id, id)?;
            work()
        };
        std::thread::scope(|scope| match scope.spawn(as_user).join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Does `work` with a connection to the bus as this user, on a thread of its own.
    ///
    /// # Errors
    /// Where there is no connection, and what `work` returns.
    pub fn on_bus<T: Send>(
        &self,
        work: impl AsyncFnOnce(Connection) -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let uid = self.uid;
        let as_user = || {
            // The bus takes the effective uid of the thread that connects.
            let id = Uid::from_raw(uid);
            rustix::thread::set_thread_res_uid(id, id, Uid::ROOT)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let connection = rootful_net_dbus::connect(Some(uid), DEADLINE).await?;
                work(connection).await
            })
        };
        std::thread::scope(|scope| match scope.spawn(as_user).join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Calls `Attach` with any descriptor and message.
    ///
    /// # Errors
    /// Where there is no connection to the bus.
    pub fn attach(
        &self,
        namespace: BorrowedFd<'_>,
        message: &AttachMessage,
    ) -> anyhow::Result<Result<(OwnedObjectPath, bool), Refusal>> {
        self.attach_with(namespace, message, &message.options())
    }

    /// Calls `Attach` with options of any kind.
    ///
    /// # Errors
    /// Where there is no connection to the bus.
    pub fn attach_with(
        &self,
        namespace: BorrowedFd<'_>,
        message: &AttachMessage,
        options: &Dictionary,
    ) -> anyhow::Result<Result<(OwnedObjectPath, bool), Refusal>> {
        self.on_bus(async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            let namespace = Fd::from(namespace);
            let AttachMessage { name, networks, publish, .. } = message;
            let outcome = manager.attach(namespace, name, networks, publish, options).await;
            Ok(outcome.map_err(|error| Refusal::from(&error)))
        })
    }

    /// Calls `Detach`.
    ///
    /// # Errors
    /// Where there is no connection to the bus.
    pub fn detach(
        &self,
        name: &str,
        options: &DetachOptions,
    ) -> anyhow::Result<Result<bool, Refusal>> {
        self.on_bus(async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            let outcome = manager.detach(name, &options.clone().to_dictionary()).await;
            Ok(outcome.map_err(|error| Refusal::from(&error)))
        })
    }

    /// Calls `DetachNamespace`.
    ///
    /// # Errors
    /// Where there is no connection to the bus.
    pub fn detach_namespace(
        &self,
        namespace: BorrowedFd<'_>,
    ) -> anyhow::Result<Result<bool, Refusal>> {
        self.on_bus(async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            let outcome = manager.detach_namespace(Fd::from(namespace)).await;
            Ok(outcome.map_err(|error| Refusal::from(&error)))
        })
    }

    /// Calls `Detach` of an attachment's own object.
    ///
    /// # Errors
    /// Where there is no connection to the bus.
    pub fn detach_path(&self, path: &str) -> anyhow::Result<Result<(), Refusal>> {
        self.on_bus(async |connection| {
            let attachment = AttachmentProxy::new(&connection, path).await?;
            Ok(attachment.detach().await.map_err(|error| Refusal::from(&error)))
        })
    }
}

impl From<&WireError> for Refusal {
    fn from(error: &WireError) -> Self {
        let name = OwnedErrorName::from(error.name()).to_string();
        let name = name.strip_prefix("io.rootful_net1.Error.").unwrap_or(&name);
        let message = error.description().unwrap_or_default();
        Self { name: name.to_owned(), message: message.to_owned() }
    }
}

/// A message that asks for networks and ports under a name.
pub fn message(name: &str, networks: &[&str], publish: &[&str]) -> AttachMessage {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    AttachMessage {
        name: name.to_owned(),
        networks: texts(networks),
        publish: texts(publish),
        ..AttachMessage::default()
    }
}
