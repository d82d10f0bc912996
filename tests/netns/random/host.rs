//! The real thing: a host with the daemon, users on the bus and containers, on which operations are done, and what is
//! seen of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_core::mac::MacAddress;
use rootful_net_core::observed::{LinkKind, Observed, Query, Sysctl, TableContents};
use rootful_net_core::ruleset::TableName;
use rootful_net_dbus::{AttachMessage, AttachmentProperties, DetachOptions, ManagerProxy, objects};
use rootful_net_kernel::{Kernel, RulesetMark};
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::Installation;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::{Refusal, message};
use rustix::process::Uid;
use tokio::runtime::Runtime;
use zbus::{Connection, Fd};

use super::model::{Attached, Holder, Model, Outcome};
use super::operation::{Damage, Foreign, NETWORKS, Operation, Policy, Slot, Wish, name, user};

/// How long what must happen may take, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);
const MARK_PATH: &str = "/run/rootful-net/ruleset";
const POLICY_PATH: &str = "/etc/rootful-net/policy.d/50-default.toml";
const SECOND: &str = r#"{"name": "second", "driver": "bridge", "network_interface": "rootful9", "ipv6_enabled": true,
    "subnets": [{"subnet": "10.99.0.0/24"}, {"subnet": "fd99::/64"}]}"#;

/// A host.
pub(super) struct Host {
    // In this order: connections and the daemon end before the bus.
    buses: Vec<Connection>,
    runtime: Runtime,
    daemon: Option<Daemon>,
    installation: Installation,
    kernel: Kernel,
    containers: BTreeMap<Slot, Container>,
    foreign: Vec<String>,
    /// Whether damage was done that need not be repaired yet.
    is_damaged: bool,
    /// What was seen when everything was as it should be, and still must be there until somebody asks for a change.
    settled: Option<Seen>,
}

/// What there is of rootful-net in the kernel, without numbers that change when a link is made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    links: BTreeMap<String, String>,
    stations: BTreeSet<(String, MacAddress)>,
    addresses: BTreeMap<String, BTreeSet<String>>,
    ruleset: BTreeMap<TableName, TableContents>,
    sysctls: BTreeMap<Sysctl, String>,
}

impl Host {
    pub(super) fn start(sandbox: &Sandbox) -> Result<Self> {
        let installation = Installation::new(sandbox)?;
        installation.add_network(SECOND)?;
        write_policy(Policy::Usual)?;
        let daemon = Some(Daemon::start(&installation)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let uids = [user(0).uid(), user(1).uid(), user(2).uid(), 0];
        let buses = uids.into_iter().map(|uid| connect(&runtime, uid)).collect::<Result<_>>()?;
        let mut host = Self {
            buses,
            runtime,
            daemon,
            installation,
            kernel: Kernel::open()?,
            containers: BTreeMap::new(),
            foreign: Vec::new(),
            is_damaged: false,
            settled: None,
        };
        host.foreign = host.foreign_things()?;
        Ok(host)
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
                let found = self.detach(*owner, *name)?;
                ensure!(found != expected.is_empty(), "detached: {found}");
            }
            Operation::DetachNamespace(slot) => {
                let expected = model.detach(|_, attached| attached.slot == *slot);
                if let Some(container) = self.containers.get(slot) {
                    let namespace = container.namespace().fd()?;
                    let found = self.call(slot.owner, async |manager| {
                        manager.detach_namespace(Fd::from(namespace.as_fd())).await
                    })?;
                    ensure!(found != expected.is_empty(), "detached: {found}");
                }
            }
            Operation::DetachAll { owner } => {
                let expected = model.detach(|(other, _), _| other == owner);
                let expected: BTreeSet<_> =
                    expected.into_iter().map(|(_, number)| name(number)).collect();
                let options = DetachOptions::default().to_dictionary();
                let found =
                    self.call(*owner, async |manager| manager.detach_all(&options).await)?;
                let found: BTreeSet<_> = found.into_iter().collect();
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
                let before = self.seen()?;
                if *damage == Damage::FlushRuleset {
                    self.ensure_foreign_as_before()?;
                }
                self.damage(*damage, &before)?;
                if *damage == Damage::FlushRuleset {
                    self.foreign = self.foreign_things()?;
                }
                self.is_damaged = true;
                if *waits {
                    eventually(DEADLINE, || {
                        let after = self.seen()?;
                        ensure!(after == before, "{before:#?} is {after:#?}");
                        Ok(())
                    })?;
                    self.is_damaged = false;
                }
                return Ok(());
            }
            Operation::Foreign(foreign) => {
                self.ensure_foreign_as_before()?;
                self.change_foreign(*foreign);
                self.foreign = self.foreign_things()?;
                changes = false;
            }
            Operation::Policy(policy) => {
                write_policy(*policy)?;
                model.policy = *policy;
                const ROOT: usize = 3;
                self.call(ROOT, async |manager| manager.reload_policy().await)?;
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

    /// Calls a method as one of the users.
    fn call<T>(
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
        let message = wish_message(wish);
        self.ask(caller, async |manager| {
            let AttachMessage { name, networks, publish, .. } = &message;
            let namespace = Fd::from(namespace.as_fd());
            let options = message.options();
            let attached = manager.attach(namespace, name, networks, publish, &options).await?;
            Ok(attached.1)
        })
    }

    fn plan(&mut self, wish: &Wish) -> Result<std::result::Result<String, Refusal>> {
        let namespace = self.container(wish.slot)?.namespace().fd()?;
        let message = wish_message(wish);
        self.ask(wish.slot.owner, async |manager| {
            let AttachMessage { name, networks, publish, .. } = &message;
            let namespace = Fd::from(namespace.as_fd());
            manager.plan(namespace, name, networks, publish, &message.options()).await
        })
    }

    fn detach(&self, owner: usize, number: usize) -> Result<bool> {
        let options = DetachOptions::default().to_dictionary();
        self.call(owner, async |manager| manager.detach(&name(number), &options).await)
    }

    /// Waits until everything is as the model says, with nothing of what was damaged left to be repaired.
    pub(super) fn settle(&mut self, model: &Model) -> Result<()> {
        self.settled = None;
        eventually(DEADLINE, || self.compare(model))?;
        if self.is_damaged {
            const ROOT: usize = 3;
            eventually(DEADLINE, || {
                let dry_run = [("dry-run".to_owned(), zbus::OwnedVariant::from(true))].into();
                let steps = self.call(ROOT, async |manager| manager.repair(&dry_run).await)?;
                ensure!(steps.is_empty(), "{steps:#?}");
                Ok(())
            })?;
            self.is_damaged = false;
        }
        Ok(())
    }

    /// Fails unless objects and links are what the model says; answers with what was seen.
    fn compare(&mut self, model: &Model) -> Result<Seen> {
        const ROOT: usize = 3;
        let shown = self.runtime.block_on(objects::attachments(&self.buses[ROOT]))?;
        let shown: Vec<_> = shown.into_iter().map(|(_, attachment)| attachment).collect();
        let wanted: BTreeSet<_> = model.attached.iter().map(described).collect();
        let found: BTreeSet<_> = shown.iter().map(described_object).collect();
        ensure!(found == wanted, "the bus shows {found:#?}, not {wanted:#?}");
        let interfaces = || shown.iter().flat_map(|attachment| &attachment.interfaces);
        let addresses: Vec<_> = interfaces().flat_map(|interface| &interface.addresses).collect();
        let different: BTreeSet<_> = addresses.iter().collect();
        ensure!(different.len() == addresses.len(), "an address is there twice: {addresses:#?}");
        let macs: BTreeSet<_> = interfaces().map(|interface| &interface.mac).collect();
        ensure!(macs.len() == interfaces().count(), "a MAC address is there twice: {macs:#?}");
        let seen = self.seen()?;
        let bridge_of = |network: &str| NETWORKS.iter().find(|(name, _)| *name == network);
        let bridges = interfaces().filter_map(|interface| bridge_of(&interface.network));
        let links: BTreeSet<_> = interfaces()
            .map(|interface| interface.host_link.as_str())
            .chain(bridges.map(|(_, bridge)| *bridge))
            .collect();
        let found: BTreeSet<_> = seen.links.keys().map(String::as_str).collect();
        ensure!(found == links, "there are {found:?}, not {links:?}");
        if self.is_damaged {
            return Ok(seen);
        }
        // What each has in the tables is looked at in the end; that nobody else has anything, always.
        let networks = interfaces().map(|interface| interface.network.clone());
        let holders: BTreeSet<_> =
            shown.iter().map(|attachment| attachment.id.clone()).chain(networks).collect();
        let elements = || seen.ruleset.values().flat_map(|contents| &contents.elements);
        let comment = |element: &rootful_net_core::ruleset::Element| {
            element.comment.clone().unwrap_or_default()
        };
        let found: BTreeSet<_> = elements().map(comment).collect();
        ensure!(found == holders, "elements belong to {found:?}, not to {holders:?}");
        let is_forward = |set: &str| ["publish4", "publish6"].contains(&set);
        let forwards = elements().filter(|element| is_forward(element.set)).count();
        let ports: usize = shown.iter().map(|attachment| attachment.ports.len()).sum();
        ensure!(forwards == 2 * ports, "there are {forwards} forwards of {ports} ports");
        Ok(seen)
    }

    fn seen(&mut self) -> Result<Seen> {
        if let Ok(sealed) = fs::read_to_string(MARK_PATH)
            && let Some((content, _)) = sealed.rsplit_once("\nsha256:")
            && let Ok(mark) = serde_json::from_str::<RulesetMark>(content)
        {
            self.kernel.remember(mark);
        }
        let bridges = NETWORKS.iter().map(|(_, bridge)| bridge.parse());
        let query = Query {
            own_links: true,
            ruleset: true,
            tables: true,
            addresses: bridges.collect::<Result<_, _>>()?,
            stations: true,
            sysctls: [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()].into(),
            ..Query::default()
        };
        Ok(Seen::from(self.kernel.observe(&query, None)?))
    }

    /// Does the damage, where there is something to damage.
    fn damage(&self, damage: Damage, seen: &Seen) -> Result<()> {
        let links = &seen.links;
        let port = links.keys().find(|link| link.starts_with("rn"));
        let bridge = links.keys().find(|link| link.starts_with("rootful"));
        let (Some(port), Some(bridge)) = (port, bridge) else { return Ok(()) };
        let command = match damage {
            Damage::FlushRuleset => "nft flush ruleset".to_owned(),
            Damage::DeleteTable => "nft delete table inet rootful_net".to_owned(),
            Damage::DeleteGuard => "nft delete table bridge rootful_net".to_owned(),
            Damage::FlushChain => "nft flush chain inet rootful_net forward".to_owned(),
            Damage::FlushMap => "nft flush map inet rootful_net publish4".to_owned(),
            Damage::DeleteGuardElements => {
                "nft flush set bridge rootful_net ipv4_sources".to_owned()
            }
            Damage::AddElement => {
                let element = "{ 10.87.0.99 . \"rootful0\" }";
                format!("nft add element inet rootful_net members4 {element}")
            }
            Damage::DeleteBridge => format!("ip link delete {bridge}"),
            Damage::BridgeDown => format!("ip link set {bridge} down"),
            Damage::FlushAddresses => format!("ip address flush dev {bridge}"),
            Damage::ForwardingOff => {
                fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
                return Ok(());
            }
            Damage::PortDown => format!("ip link set {port} down"),
            Damage::Unplug => format!("ip link set {port} nomaster"),
        };
        // Where it is being repaired, there may be nothing to damage.
        run(&command).map(|_| ()).or_else(|error| match self.is_damaged {
            true => Ok(()),
            false => Err(error),
        })
    }

    /// Changes what is not rootful-net's, where it can be changed.
    fn change_foreign(&self, foreign: Foreign) {
        let commands: &[&str] = match foreign {
            Foreign::AddTable => &[
                "nft add table inet foreign",
                "nft add chain inet foreign input { type filter hook input priority 5 ; }",
                "nft add set inet foreign ports { type inet_service ; }",
                "nft add element inet foreign ports { 22, 80 }",
            ],
            Foreign::DeleteTable => &["nft delete table inet foreign"],
            Foreign::AddRule => &["nft add rule inet foreign input tcp dport @ports accept"],
            Foreign::AddBridge => &[
                "ip link add br-foreign address 02:00:00:00:00:01 type bridge",
                "ip address add 198.51.100.1/24 dev br-foreign",
                "ip link set br-foreign up",
            ],
            Foreign::DeleteBridge => &["ip link delete br-foreign"],
            Foreign::AddRoute => &["ip route add blackhole 203.0.113.0/24"],
            Foreign::DeleteRoute => &["ip route delete blackhole 203.0.113.0/24"],
        };
        for command in commands {
            // It may be there, or not, already.
            let _ = run(command);
        }
    }

    /// Everything that is not rootful-net's, as it is printed.
    fn foreign_things(&self) -> Result<Vec<String>> {
        let tables = run("nft list tables")?;
        let tables: Vec<_> = tables.lines().filter(|line| !line.ends_with("rootful_net")).collect();
        let mut things = Vec::new();
        for table in tables {
            things.push(run(&format!("nft --handle list {table}"))?);
        }
        // Routes of links that are going have no name for them any more.
        let is_foreign =
            |line: &&str| ["br-foreign", "blackhole"].iter().any(|word| line.contains(word));
        things.extend(run("ip route")?.lines().filter(is_foreign).map(str::to_owned));
        if Path::new("/sys/class/net/br-foreign").exists() {
            things.push(run("ip -4 address show br-foreign")?);
        }
        Ok(things)
    }

    pub(super) fn ensure_foreign_as_before(&self) -> Result<()> {
        let now = self.foreign_things()?;
        ensure!(now == self.foreign, "{:#?} became {now:#?}", self.foreign);
        Ok(())
    }

    /// Fails unless everything is as on a host where nothing but the attachments of the model happened, and unless
    /// nothing is left without them.
    pub(super) fn ensure_like_new(&mut self, model: &Model) -> Result<()> {
        self.settle(model)?;
        self.ensure_foreign_as_before()?;
        const ROOT: usize = 3;
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
            let options = options.to_dictionary();
            self.call(ROOT, async |manager| manager.detach_all(&options).await)?;
        }
        self.ensure_foreign_as_before()?;
        run("nft flush ruleset")?;
        eventually(DEADLINE, || Footprint::look()?.ensure_no_attachment())
    }

    /// What the daemon said.
    pub(super) fn log() -> String {
        Daemon::log().unwrap_or_default()
    }
}

fn is_own(link: &str) -> bool {
    link.starts_with("rn") || link.starts_with("rootful")
}

impl From<Observed> for Seen {
    fn from(observed: Observed) -> Self {
        let name_of = |index: u32| {
            let mut links = observed.links.values();
            links.find(|link| link.index == index).map_or("?", |link| link.name.as_str()).to_owned()
        };
        let own = observed.links.values().filter(|link| is_own(&link.name));
        let links = own.map(|link| {
            let master = link.master.map(name_of);
            let kind = match &link.kind {
                LinkKind::Veth => "veth",
                LinkKind::Bridge => "bridge",
                LinkKind::Loopback | LinkKind::Other(_) => "another",
            };
            // The host's end of a pair has a MAC address by chance.
            let mac = (link.kind == LinkKind::Bridge).then_some(link.mac);
            let (alias, up, port) = (&link.alias, link.up, link.port);
            let text = format!("{kind} {alias:?} {master:?} {up} {mac:?} {port:?}");
            (link.name.clone(), text)
        });
        let addresses = observed.addresses.iter().map(|(link, addresses)| {
            (link.clone(), addresses.iter().map(ToString::to_string).collect())
        });
        let stations = observed.stations.iter().map(|(index, mac)| (name_of(*index), *mac));
        Self {
            links: links.collect(),
            stations: stations.filter(|(link, _)| link.starts_with("rn")).collect(),
            addresses: addresses.collect(),
            ruleset: observed.ruleset.clone(),
            sysctls: observed.sysctls.clone(),
        }
    }
}

/// Without what is by chance, the MAC addresses of the host's ends of pairs, and what depends on the order in which
/// things happened: which table was made first, names that were taken, and leases by age.
fn comparable(mut footprint: Footprint) -> Result<Footprint> {
    for (_, link) in footprint.links.iter_mut().filter(|(name, _)| name.starts_with("rn")) {
        let (rest, _) = link.rsplit_once(" \"").context("a link without a MAC address")?;
        *link = rest.to_owned();
    }
    let mut tables: Vec<_> = footprint.ruleset.split_inclusive("\n}\n").collect();
    tables.sort_unstable();
    footprint.ruleset = tables.concat();
    for record in footprint.records.values_mut() {
        let (content, _) = record.rsplit_once("\nsha256:").context("a record is not sealed")?;
        let mut value = serde_json::from_str(content)?;
        forget_names(&mut value);
        *record = serde_json::to_string_pretty(&value)?;
    }
    let leases: serde_json::Value = match footprint.leases.as_str() {
        "" => serde_json::Value::Array(Vec::new()),
        leases => serde_json::from_str(leases)?,
    };
    let mut leases: Vec<_> = leases.as_array().context("a list")?.iter().map(without_age).collect();
    leases.sort_unstable();
    footprint.leases = leases.join("\n");
    Ok(footprint)
}

fn without_age(lease: &serde_json::Value) -> String {
    let mut lease = lease.clone();
    if let Some(fields) = lease.as_object_mut() {
        fields.remove("used");
    }
    lease.to_string()
}

fn forget_names(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.remove("names");
            fields.values_mut().for_each(forget_names);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget_names),
        _ => {}
    }
}

/// An attachment in words, from the model and from the bus.
fn described(((owner, number), attached): (&Holder, &Attached)) -> String {
    let owner = user(*owner).uid();
    let (networks, ports) = (&attached.networks, &attached.ports);
    format!("{} of {owner} {networks:?} {ports:?}", name(*number))
}

fn described_object(attachment: &AttachmentProperties) -> String {
    let interfaces = attachment.interfaces.iter();
    let networks: Vec<_> = interfaces.map(|interface| &interface.network).collect();
    let ports: Vec<_> = attachment.ports.iter().map(|port| port.host_port).collect();
    format!("{} of {} {networks:?} {ports:?}", attachment.name, attachment.owner)
}

fn wish_message(wish: &Wish) -> AttachMessage {
    let publish: Vec<_> = wish.ports.iter().map(|port| format!("{port}:80")).collect();
    let publish: Vec<_> = publish.iter().map(String::as_str).collect();
    let message = message(&name(wish.name), &wish.networks, &publish);
    AttachMessage { replace: wish.replace, ..message }
}

fn write_policy(policy: Policy) -> Result<()> {
    let grant = |who: &str, networks: &str, ports: &str| {
        format!(
            "[[grant]]\n{who}\nnetworks = [{networks}]\nhost_addresses = [\"*\"]\nports = {{ tcp = [\"{ports}\"] }}\n"
        )
    };
    let (members, both) = (r#"groups = ["rootful-net"]"#, r#""rootful0", "second""#);
    let usual = grant(members, both, "1024-65535");
    let text = match policy {
        Policy::Usual => usual,
        Policy::Narrow => grant(members, r#""rootful0""#, "8000-8004"),
        Policy::Open => usual + &grant(r#"users = ["mallory"]"#, both, "1024-65535"),
    };
    Ok(fs::write(POLICY_PATH, text)?)
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
