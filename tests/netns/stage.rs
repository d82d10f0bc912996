//! What crash points and failing steps are proved with: a change of one attachment beside another one that must not
//! notice, and a picture of everything that the product holds, to compare with that of a sandbox where nothing went
//! wrong.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_dbus::{DetachOptions, Dictionary, ManagerProxy};
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::fault::{Faults, Place};
use rootful_net_tests::fd_store::{FdStore, Keeps};
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::Installation;
use rootful_net_tests::lan::Lan;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::traffic::{Server, ask_tcp};
use rootful_net_tests::user::{Refusal, message};
use zbus::{OwnedVariant, Variant};

use crate::daemon::{ALICE, BOB, Conversation, DEADLINE, ROOT, container_of, fd, serve};
use crate::flow::Flow;
use crate::picture::Picture;

/// How long kernel and records may disagree: the second that is promised, and as much again on a machine that runs other
/// tests besides.
pub(crate) const PROMISED: Duration = Duration::from_secs(2);
/// The UDP ports of the host that subjects publish, now and then.
const UDP_PORTS: [u16; 2] = [8081, 9091];

const GRANT: &str = r#"
    [[grant]]
    users = ["alice", "bob"]
    networks = ["*"]
    host_addresses = ["*"]
    ports = { tcp = ["1024-65535"], udp = ["1024-65535"] }
"#;
const BACK: &str = r#"{"name": "back", "driver": "bridge", "network_interface": "back0",
    "subnets": [{"subnet": "10.99.0.0/24"}, {"subnet": "fd00:99::/64"}], "ipv6_enabled": true}"#;

/// What the subject of a scenario asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Which of the two containers.
    pub(crate) container: usize,
    pub(crate) networks: &'static [&'static str],
    pub(crate) publish: &'static [&'static str],
    /// A TCP port of the host that leads to it.
    pub(crate) port: u16,
}

impl Asked {
    fn publishes_udp(self, port: u16) -> bool {
        self.publish.contains(&format!("{port}:80/udp").as_str())
    }
}

/// What happens in a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// The subject is attached, in the place of what it was attached as.
    Attach(Asked),
    /// The subject is detached.
    Detach,
    /// The subject's container ends without a word.
    Die,
    /// The daemon is killed, these commands are run, and the daemon is started.
    Start(&'static [&'static str]),
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) title: &'static str,
    /// Whether another container is attached to the network meanwhile.
    pub(crate) bystander: bool,
    pub(crate) before: Option<Asked>,
    pub(crate) act: Act,
    pub(crate) after: Option<Asked>,
    /// What the service manager keeps.
    pub(crate) store: Keeps,
    /// Whether the change begins without leases but those of what is attached.
    pub(crate) has_no_leases: bool,
    /// Whether the subject may be released where it cannot be given back what it had.
    pub(crate) may_release: bool,
}

const DUAL: Asked = Asked {
    container: 0,
    networks: &["rootful0"],
    publish: &["8080:80/tcp", "8081:80/udp"],
    port: 8080,
};
const OTHER_PORTS: Asked = Asked { publish: &["9090:80/tcp", "8081:80/udp"], port: 9090, ..DUAL };
const OTHER_NETWORK: Asked =
    Asked { networks: &["back"], publish: &["8080:80/tcp", "9091:80/udp"], ..DUAL };
const OTHER_ADDRESS: Asked = Asked { networks: &["rootful0:ip=10.87.9.9"], ..DUAL };
const RESTARTED: Asked = Asked { container: 1, ..DUAL };

const ATTACH: Scenario = Scenario {
    title: "attach, the first on its network",
    bystander: false,
    before: None,
    act: Act::Attach(DUAL),
    after: Some(DUAL),
    store: Keeps::Descriptors,
    has_no_leases: false,
    may_release: false,
};
const DETACH: Scenario = Scenario {
    title: "detach, the last on its network",
    before: Some(DUAL),
    act: Act::Detach,
    after: None,
    ..ATTACH
};
const REPLACE: Scenario = Scenario { bystander: true, before: Some(DUAL), ..ATTACH };

pub(crate) const ATTACH_FIRST: Scenario = ATTACH;
pub(crate) const ATTACH_SECOND: Scenario =
    Scenario { title: "attach, beside another", bystander: true, has_no_leases: true, ..ATTACH };
pub(crate) const DETACH_LAST: Scenario = DETACH;
pub(crate) const DETACH_ONE: Scenario =
    Scenario { title: "detach, beside another", bystander: true, ..DETACH };
pub(crate) const REPLACE_PORTS: Scenario = Scenario {
    title: "replace, other ports",
    act: Act::Attach(OTHER_PORTS),
    after: Some(OTHER_PORTS),
    ..REPLACE
};
pub(crate) const REPLACE_NETWORK: Scenario = Scenario {
    title: "replace, another network",
    act: Act::Attach(OTHER_NETWORK),
    after: Some(OTHER_NETWORK),
    ..REPLACE
};
pub(crate) const REPLACE_ADDRESS: Scenario = Scenario {
    title: "replace, another address",
    has_no_leases: true,
    act: Act::Attach(OTHER_ADDRESS),
    after: Some(OTHER_ADDRESS),
    ..REPLACE
};
pub(crate) const REPLACE_UNKEPT: Scenario = Scenario {
    title: "replace, another network, without a descriptor store",
    store: Keeps::Nothing,
    may_release: true,
    ..REPLACE_NETWORK
};
pub(crate) const RESTART: Scenario = Scenario {
    title: "replace, the name in another namespace",
    act: Act::Attach(RESTARTED),
    after: Some(RESTARTED),
    may_release: true,
    ..REPLACE
};
pub(crate) const DEATH: Scenario = Scenario {
    title: "release of a container that ended without a word",
    act: Act::Die,
    after: None,
    ..REPLACE
};
pub(crate) const START: Scenario = Scenario {
    title: "start, after the ruleset was flushed and the bridge deleted",
    act: Act::Start(&["nft flush ruleset", "ip link delete rootful0"]),
    after: Some(DUAL),
    ..REPLACE
};

/// What is expected before a change, after it, and without its subject.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) before: Picture,
    pub(crate) after: Picture,
    pub(crate) without: Picture,
}

impl Model {
    /// Looks at a sandbox of its own, in which nothing goes wrong.
    pub(crate) fn of(scenario: Scenario) -> Result<Self> {
        let look = move || -> Result<Self> {
            let sandbox = Sandbox::enter()?;
            let stage = Stage::set(&sandbox, scenario)?;
            let without = stage.picture()?;
            let with = |asked: Option<Asked>| -> Result<Picture> {
                let Some(asked) = asked else { return Ok(without.clone()) };
                stage.attach(asked)?.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
                stage.settle()?;
                let picture = stage.picture()?;
                stage.detach()?.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
                stage.settle()?;
                Ok(picture)
            };
            Ok(Self { before: with(scenario.before)?, after: with(scenario.after)?, without })
        };
        match std::thread::spawn(look).join() {
            Ok(model) => model.context("the model"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// A host on which a scenario is played, over and over.
pub(crate) struct Stage {
    // In this order: the daemon ends before its bus.
    pub(crate) daemon: Option<Daemon>,
    pub(crate) faults: Faults,
    pub(crate) store: FdStore,
    scenario: Scenario,
    _servers: Vec<Server>,
    pub(crate) containers: [Container; 2],
    bystander: Option<Bystander>,
    /// Somebody outside who goes on sending to the UDP ports, whatever becomes of them.
    flows: Vec<Flow>,
    pub(crate) lan: Lan,
    _installation: Installation,
}

struct Bystander {
    conversation: Conversation,
    _container: Container,
    _servers: Vec<Server>,
}

impl Stage {
    pub(crate) fn set(sandbox: &Sandbox, scenario: Scenario) -> Result<Self> {
        let lan = Lan::join(sandbox)?;
        // A closed port is to be told of each time.
        fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0")?;
        let installation = Installation::new(sandbox)?;
        installation.add_policy("back.toml", GRANT)?;
        installation.add_network(BACK)?;
        // With the same key, the same containers have the same addresses.
        fs::create_dir("/var/lib/rootful-net")?;
        fs::write("/var/lib/rootful-net/address.key", [7; 32])?;
        let faults = Faults::new(&installation)?;
        let store = FdStore::start(&installation, scenario.store)?;
        let containers = [container_of(ALICE)?, container_of(ALICE)?];
        let mut servers = Vec::new();
        if !matches!(scenario.act, Act::Die) {
            // They keep the namespace.
            for container in &containers {
                servers.extend(serve(container, &[80])?);
            }
        }
        let daemon = Some(Daemon::start_from(&store)?);
        let mut stage = Self {
            daemon,
            faults,
            store,
            scenario,
            _servers: servers,
            containers,
            bystander: None,
            flows: Vec::new(),
            lan,
            _installation: installation,
        };
        if scenario.bystander {
            let container = container_of(BOB)?;
            let servers = serve(&container, &[80])?;
            let message = message("other", &["rootful0"], &["7000:7000", "7001:80/tcp,udp"]);
            let attached = BOB.attach(fd(&container)?.as_fd(), &message)?;
            attached.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
            let conversation = Conversation::over(&stage.lan, &container, "192.0.2.1:7000")?;
            let bystander = Bystander { conversation, _container: container, _servers: servers };
            stage.bystander = Some(bystander);
        }
        stage.settle()?;
        Ok(stage)
    }

    pub(crate) fn attach(&self, asked: Asked) -> Result<Result<(), Refusal>> {
        let mut message = message("web", asked.networks, asked.publish);
        message.replace = true;
        let namespace = fd(&self.containers[asked.container])?;
        Ok(ALICE.attach(namespace.as_fd(), &message)?.map(|_| ()))
    }

    pub(crate) fn detach(&self) -> Result<Result<(), Refusal>> {
        Ok(ALICE.detach("web", &DetachOptions::default())?.map(|_| ()))
    }

    /// Waits until the daemon has done what it does after its answers.
    pub(crate) fn settle(&self) -> Result<()> {
        ROOT.on_bus(async |connection| {
            // It is done in turn.
            ManagerProxy::new(&connection).await?.show_policy(&Dictionary::new()).await?;
            Ok(())
        })
    }

    /// Has everything be as it is before the change.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        if self.bystander.is_none() {
            // What a first attachment switches on stays so.
            fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "0")?;
            for link in ["all", "default", "lo", Lan::HOST_LINK] {
                fs::write(format!("/proc/sys/net/ipv6/conf/{link}/accept_ra"), "1")?;
            }
        }
        if let Some(asked) = self.scenario.before {
            self.attach(asked)?.map_err(|refusal| anyhow::anyhow!("before: {refusal:?}"))?;
        }
        self.settle()?;
        if self.scenario.has_no_leases {
            self.daemon.take().context("no daemon runs")?.stop()?;
            remove_leases()?;
            self.daemon = Some(Daemon::start_from(&self.store)?);
        }
        let flows = || UDP_PORTS.into_iter().map(|port| Flow::begin("192.0.2.1", port)).collect();
        self.flows = self.lan.run(flows)?;
        self.ensure_flows_follow(self.scenario.before)
    }

    /// Makes the change, as far as the daemon lives. What it answers is `None` where it is not asked, or gone.
    pub(crate) fn act(&mut self) -> Result<Option<Result<(), Refusal>>> {
        match self.scenario.act {
            Act::Attach(asked) => Ok(Some(self.attach(asked)?)),
            Act::Detach => Ok(Some(self.detach()?)),
            Act::Die => {
                let next = container_of(ALICE)?;
                std::mem::replace(&mut self.containers[0], next).kill()?;
                Ok(None)
            }
            Act::Start(damage) => {
                self.daemon.take().context("no daemon runs")?.kill()?;
                damage.iter().try_for_each(|command| run(command).map(|_| ()))?;
                match Daemon::start_from(&self.store) {
                    Ok(daemon) => self.daemon = Some(daemon),
                    Err(error) => ensure!(error.to_string().contains("signal: 9"), "{error:#}"),
                }
                Ok(None)
            }
        }
    }

    /// Waits until the change is complete, where nothing went wrong.
    pub(crate) fn complete(&self) -> Result<()> {
        self.wait_for_the_end_of_links()?;
        if matches!(self.scenario.act, Act::Die) {
            eventually(PROMISED, || {
                let records = Footprint::look()?.records.len();
                ensure!(records == usize::from(self.bystander.is_some()), "{records} records");
                Ok(())
            })?;
        }
        self.settle()
    }

    /// Waits until the kernel has removed the links of a container that has ended; how long it takes is its own affair.
    pub(crate) fn wait_for_the_end_of_links(&self) -> Result<()> {
        match self.scenario.act {
            Act::Attach(_) | Act::Detach | Act::Start(_) => Ok(()),
            Act::Die => eventually(DEADLINE, || {
                let links = Footprint::look()?.links;
                let own = links.keys().filter(|name| name.starts_with("rn")).count();
                ensure!(own == usize::from(self.bystander.is_some()), "{links:#?}");
                Ok(())
            }),
        }
    }

    /// Asks for the same change again; where it was done already that changes nothing.
    pub(crate) fn again(&mut self, model: &Model) -> Result<()> {
        let answer = match self.scenario.act {
            Act::Attach(asked) => self.attach(asked)?,
            Act::Detach => self.detach()?,
            Act::Die | Act::Start(_) => return Ok(()),
        };
        ensure!(answer.is_ok(), "{answer:?}");
        self.settle()?;
        eventually(PROMISED, || self.picture()?.ensure_same(&model.after))?;
        self.ensure_bystander_is_well()?;
        self.ensure_reachable(self.scenario.after)?;
        self.ensure_flows_follow(self.scenario.after)
    }

    /// The places that the change passes, without those where the daemon only looks.
    pub(crate) fn places(&mut self) -> Result<Vec<Place>> {
        let scope = match self.scenario.act {
            Act::Attach(_) => "attach/",
            Act::Detach => "detach/",
            Act::Die => "release/",
            Act::Start(_) => "start/",
        };
        // The end of a container may be noticed when something else is looked after.
        let act = self.scenario.act;
        let within = move |place: Place| {
            let start = match act {
                Act::Die => place.name.find(scope),
                Act::Attach(_) | Act::Detach | Act::Start(_) => {
                    place.name.starts_with(scope).then_some(0)
                }
            };
            start.map(|start| Place { name: place.name[start..].to_owned(), ..place })
        };
        // Some things are written the first time only.
        self.prepare()?;
        self.act()?;
        self.complete()?;
        self.remove()?;
        self.prepare()?;
        let faults = self.faults;
        let trace = faults.trace(|| {
            if let Some(Err(refusal)) = self.act()? {
                bail!("refused: {refusal:?}");
            }
            self.complete()
        });
        self.remove()?;
        let traced: Vec<_> = trace?.into_iter().filter_map(within).collect();
        let mut seen = BTreeSet::new();
        for place in &traced {
            ensure!(seen.insert(&place.name), "{} is passed twice", place.name);
        }
        ensure!(!traced.is_empty(), "nothing is traced");
        Ok(traced)
    }

    /// Starts the daemon again after it was killed.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        if let Some(daemon) = self.daemon.take() {
            daemon.wait_within(DEADLINE)?;
        }
        self.daemon = Some(Daemon::start_from(&self.store)?);
        Ok(())
    }

    /// Detaches the subject.
    pub(crate) fn remove(&self) -> Result<()> {
        self.detach()?.map_err(|refusal| anyhow::anyhow!("at last: {refusal:?}"))?;
        self.settle()
    }

    /// Fails unless the connection that the bystander has goes on, and it gets new ones.
    pub(crate) fn ensure_bystander_is_well(&mut self) -> Result<()> {
        let Some(bystander) = &mut self.bystander else { return Ok(()) };
        bystander.conversation.go_on()?;
        self.lan.run(|| ask_tcp("192.0.2.1:7001".parse()?).map(|_| ()))
    }

    /// As [`Self::ensure_bystander_is_well`], for the connection only.
    pub(crate) fn ensure_connection_goes_on(&mut self) -> Result<()> {
        match &mut self.bystander {
            Some(bystander) => bystander.conversation.go_on(),
            None => Ok(()),
        }
    }

    /// Fails unless the subject answers as it is attached.
    pub(crate) fn ensure_reachable(&self, asked: Option<Asked>) -> Result<()> {
        match asked {
            Some(asked) if !matches!(self.scenario.act, Act::Die) => {
                self.lan.run(|| ask_tcp(format!("192.0.2.1:{}", asked.port).parse()?).map(|_| ()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Fails unless what is sent over and over to the UDP ports goes where they lead as the subject is attached.
    pub(crate) fn ensure_flows_follow(&self, asked: Option<Asked>) -> Result<()> {
        // Nothing serves in a container that is to end.
        let serves = !matches!(self.scenario.act, Act::Die);
        self.flows.iter().try_for_each(|flow| {
            let is_open = serves && asked.is_some_and(|asked| asked.publishes_udp(flow.port()));
            eventually(PROMISED, || flow.ensure_open(is_open))
        })
    }

    /// Fails unless the daemon itself finds nothing to repair.
    pub(crate) fn ensure_nothing_to_repair(&self) -> Result<()> {
        let only_look = OwnedVariant::try_from(Variant::from(true))?;
        let options = Dictionary::from([("dry-run".to_owned(), only_look)]);
        let found = ROOT.on_bus(async |connection| {
            Ok(ManagerProxy::new(&connection).await?.repair(&options).await?)
        })?;
        ensure!(found.is_empty(), "there is something to repair: {found:#?}");
        Ok(())
    }

    /// What is there now.
    pub(crate) fn picture(&self) -> Result<Picture> {
        Picture::look(&self.containers)
    }
}

fn remove_leases() -> Result<()> {
    match fs::remove_file("/var/lib/rootful-net/leases.json") {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        Err(_) | Ok(()) => Ok(()),
    }
}
