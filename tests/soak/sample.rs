//! What the daemon takes, and what it has made, at one moment.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rootful_net_core::observed::Query;
use rootful_net_kernel::Kernel;

const LEASE_PATH: &str = "/var/lib/rootful-net/leases.json";
/// USER_HZ, time(7): the unit of processor times in /proc.
const TICKS_PER_SECOND: u64 = 100;

/// One of the quantities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    /// What it is called in the report.
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Sample) -> f64,
    /// How much it may grow from the first cycle to the last, by the slope.
    pub(crate) allowance: f64,
}

/// The quantities that must stay as they are.
pub(crate) const QUANTITIES: [Quantity; 6] = [
    Quantity { name: "resident memory, KiB", of: |sample| sample.resident_kib, allowance: 2048.0 },
    Quantity { name: "file descriptors", of: |sample| sample.descriptors, allowance: 1.0 },
    // Those that wait for the user database come and go; there can be 16 (user_database.rs).
    Quantity { name: "threads", of: |sample| sample.threads, allowance: 8.0 },
    Quantity { name: "nftables elements", of: |sample| sample.elements, allowance: 0.5 },
    Quantity { name: "links", of: |sample| sample.links, allowance: 0.5 },
    Quantity { name: "lease file, bytes", of: |sample| sample.lease_bytes, allowance: 64.0 },
];

/// What was seen after so many cycles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) cycle: f64,
    pub(crate) resident_kib: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    pub(crate) elements: f64,
    pub(crate) links: f64,
    pub(crate) lease_bytes: f64,
    /// Processor time of the daemon since its start.
    pub(crate) processor_time: Duration,
}

impl Sample {
    /// Looks now.
    pub(crate) fn take(cycle: usize, daemon: u32, kernel: &mut Kernel) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{daemon}/status"))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number.with_context(|| format!("no {name}"))?.parse()?)
        };
        let query = Query { ruleset: true, tables: true, own_links: true, ..Query::default() };
        let observed = kernel.observe(&query, None)?;
        let elements: usize = observed.ruleset.values().map(|table| table.elements.len()).sum();
        let lease_bytes = match Path::new(LEASE_PATH).exists() {
            true => fs::metadata(LEASE_PATH)?.len(),
            false => 0,
        };
        Ok(Self {
            cycle: number(cycle)?,
            resident_kib: field("VmRSS:")?,
            descriptors: number(fs::read_dir(format!("/proc/{daemon}/fd"))?.count())?,
            threads: field("Threads:")?,
            elements: number(elements)?,
            links: number(observed.links.len())?,
            lease_bytes: number(usize::try_from(lease_bytes)?)?,
            processor_time: processor_time(daemon)?,
        })
    }
}

fn number(count: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}

fn processor_time(daemon: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{daemon}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let ticks = fields.split(' ').skip(11).take(2).map(|field| Ok(field.parse::<u64>()?));
    let ticks: u64 = ticks.sum::<Result<u64>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The slope of the least-squares line through the points.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count: f64 = points.iter().map(|_| 1.0).sum();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance
}
