//! How the engine comes up: files read, records and kernel brought together again, objects on the bus.

use rootful_net_core::attachment::Attachment;
use rootful_net_core::ledger::Ledger;
use rootful_net_core::planner::{self, Scope};
use rootful_net_kernel::{Kernel, Namespace, RulesetMark, fault};
use zbus::Connection;

use super::change::Remainder;
use super::{Engine, EngineHandle, LeaseFile, PolicyInForce, Upkeep, in_use};
use crate::authority::Authority;
use crate::dns::NameServer;
use crate::error::chain;
use crate::fd_store::{self, Held};
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
    let scope = fault::scope("start");
    let store = Store::open()?;
    let key = store.address_key()?;
    let mut kernel = Kernel::open()?;
    // From here on, so that nothing is missed while the records are read.
    let events = Box::pin(kernel.events()?);
    let kept_mark = store.mark().and_then(|text| serde_json::from_str::<RulesetMark>(&text).ok());
    if let Some(mark) = &kept_mark {
        kernel.remember(mark.clone());
    }
    let policy = PolicyInForce::read();
    let mut catalogue = networks::read();
    if let Err(error) = networks::ensure_default(&mut catalogue, &mut kernel, &key) {
        tracing::error!(error = chain(&error), "there is no default network");
    }
    let ledger = Ledger::new(store.leases());
    let lease_file = LeaseFile::of(ledger.leases().revision());
    let records = store.records()?;
    in_use::take_up(&store, &mut catalogue, &records)?;
    let handle = EngineHandle::default();
    let objects = Objects::new(connection.clone(), handle.clone(), authority).await?;
    let name_server = NameServer::start(connection.clone());
    let mut engine = Engine {
        kernel,
        store,
        catalogue,
        policy,
        key,
        ledger,
        lease_file,
        objects,
        name_server,
        handle: handle.clone(),
        upkeep: Upkeep::default(),
        kept_mark,
        events,
    };
    engine.resume(records);
    drop(scope);
    // Whoever finds the service on the bus finds everything that is attached.
    engine.objects.are_shown().await;
    Ok((engine, handle))
}

impl Engine {
    /// Goes on where the last process ended, wherever that was.
    fn resume(&mut self, records: Vec<Record>) {
        let mut kept = fd_store::take();
        let mut remainder = Remainder::default();
        let mut given_up = Vec::new();
        // What the kernel may remember.
        let mut remembered = Vec::new();
        for record in records {
            let Record { phase, attachment, previous, .. } = record;
            let live = match (phase, previous) {
                (Phase::Live, _) => Some(attachment),
                (Phase::Settling, previous) => {
                    remainder.settled.push(attachment.id().clone());
                    remembered.push(attachment.clone());
                    remembered.extend(previous.clone());
                    given_up.extend(previous);
                    Some(attachment)
                }
                (Phase::Ending, _) | (Phase::Pending, None) => {
                    remainder.forgotten.push(attachment);
                    None
                }
                (Phase::Pending, Some(previous)) => {
                    let held = kept.iter().position(|(held, _)| held.is_for(attachment.id()));
                    let held = held.map(|position| kept.swap_remove(position));
                    given_up.push(attachment.clone());
                    remembered.extend([attachment.clone(), previous.clone()]);
                    self.go_back(attachment, previous, held, &mut remainder)
                }
            };
            if let Some(live) = live {
                self.ledger.resume(live);
            }
        }
        for attachment in &remainder.forgotten {
            let (owner, name) = (attachment.owner(), attachment.name().as_str());
            tracing::warn!(owner, name, "what was not finished is undone");
        }
        // The links of what was dropped are strays now, and its elements nobody's.
        self.look_after(Scope::Everything);
        let remembered = remembered.iter().chain(&remainder.forgotten);
        remainder.steps = planner::forget(self.world(), remembered);
        self.finish(remainder);
        // Networks that only an interrupted change was to use.
        given_up.iter().for_each(|attachment| self.forget_networks(attachment));
        if self.lease_file.lacks(self.ledger.leases().revision()) {
            self.keep_leases();
        }
        self.publish_names();
        for network in self.catalogue.networks() {
            self.objects.publish_network(network);
        }
        for attachment in self.ledger.attachments() {
            self.objects.publish(attachment);
        }
    }

    /// Gives a container back what an interrupted change was about to replace. Where the links were being changed, that
    /// takes the namespace, which the service manager kept; without it, the container has lost them.
    fn go_back(
        &mut self,
        attachment: Attachment,
        previous: Attachment,
        kept: Option<(Held, Namespace)>,
        remainder: &mut Remainder,
    ) -> Option<Attachment> {
        let owner = previous.owner();
        let name = previous.name().to_string();
        if attachment.namespace() != previous.namespace() {
            // What was attached before had ended or was given up.
            remainder.forgotten.push(previous);
            remainder.forgotten.push(attachment);
            return None;
        }
        let query = planner::restore_query(&attachment, &previous);
        let steps = match self.observe(&query, None) {
            Ok(observed) if planner::is_untouched(&attachment, &previous, &observed) => Vec::new(),
            // Also where it cannot be seen: what is there is made anew then.
            Ok(_) | Err(_) => planner::restore(&attachment, &previous),
        };
        let kept = kept.filter(|(_, namespace)| namespace.id() == previous.namespace());
        let namespace = kept.as_ref().map(|(_, namespace)| namespace);
        let restored = match (steps.is_empty(), namespace) {
            (true, _) => Ok(()),
            (false, Some(namespace)) => tokio::task::block_in_place(|| {
                self.kernel.carry_out(&steps, Some(namespace)).map_err(|error| chain(&error))
            }),
            (false, None) => Err("nobody kept its network namespace".to_owned()),
        };
        match restored {
            Ok(()) => {
                tracing::warn!(owner, name, "interrupted change undone: attached as before");
                if let Err(error) = self.store.record(&Record::live(previous.clone())) {
                    tracing::error!(error = chain(&error), "cannot put the record right");
                    self.upkeep.unrecorded.insert(previous.id().clone(), None);
                }
                Some(previous)
            }
            Err(error) => {
                tracing::error!(
                    owner,
                    name,
                    error,
                    "the change of an attachment was interrupted and cannot be undone: the container has lost its network; set it up again"
                );
                remainder.forgotten.push(previous);
                remainder.forgotten.push(attachment);
                None
            }
        }
    }
}
