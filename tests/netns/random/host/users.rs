//! The users, each with a connection to the bus, and what they ask the service for.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Result;
use rootful_net_dbus::{AttachMessage, AttachmentProperties, DetachOptions, ManagerProxy, objects};
use rootful_net_tests::user::{Refusal, message};
use rustix::process::Uid;
use tokio::runtime::Runtime;
use zbus::{Connection, Fd};

use super::DEADLINE;
use crate::random::operation::{Wish, name, user};

/// The one after the users of [`user`].
pub(super) const ROOT: usize = 3;

/// All users, and root.
pub(super) struct Users {
    // In this order: connections end before what they run on.
    buses: Vec<Connection>,
    runtime: Runtime,
}

impl Users {
    /// Connects them.
    pub(super) fn connect() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let uids = [user(0).uid(), user(1).uid(), user(2).uid(), 0];
        let buses = uids.into_iter().map(|uid| connect(&runtime, uid)).collect::<Result<_>>()?;
        Ok(Self { buses, runtime })
    }

    /// Calls a method as one of the users.
    pub(super) fn call<T>(
        &self,
        caller: usize,
        method: impl AsyncFnOnce(&ManagerProxy<'_>) -> rootful_net_dbus::Result<T>,
    ) -> Result<T> {
        self.ask(caller, method)?.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))
    }

    fn ask<T>(
        &self,
        caller: usize,
        method: impl AsyncFnOnce(&ManagerProxy<'_>) -> rootful_net_dbus::Result<T>,
    ) -> Result<std::result::Result<T, Refusal>> {
        self.runtime.block_on(async {
            let manager = ManagerProxy::builder(&self.buses[caller])
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await?;
            Ok(method(&manager).await.map_err(|error| Refusal::from(&error)))
        })
    }

    /// Answers whether that changed anything.
    pub(super) fn attach(
        &self,
        caller: usize,
        namespace: &OwnedFd,
        wish: &Wish,
    ) -> Result<std::result::Result<bool, Refusal>> {
        let message = wish_message(wish);
        self.ask(caller, async |manager| {
            let AttachMessage { name, networks, publish, .. } = &message;
            let namespace = Fd::from(namespace.as_fd());
            let options = message.options();
            let attached = manager.attach(namespace, name, networks, publish, &options).await?;
            Ok(attached.1)
        })
    }

    /// Answers with what would be done.
    pub(super) fn plan(
        &self,
        caller: usize,
        namespace: &OwnedFd,
        wish: &Wish,
    ) -> Result<std::result::Result<String, Refusal>> {
        let message = wish_message(wish);
        self.ask(caller, async |manager| {
            let AttachMessage { name, networks, publish, .. } = &message;
            let namespace = Fd::from(namespace.as_fd());
            manager.plan(namespace, name, networks, publish, &message.options()).await
        })
    }

    /// Answers whether anything was attached.
    pub(super) fn detach(&self, caller: usize, number: usize) -> Result<bool> {
        let options = DetachOptions::default().to_dictionary();
        self.call(caller, async |manager| manager.detach(&name(number), &options).await)
    }

    /// Answers whether anything was attached.
    pub(super) fn detach_namespace(&self, caller: usize, namespace: &OwnedFd) -> Result<bool> {
        self.call(caller, async |manager| {
            manager.detach_namespace(Fd::from(namespace.as_fd())).await
        })
    }

    /// Answers with the names.
    pub(super) fn detach_all(
        &self,
        caller: usize,
        options: DetachOptions,
    ) -> Result<BTreeSet<String>> {
        let options = options.to_dictionary();
        let names = self.call(caller, async |manager| manager.detach_all(&options).await)?;
        Ok(names.into_iter().collect())
    }

    /// What the bus shows to root.
    pub(super) fn attachments(&self) -> Result<Vec<AttachmentProperties>> {
        let shown = self.runtime.block_on(objects::attachments(&self.buses[ROOT]))?;
        Ok(shown.into_iter().map(|(_, attachment)| attachment).collect())
    }
}

fn wish_message(wish: &Wish) -> AttachMessage {
    let publish: Vec<_> = wish.ports.iter().map(|port| format!("{port}:80")).collect();
    let publish: Vec<_> = publish.iter().map(String::as_str).collect();
    let message = message(&name(wish.name), &wish.networks, &publish);
    AttachMessage { replace: wish.replace, ..message }
}

fn connect(runtime: &Runtime, uid: u32) -> Result<Connection> {
    let become_user = |effective: u32| {
        let (effective, root) = (Uid::from_raw(effective), Uid::ROOT);
        rustix::thread::set_thread_res_uid(effective, effective, root)
    };
    // The bus takes the effective uid of the thread that connects.
    become_user(uid)?;
    let connection = runtime.block_on(rootful_net_dbus::connect(Some(uid), DEADLINE));
    become_user(0)?;
    Ok(connection?)
}
