//! How the engine comes up: files read, records and kernel brought together again, objects on the bus.

use anyhow::Context as _;
use rootful_net_core::ledger::Ledger;
use rootful_net_core::planner::{self, Change, Scope};
use rootful_net_kernel::Kernel;
use zbus::Connection;

use super::{Engine, EngineHandle, LeaseFile, PolicyInForce, in_use};
use crate::authority::Authority;
use crate::dns::NameServer;
use crate::networks;
use crate::service::Objects;
use crate::store::{Phase, Record, Store};

/// Reads everything and makes the kernel agree with what is recorded.
///
/// # Errors
/// The service cannot work: no key, no store, no kernel interface.
pub(crate) async fn start(
    connection: &Connection,
    authority: Authority,
) -> anyhow::Result<(Engine, EngineHandle)> {
    let store = Store::open()?;
    let key = store.address_key()?;
    let mut kernel = Kernel::open()?;
    let policy = PolicyInForce::read();
    let mut catalogue = networks::read();
    if let Err(error) = networks::ensure_default(&mut catalogue, &mut kernel, &key) {
        tracing::error!(error = crate::error::chain(&error), "there is no default network");
    }
    let mut ledger = Ledger::new(store.leases());
    let records = store.records()?;
    in_use::take_up(&store, &mut catalogue, &records)?;
    let (live, pending): (Vec<Record>, Vec<Record>) =
        records.into_iter().partition(|record| record.phase == Phase::Live);
    live.into_iter().for_each(|record| ledger.insert(record.attachment));
    for record in &pending {
        // Nobody was told that it is attached: its links are strays, its elements are left out of the
        // ruleset that is made below.
        let name = record.attachment.name().as_str();
        tracing::warn!(owner = record.attachment.owner(), name, "unfinished attachment undone");
        store.forget(record.attachment.id())?;
    }
    let handle = EngineHandle::default();
    let objects = Objects::new(connection.clone(), handle.clone(), authority);
    let name_server = NameServer::start(connection.clone());
    let mut engine = Engine {
        kernel,
        store,
        catalogue,
        policy,
        key,
        ledger,
        lease_file: LeaseFile::default(),
        objects,
        name_server,
        handle: handle.clone(),
    };
    engine.reconcile().await?;
    // Whoever finds the service on the bus finds everything that is attached.
    let (shown, all_shown) = tokio::sync::oneshot::channel();
    engine.objects.then(move || _ = shown.send(()));
    all_shown.await.context("the objects are not shown on the bus")?;
    Ok((engine, handle))
}

impl Engine {
    async fn reconcile(&mut self) -> anyhow::Result<()> {
        let observed = self.observe(&planner::reconcile_query(self.world(), Scope::Everything), None)?;
        let Change { plan, released, .. } = planner::reconcile(self.world(), &observed, Scope::Everything);
        self.kernel.carry_out(&plan.steps, None).context("cannot restore the ruleset")?;
        for id in released {
            if let Some(attachment) = self.ledger.remove(&id) {
                let name = attachment.name().as_str();
                tracing::info!(%id, owner = attachment.owner(), name, "container is gone");
                self.forget_networks(&attachment);
            }
            self.store.forget(&id)?;
        }
        self.publish_names();
        self.finish(&plan.afterwards);
        for network in self.catalogue.networks() {
            self.objects.publish_network(network);
        }
        for attachment in self.ledger.attachments() {
            self.objects.publish(attachment);
        }
        Ok(())
    }
}
