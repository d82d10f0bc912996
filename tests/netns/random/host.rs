//! The real thing: a host with the daemon, users on the bus and containers, on which operations are done, and what is
//! seen of it.

mod comparable;
mod damage;
mod foreign;
mod policy;
mod seen;
mod shown;
mod users;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_dbus::DetachOptions;
use rootful_net_kernel::Kernel;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::Installation;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::Refusal;

use super::model::{Attached, Model, Outcome};
use super::operation::{Damage, Operation, Policy, Slot, Wish, name, user};
use comparable::comparable;
use foreign::ForeignThings;
use seen::{Seen, is_own};
use users::{ROOT, Users};

/// How long what must happen may take, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);
const SECOND: &str = r#"{"name": "second", "driver": "bridge", "network_interface": "rootful9", "ipv6_enabled": true,
    "subnets": [{"subnet": "10.99.0.0/24"}, {"subnet": "fd99::/64"}]}"#;

/// A host.
pub(super) struct Host {
    // In this order: connections and the daemon end before the bus.
    users: Users,
    daemon: Option<Daemon>,
    installation: Installation,
    kernel: Kernel,
    containers: BTreeMap<Slot, Container>,
    foreign: ForeignThings,
    /// Whether damage was done that need not be repaired yet.
    is_damaged: bool,
    /// What was seen when everything was as it should be, and still must be there until somebody asks for a change.
    settled: Option<Seen>,
}

impl Host {
    pub(super) fn start(sandbox: &Sandbox) -> Result<Self> {
        let installation = Installation::new(sandbox)?;
        installation.add_network(SECOND)?;
        policy::write(Policy::Usual)?;
        let daemon = Some(Daemon::start(&installation)?);
        Ok(Self {
            users: Users::connect()?,
            daemon,
            installation,
            kernel: Kernel::open()?,
            containers: BTreeMap::new(),
            foreign: ForeignThings::look()?,
            is_damaged: false,
            settled: None,
        })
    }

    /// Does one operation, and fails unless what comes of it is what the model says.
    pub(super) fn perform(&mut self, operation: &Operation, model: &mut Model) -> Result<()> {
        let mut changes = true;
        match operation {
            Operation::Attach(wish) => {
                let expected = model.attach(wish);
                let found = self.attach(wish)?;
                ensure!(found == expected, "it is {found:?}, not {expected:?}");
                changes = expected == Outcome::Attached;
            }
            Operation::Plan(wish) => {
                let expected = model.outcome(wish);
                let found = self.plan(wish)?;
                let is_same = match (&found, expected) {
                    (Err(refused), Outcome::Refused(expected)) => refused.name == expected,
                    (Ok(plan), Outcome::Unchanged) => plan == "nothing to do\n" || self.is_damaged,
                    (Ok(plan), Outcome::Attached) => {
                        plan.contains("create veth") || !plan.is_empty()
                    }
                    (Ok(_), Outcome::Refused(_)) | (Err(_), _) => false,
                };
                ensure!(is_same, "it is {found:?}, not {expected:?}");
                changes = false;
            }
            Operation::Detach { owner, name } => {
                let expected = model.detach(|holder, _| *holder == (*owner, *name));
                let found = self.users.detach(*owner, *name)?;
                ensure!(found != expected.is_empty(), "detached: {found}");
            }
            Operation::DetachNamespace(slot) => {
                let expected = model.detach(|_, attached| attached.slot == *slot);
                if let Some(container) = self.containers.get(slot) {
                    let namespace = container.namespace().fd()?;
                    let found = self.users.detach_namespace(slot.owner, &namespace)?;
                    ensure!(found != expected.is_empty(), "detached: {found}");
                }
            }
            Operation::DetachAll { owner } => {
                let expected = model.detach(|(other, _), _| other == owner);
                let expected: BTreeSet<_> =
                    expected.into_iter().map(|(_, number)| name(number)).collect();
                let found = self.users.detach_all(*owner, DetachOptions::default())?;
                ensure!(found == expected, "detached: {found:?}, not {expected:?}");
            }
            Operation::KillContainer(slot) => {
                model.detach(|_, attached| attached.slot == *slot);
                if let Some(container) = self.containers.remove(slot) {
                    container.kill()?;
                }
            }
            Operation::KillDaemon => self.restart(Daemon::kill)?,
            Operation::RestartDaemon => self.restart(Daemon::stop)?,
            Operation::Damage(damage, waits) => {
                self.settle(model).context("before the damage")?;
                let before = Seen::look(&mut self.kernel)?;
                if *damage == Damage::FlushRuleset {
                    self.foreign.ensure_unchanged()?;
                }
                damage::inflict(*damage, &before)?;
                if *damage == Damage::FlushRuleset {
                    self.foreign = ForeignThings::look()?;
                }
                self.is_damaged = true;
                if *waits {
                    eventually(DEADLINE, || {
                        let after = Seen::look(&mut self.kernel)?;
                        ensure!(after == before, "{before:#?} is {after:#?}");
                        Ok(())
                    })?;
                    self.is_damaged = false;
                }
                return Ok(());
            }
            Operation::Foreign(foreign) => {
                self.foreign.ensure_unchanged()?;
                self.foreign.change(*foreign)?;
                changes = false;
            }
            Operation::Policy(policy) => {
                policy::write(*policy)?;
                model.policy = *policy;
                self.users.call(ROOT, async |manager| manager.reload_policy().await)?;
                changes = false;
            }
        }
        let before = self.settled.take();
        // Links go behind the answer, or with the container.
        let deadline = if changes || self.is_damaged { DEADLINE } else { Duration::ZERO };
        let after = eventually(deadline, || self.compare(model))?;
        if !self.is_damaged {
            match before {
                Some(before) if !changes => {
                    ensure!(before == after, "{before:#?} became {after:#?}");
                }
                Some(_) | None => {}
            }
            self.settled = Some(after);
        }
        Ok(())
    }

    fn restart(&mut self, end: fn(Daemon) -> Result<()>) -> Result<()> {
        end(self.daemon.take().context("no daemon runs")?)?;
        self.daemon = Some(Daemon::start(&self.installation)?);
        Ok(())
    }

    fn container(&mut self, slot: Slot) -> Result<&Container> {
        Ok(match self.containers.entry(slot) {
            Entry::Occupied(container) => container.into_mut(),
            Entry::Vacant(place) => place.insert(Container::of(user(slot.owner).uid())?),
        })
    }

    fn attach(&mut self, wish: &Wish) -> Result<Outcome> {
        let found = self.ask_for(wish.slot.owner, wish)?;
        Ok(match found {
            Ok(true) => Outcome::Attached,
            Ok(false) => Outcome::Unchanged,
            Err(refusal) => match refusal.name.as_str() {
                "Conflict" => Outcome::Refused("Conflict"),
                "NotAuthorized" => Outcome::Refused("NotAuthorized"),
                _ => bail!("{refusal:?}"),
            },
        })
    }

    fn ask_for(
        &mut self,
        caller: usize,
        wish: &Wish,
    ) -> Result<std::result::Result<bool, Refusal>> {
        let namespace = self.container(wish.slot)?.namespace().fd()?;
        self.users.attach(caller, &namespace, wish)
    }

    fn plan(&mut self, wish: &Wish) -> Result<std::result::Result<String, Refusal>> {
        let namespace = self.container(wish.slot)?.namespace().fd()?;
        self.users.plan(wish.slot.owner, &namespace, wish)
    }

    /// Waits until everything is as the model says, with nothing of what was damaged left to be repaired.
    fn settle(&mut self, model: &Model) -> Result<()> {
        self.settled = None;
        eventually(DEADLINE, || self.compare(model))?;
        if self.is_damaged {
            eventually(DEADLINE, || {
                let dry_run = [("dry-run".to_owned(), zbus::OwnedVariant::from(true))].into();
                let steps =
                    self.users.call(ROOT, async |manager| manager.repair(&dry_run).await)?;
                ensure!(steps.is_empty(), "{steps:#?}");
                Ok(())
            })?;
            self.is_damaged = false;
        }
        Ok(())
    }

    /// Fails unless objects and links are what the model says; answers with what was seen.
    fn compare(&mut self, model: &Model) -> Result<Seen> {
        let shown = self.users.attachments()?;
        shown::ensure_modelled(&shown, model)?;
        let seen = Seen::look(&mut self.kernel)?;
        seen.ensure_links_of(&shown)?;
        if !self.is_damaged {
            // What each has in the tables is looked at in the end; that nobody else has anything, always.
            seen.ensure_elements_of(&shown)?;
        }
        Ok(seen)
    }

    /// Fails unless everything is as on a host where nothing but the attachments of the model happened, and unless
    /// nothing is left without them.
    pub(super) fn ensure_like_new(&mut self, model: &Model) -> Result<()> {
        self.settle(model)?;
        self.foreign.ensure_unchanged()?;
        let found = comparable(Footprint::look()?)?;
        self.daemon.take().context("no daemon runs")?.stop()?;
        for link in found.links.keys().filter(|link| is_own(link)) {
            run(&format!("ip link delete {link}"))?;
        }
        for table in run("nft list tables")?.lines().filter(|line| line.ends_with("rootful_net")) {
            run(&format!("nft delete {table}"))?;
        }
        fs::remove_dir_all("/run/rootful-net")?;
        self.daemon = Some(Daemon::start(&self.installation)?);
        for ((_, name), attached) in model.attached.clone() {
            let Attached { slot, networks, ports } = attached;
            let wish = Wish { slot, name, networks, ports, replace: false };
            let outcome = self.ask_for(ROOT, &wish)?;
            ensure!(outcome == Ok(true), "attach {wish} on a new host: {outcome:?}");
        }
        let new = comparable(Footprint::look()?)?;
        ensure!(found == new, "{found:#?} would be {new:#?} on a new host");
        for owner in 0..3 {
            let uid = Some(user(owner).uid());
            let options = DetachOptions { owner: uid, ..DetachOptions::default() };
            self.users.detach_all(ROOT, options)?;
        }
        self.foreign.ensure_unchanged()?;
        run("nft flush ruleset")?;
        eventually(DEADLINE, || Footprint::look()?.ensure_no_attachment())
    }

    /// What the daemon said.
    pub(super) fn log() -> String {
        Daemon::log().unwrap_or_default()
    }
}
