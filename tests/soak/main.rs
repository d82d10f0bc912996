//! The service for a long time and with much to do: what it takes must not grow, and all of it must come back.
//!
//! Short by default; with `ROOTFUL_NET_SOAK=full` as `make soak` does it. The report is in `target/soak`.

mod report;
mod sample;

use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rootful_net_dbus::{AttachMessage, DetachOptions, ManagerProxy};
use rootful_net_kernel::Kernel;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::{self, Installation, source_dir};
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::{User, message};
use rootful_net_tests::{Suite, Test};
use zbus::{Connection, Fd};

use sample::{QUANTITIES, Quantity, Sample, slope};

const TESTS: &[Test] = &[("soak::nothing_grows_and_everything_comes_back", soak)];

const ALICE: User = User::new(installation::ALICE);
const DEADLINE: Duration = Duration::from_secs(60);
/// How long all of it may take.
const LONGEST: Duration = Duration::from_secs(3600);
/// How many samples there are of the cycles.
const SAMPLES: usize = 100;
/// How many attachments one median is of.
const MEDIAN_OF: usize = 50;
/// How many containers are attached and detached in turn, each under a name of its own.
const IN_TURN: usize = 20;
/// How much longer an attach may take beside all others than alone: links and bridge ports are looked up in lists by
/// the kernel.
const ATTACH_RATIO: f64 = 10.0;
/// How much more memory may be resident when everything is gone than before, KiB: only whole pages are given back.
const MEMORY_LEFT_KIB: f64 = 8192.0;

/// As shipped, without quotas.
const POLICY: &str = r#"
[[grant]]
groups = ["rootful-net"]
networks = ["rootful0"]
host_addresses = ["*"]
ports = { tcp = ["1024-65535"] }
"#;

/// How much is done.
struct Amount {
    live: usize,
    cycles: usize,
    beside: usize,
}

impl Amount {
    fn asked() -> Self {
        match std::env::var("ROOTFUL_NET_SOAK").as_deref() {
            Ok("full") => Self { live: 1000, cycles: 20_000, beside: 100 },
            _ => Self { live: 100, cycles: 400, beside: 20 },
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    live: usize,
    cycles: usize,
    beside: usize,
    machine: String,
    /// The median time of an attach with none and with all others.
    attach: [Duration; 2],
    /// Before anything was attached, with all, and with none again.
    before: Sample,
    full: Sample,
    empty: Sample,
    samples: Vec<Sample>,
    took: Duration,
}

impl Outcome {
    /// The samples that count: caches are full after the first tenth.
    fn settled(&self) -> &[Sample] {
        &self.samples[self.samples.len() / 10..]
    }

    fn ends(&self) -> (&Sample, &Sample) {
        let settled = self.settled();
        (settled.first().expect("there are samples"), settled.last().expect("there are samples"))
    }

    fn growth(&self, quantity: &Quantity) -> f64 {
        let points: Vec<_> =
            self.settled().iter().map(|sample| (sample.cycle, (quantity.of)(sample))).collect();
        let (first, last) = self.ends();
        slope(&points) * (last.cycle - first.cycle)
    }

    fn attach_ratio(&self) -> f64 {
        self.attach[1].as_secs_f64() / self.attach[0].as_secs_f64()
    }

    /// Milliseconds, in the first and in the second half.
    fn processor_time_per_cycle(&self) -> [f64; 2] {
        let (first, last) = self.ends();
        let middle = &self.settled()[self.settled().len() / 2];
        [(first, middle), (middle, last)].map(|(from, to)| {
            let time = to.processor_time.saturating_sub(from.processor_time);
            1000.0 * time.as_secs_f64() / (to.cycle - from.cycle)
        })
    }
}

fn main() -> ExitCode {
    rootful_net_tests::run(Suite {
        tests: TESTS.to_vec(),
        deadline: Some(LONGEST),
        ..Suite::default()
    })
}

fn soak(sandbox: &Sandbox) -> Result<()> {
    let amount = Amount::asked();
    let installation = Installation::new(sandbox)?;
    installation.add_policy("50-default.toml", POLICY)?;
    let mut kernel = Kernel::open()?;
    let containers: Vec<_> = (0..amount.live.max(amount.beside + IN_TURN))
        .map(|_| Container::of(ALICE.uid()))
        .collect::<Result<_>>()?;
    // The kernel belongs to this namespace; who asks has a thread, and so a name, of their own.
    let asking = Asking { containers: &containers };
    // Leases are meant to stay: with all of them it begins.
    let daemon = Daemon::start(&installation)?;
    asking.attach(0..containers.len())?;
    asking.detach(0..containers.len())?;
    settle(0)?;
    daemon.stop()?;
    let daemon = Daemon::start(&installation)?;
    let mut sample = |cycle, links: usize| -> Result<Sample> {
        settle(links)?;
        Sample::take(cycle, daemon.pid(), &mut kernel)
    };

    // One, so that what is made once and kept is there.
    asking.attach(0..1)?;
    asking.detach(0..1)?;
    let before = sample(0, 0)?;
    let times = asking.attach(0..amount.live)?;
    let full = sample(0, amount.live)?;
    asking.detach(0..amount.live)?;
    // Memory is given back with a regular look.
    let empty = eventually(DEADLINE, || {
        let empty = sample(0, 0)?;
        let more = empty.resident_kib - before.resident_kib;
        ensure!(more <= MEMORY_LEFT_KIB, "{more} KiB more than before are resident");
        Ok(empty)
    })?;

    asking.attach(0..amount.beside)?;
    let in_turn = amount.beside..amount.beside + IN_TURN;
    let mut samples = vec![sample(0, amount.beside)?];
    let started = Instant::now();
    let each = amount.cycles / SAMPLES;
    for number in 1..=SAMPLES {
        asking.cycle(in_turn.clone(), each)?;
        samples.push(sample(number * each, amount.beside)?);
    }
    let took = started.elapsed();
    asking.detach(0..amount.beside)?;
    eventually(DEADLINE, || Footprint::look()?.ensure_no_attachment())?;
    let after = sample(amount.cycles, 0)?;

    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let first = median(times[..MEDIAN_OF].to_vec());
    let last = median(times[times.len() - MEDIAN_OF..].to_vec());
    let Amount { live, cycles, beside } = amount;
    let machine = machine()?;
    let attach = [first, last];
    let outcome =
        Outcome { live, cycles, beside, machine, attach, before, full, empty, samples, took };
    report::write(&outcome, &source_dir().join("target/soak"))?;
    for quantity in QUANTITIES {
        let growth = outcome.growth(&quantity);
        let Quantity { name, allowance, .. } = quantity;
        ensure!(growth <= allowance, "{name}: {growth} more by the slope, {allowance} allowed");
    }
    for of in [|sample: &Sample| sample.descriptors, |sample: &Sample| sample.elements] {
        ensure!(of(&after) <= of(&outcome.before), "{:?} became {after:?}", outcome.before);
    }
    let ratio = outcome.attach_ratio();
    ensure!(ratio <= ATTACH_RATIO, "an attach takes {ratio:.1} times as long beside {live} others");
    daemon.stop()
}

/// Waits until there are so many links of containers: they go behind the answer.
fn settle(count: usize) -> Result<()> {
    eventually(DEADLINE, || {
        let names = std::fs::read_dir("/sys/class/net")?;
        let own = names.filter_map(Result::ok).filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("rn")
        });
        let bridges = std::path::Path::new("/sys/class/net/rootful0").exists();
        let links = own.count();
        ensure!(links == count && bridges == (count > 0), "there are {links} links, not {count}");
        Ok(())
    })
}

/// What is asked of the service, one after the other.
struct Asking<'a> {
    containers: &'a [Container],
}

impl Asking<'_> {
    /// Attaches these containers; answers with how long each took.
    fn attach(&self, numbers: std::ops::Range<usize>) -> Result<Vec<Duration>> {
        ALICE.on_bus(async |bus| {
            let mut times = Vec::new();
            for number in numbers {
                let started = Instant::now();
                self.attach_one(&bus, number).await?;
                times.push(started.elapsed());
            }
            Ok(times)
        })
    }

    fn detach(&self, numbers: std::ops::Range<usize>) -> Result<()> {
        ALICE.on_bus(async |bus| {
            for number in numbers {
                self.detach_one(&bus, number).await?;
            }
            Ok(())
        })
    }

    /// Attaches and detaches so many times, in turn.
    fn cycle(&self, numbers: std::ops::Range<usize>, count: usize) -> Result<()> {
        ALICE.on_bus(async |bus| {
            for number in numbers.cycle().take(count) {
                self.attach_one(&bus, number).await?;
                self.detach_one(&bus, number).await?;
            }
            Ok(())
        })
    }

    async fn attach_one(&self, bus: &Connection, number: usize) -> Result<()> {
        let publish = format!("{}:80", 2000 + number);
        let message = message(&format!("web{number}"), &["rootful0"], &[&publish]);
        let AttachMessage { name, networks, publish, .. } = &message;
        let manager = ManagerProxy::builder(bus)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        let namespace = self.containers[number].namespace().fd()?;
        let (namespace, options) = (Fd::from(namespace.as_fd()), message.options());
        let attached = manager.attach(namespace, name, networks, publish, &options).await;
        attached.map(|_| ()).with_context(|| format!("attach {name}"))
    }

    async fn detach_one(&self, bus: &Connection, number: usize) -> Result<()> {
        let manager = ManagerProxy::builder(bus)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        let options = DetachOptions::default().to_dictionary();
        ensure!(manager.detach(&format!("web{number}"), &options).await?, "it was not attached");
        Ok(())
    }
}

/// What it was run on.
fn machine() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = std::thread::available_parallelism()?;
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    Ok(format!("Linux {}, {processors} processors, {build} build", release.trim()))
}
