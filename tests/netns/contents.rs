//! What is read of the two tables: their elements, and whether the rest is as it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_core::attachment::NamespaceId;
use rootful_net_core::catalogue::{Catalogue, default_network};
use rootful_net_core::derivation::AddressKey;
use rootful_net_core::ledger::{Leases, Ledger};
use rootful_net_core::observed::{Observed, Query, TableContents};
use rootful_net_core::plan::Step;
use rootful_net_core::planner::{self, AttachDecision, World};
use rootful_net_core::policy::{Caller, Consent, Decision, Policy, Usage, authorize};
use rootful_net_core::request::{AttachRequest, OnConflict};
use rootful_net_core::ruleset::{Change, Element, TableName, Transaction};
use rootful_net_kernel::{Kernel, RulesetMark};
use rootful_net_tests::Test;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;

use crate::ruleset::{additions, element, elements, everything, fresh_tables, listing, nft};

const DEADLINE: Duration = Duration::from_secs(20);
const BOTH: [TableName; 2] = [TableName::INET, TableName::BRIDGE];

pub(crate) const TESTS: &[Test] = &[
    ("contents::elements_of_every_set_are_read_as_they_were_applied", every_set),
    ("contents::elements_of_a_thousand_attachments_are_read", thousand_attachments),
    ("contents::elements_are_read_whole_while_other_tables_change", busy_host),
    ("contents::missing_tables_are_missing", missing_tables),
    ("contents::table_that_somebody_changed_is_not_intact", changed_tables),
    ("contents::elements_that_somebody_changed_are_read", changed_elements),
    ("contents::elements_of_a_form_that_is_not_ours_are_noticed", foreign_elements),
    ("contents::other_tables_play_no_role", other_tables),
    ("contents::replaced_table_is_intact_again", replaced_table),
    ("contents::mark_outlives_the_kernel_that_made_it", mark_outlives),
    ("contents::change_of_others_never_gets_into_the_mark", race_for_the_mark),
    ("contents::generation_counts_changes", generation),
];

fn contents(kernel: &mut Kernel) -> Result<BTreeMap<TableName, TableContents>> {
    Ok(kernel.observe(&Query { ruleset: true, ..Query::default() }, None)?.ruleset)
}

/// The elements of both tables, which must be intact.
fn intact_elements(kernel: &mut Kernel) -> Result<BTreeSet<Element>> {
    let contents = contents(kernel)?;
    for table in BOTH {
        ensure!(contents.get(&table).context("no table")?.intact, "{table} is not intact");
    }
    Ok(contents.into_values().flat_map(|table| table.elements).collect())
}

fn apply(kernel: &mut Kernel, transaction: Transaction) -> Result<()> {
    Ok(kernel.apply(&Step::ChangeRules(transaction), None)?)
}

fn with_everything() -> Result<Kernel> {
    let mut kernel = Kernel::open()?;
    apply(&mut kernel, everything()?)?;
    Ok(kernel)
}

fn differences<'a>(
    found: &'a BTreeSet<Element>,
    expected: &'a BTreeSet<Element>,
) -> impl Iterator<Item = String> + 'a {
    found.symmetric_difference(expected).map(ToString::to_string)
}

fn every_set(_: &Sandbox) -> Result<()> {
    let mut kernel = with_everything()?;
    let mut expected: BTreeSet<_> = elements()?.into_iter().collect();
    assert_eq!(differences(&intact_elements(&mut kernel)?, &expected).next(), None);
    // Without a comment, and with the longest.
    for (port, comment) in [("1", None), ("2", Some("x".repeat(127)))] {
        let plain = element("publish4", &["udp", port], &["10.87.0.2", "1"])?;
        let added = Element { comment, ..plain };
        apply(&mut kernel, additions([added.clone()]))?;
        expected.insert(added);
    }
    assert_eq!(differences(&intact_elements(&mut kernel)?, &expected).next(), None);
    Ok(())
}

/// A host on which containers are attached by plans; only what these do to the ruleset is done.
struct Host {
    catalogue: Catalogue,
    ledger: Ledger,
    key: AddressKey,
    observed: Observed,
}

impl Host {
    fn new() -> Result<Self> {
        let key = AddressKey::from_bytes([7; 32]);
        let mut catalogue = Catalogue::default();
        catalogue.insert(default_network(&key, &[])?)?;
        let (ledger, observed) = (Ledger::new(Leases::default()), Observed::default());
        Ok(Self { catalogue, ledger, key, observed })
    }

    /// What attaching the `number`th container does to the ruleset.
    fn attach(&mut self, number: u16) -> Result<Vec<Transaction>> {
        let (first, last) = (30_000 + 2 * number, 30_001 + 2 * number);
        let publish = [
            format!("{}:80", 10_000 + number),
            format!("{}:53/udp", 10_000 + number),
            format!("192.0.2.1:{first}-{last}:443-444/tcp,sctp"),
            format!("[2001:db8::1]:{}:443", 20_000 + number),
        ];
        let publish: Vec<_> = publish.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let networks = vec!["rootful0".parse()?];
        let name = format!("container{number}").parse()?;
        let request = AttachRequest::new(name, None, networks, &publish, Vec::new())?;
        let root = Caller { uid: 0, user_name: None, groups: Vec::new() };
        let (policy, usage) = (Policy::default(), Usage::default());
        let decision = authorize(&policy, &root, 1000, usage, request, Consent::NotAsked);
        let Ok(Decision::Allowed(authorized)) = decision else { bail!("root needs no grant") };
        let world = World { catalogue: &self.catalogue, ledger: &self.ledger, key: &self.key };
        let namespace = NamespaceId { device: 4, inode: number.into() };
        let decision =
            planner::attach(world, &self.observed, namespace, &authorized, OnConflict::Refuse)?;
        let AttachDecision::Change(change) = decision else { bail!("attached already") };
        self.ledger.insert(change.attached.context("nothing is attached")?);
        self.observed.tables = BOTH.into();
        let rules = |step| match step {
            Step::ChangeRules(transaction) => Some(transaction),
            _ => None,
        };
        Ok(change.plan.steps.into_iter().filter_map(rules).collect())
    }
}

/// Attaches so many, and returns the elements.
fn attached(kernel: &mut Kernel, count: u16) -> Result<BTreeSet<Element>> {
    let mut host = Host::new()?;
    let mut elements = BTreeSet::new();
    for number in 0..count {
        for transaction in host.attach(number)? {
            for change in transaction.changes() {
                match change {
                    Change::AddElement(element) => ensure!(elements.insert(element.clone())),
                    Change::ReplaceTable(_) => {}
                    other => bail!("{other}"),
                }
            }
            apply(kernel, transaction)?;
        }
    }
    Ok(elements)
}

fn thousand_attachments(_: &Sandbox) -> Result<()> {
    const COUNT: u16 = 1000;
    let mut kernel = Kernel::open()?;
    let expected = attached(&mut kernel, COUNT)?;
    let begin = Instant::now();
    let found = intact_elements(&mut kernel)?;
    let time = begin.elapsed();
    println!("{} elements are read in {time:?}", found.len());
    assert_eq!(differences(&found, &expected).next(), None);
    ensure!(found.len() > 20 * usize::from(COUNT), "{} elements", found.len());
    // An alarm and not a benchmark.
    ensure!(time < DEADLINE, "{time:?}");
    Ok(())
}

/// Somebody changes a table of theirs again and again, which shows in every list that is being read.
fn busy_host(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    let expected = attached(&mut kernel, 200)?;
    while_somebody_runs("add table inet other\ndelete table inet other", || {
        let before = kernel.ruleset_generation()?;
        for _ in 0..20 {
            let found = intact_elements(&mut kernel)?;
            let difference = differences(&found, &expected).next();
            ensure!(difference.is_none(), "{difference:?}");
        }
        ensure!(kernel.ruleset_generation()? != before, "nobody changed anything");
        Ok(())
    })
}

/// Does `work` while another thread runs `nft` with these commands again and again.
fn while_somebody_runs(commands: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                // What the commands are about may not be there for a moment.
                _ = nft(&["-f", "-"], commands);
            }
        });
        let outcome = work();
        is_done.store(true, Ordering::Relaxed);
        outcome
    })
}

fn missing_tables(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    ensure!(contents(&mut kernel)?.is_empty());
    ensure!(kernel.mark().is_none());
    nft(&["add", "table", "bridge", "rootful_net"], "")?;
    let expected = [(TableName::BRIDGE, TableContents::default())];
    assert_eq!(contents(&mut kernel)?, expected.into());
    apply(&mut kernel, everything()?)?;
    nft(&["delete", "table", "inet", "rootful_net"], "")?;
    let found = contents(&mut kernel)?;
    ensure!(found.len() == 1 && found[&TableName::BRIDGE].intact);
    nft(&["flush", "ruleset"], "")?;
    ensure!(contents(&mut kernel)?.is_empty());
    Ok(())
}

/// What somebody may do to the table `inet rootful_net` other than to its elements.
const CHANGES: &[&str] = &[
    "add chain inet rootful_net stray",
    "add chain inet rootful_net stray { type filter hook forward priority 5; }",
    "add rule inet rootful_net forward accept",
    "insert rule inet rootful_net forward accept",
    "add rule inet rootful_net to_member counter",
    "flush chain inet rootful_net forward",
    "flush table inet rootful_net",
    "add chain inet rootful_net forward { policy drop; }",
    "add table inet rootful_net { flags dormant; }",
    "add set inet rootful_net stray { type ifname; }",
    "add set inet rootful_net stray { type ipv4_addr; flags interval; }",
    "add rule inet rootful_net forward ip daddr { 192.0.2.1, 192.0.2.2 } drop",
    "flush chain inet rootful_net loopback\ndelete chain inet rootful_net loopback",
    "flush chain inet rootful_net loopback\n\
     delete chain inet rootful_net loopback\n\
     add chain inet rootful_net loopback { type filter hook prerouting priority 0; }\n\
     add rule inet rootful_net loopback iifname @bridges ip daddr 127.0.0.0/8 drop",
    "flush chain inet rootful_net loopback\n\
     add rule inet rootful_net loopback iifname @bridges ip daddr 127.0.0.0/9 drop",
    "flush chain inet rootful_net input\n\
     flush chain inet rootful_net host_access\n\
     flush set inet rootful_net host_services4\n\
     delete set inet rootful_net host_services4",
    "flush chain inet rootful_net input\n\
     delete set inet rootful_net restricted\n\
     add set inet rootful_net restricted { type ipv4_addr; }",
];

fn changed_tables(_: &Sandbox) -> Result<()> {
    let mut kernel = with_everything()?;
    for change in CHANGES {
        apply(&mut kernel, everything()?)?;
        let before = contents(&mut kernel)?;
        ensure!(before.values().all(|table| table.intact), "before {change}");
        nft(&["-f", "-"], change)?;
        let after = contents(&mut kernel)?;
        ensure!(!after[&TableName::INET].intact, "{change}");
        ensure!(after[&TableName::BRIDGE] == before[&TableName::BRIDGE], "{change}");
    }
    apply(&mut kernel, everything()?)?;
    nft(&["add", "rule", "bridge", "rootful_net", "guard", "accept"], "")?;
    let after = contents(&mut kernel)?;
    ensure!(after[&TableName::INET].intact && !after[&TableName::BRIDGE].intact);
    // Order counts, too.
    apply(&mut kernel, everything()?)?;
    let rules = run("nft -a list chain inet rootful_net to_member")?;
    let last = rules.lines().find(|line| line.contains("\tdrop")).context("no rule")?;
    let handle = last.split_whitespace().next_back().context("no handle")?;
    let moved = format!(
        "delete rule inet rootful_net to_member handle {handle}\n\
         insert rule inet rootful_net to_member drop"
    );
    nft(&["-f", "-"], &moved)?;
    ensure!(!contents(&mut kernel)?[&TableName::INET].intact);
    Ok(())
}

fn changed_elements(_: &Sandbox) -> Result<()> {
    let mut kernel = with_everything()?;
    let before = intact_elements(&mut kernel)?;
    nft(&["delete", "element", "inet", "rootful_net", "publish4", "{ tcp . 8080 }"], "")?;
    nft(&["add", "element", "inet", "rootful_net", "bridges", "{ \"foreign\" }"], "")?;
    nft(&["add", "element", "inet", "rootful_net", "connections4", "{ \"a\" . 10.0.0.1 }"], "")?;
    let after = intact_elements(&mut kernel)?;
    let bridge = Element { comment: None, ..element("bridges", &["foreign"], &[])? };
    let found: Vec<_> = differences(&after, &before).collect();
    let expected = [
        bridge.to_string(),
        // What an element of the set counts to that says nothing else.
        "inet rootful_net connections4 { \"a\" . 10.0.0.1 ct count over 4096 }".to_owned(),
        element("publish4", &["tcp", "8080"], &["10.87.0.2", "80"])?.to_string(),
    ];
    assert_eq!(found, expected);
    nft(&["flush", "set", "bridge", "rootful_net", "ports"], "")?;
    let without: BTreeSet<_> = after.into_iter().filter(|one| one.set != "ports").collect();
    assert_eq!(differences(&intact_elements(&mut kernel)?, &without).next(), None);
    Ok(())
}

fn foreign_elements(_: &Sandbox) -> Result<()> {
    let mut kernel = with_everything()?;
    let foreign = [
        "publish4 { 99 . 80 : 10.87.0.2 . 80 }",
        "publish4 { tcp . 0 : 10.87.0.2 . 80 }",
        "publish4 { tcp . 81 : 10.87.0.2 . 0 }",
        "routers { \"rootful0\" . 01:00:5e:00:00:01 }",
        "connections4 { \"rootful0\" . 10.87.0.9 ct count 5 }",
    ];
    for text in foreign {
        apply(&mut kernel, everything()?)?;
        let before = intact_elements(&mut kernel)?;
        nft(&["-f", "-"], &format!("add element inet rootful_net {text}"))?;
        let mut after = contents(&mut kernel)?;
        ensure!(!after[&TableName::INET].intact, "{text}");
        let elements = after.values_mut().flat_map(|table| std::mem::take(&mut table.elements));
        assert_eq!(differences(&elements.collect(), &before).next(), None, "{text}");
    }
    Ok(())
}

fn other_tables(_: &Sandbox) -> Result<()> {
    nft(&["-f", "-"], "add table inet before\nadd chain inet before stray\n")?;
    let mut kernel = with_everything()?;
    let before = contents(&mut kernel)?;
    nft(
        &["-f", "-"],
        "add table ip rootful_net\nadd chain ip rootful_net stray\n\
         add table inet rootful_net2\nadd set inet rootful_net2 bridges { type ifname; }\n\
         add element inet rootful_net2 bridges { \"foreign\" }\n\
         add chain inet rootful_net2 forward { type filter hook forward priority 0; }\n\
         add rule inet rootful_net2 forward accept\n\
         delete table inet before\n",
    )?;
    assert_eq!(contents(&mut kernel)?, before);
    ensure!(before.values().all(|table| table.intact));
    Ok(())
}

fn replaced_table(_: &Sandbox) -> Result<()> {
    let mut kernel = with_everything()?;
    let before = contents(&mut kernel)?;
    nft(&["flush", "ruleset"], "")?;
    apply(&mut kernel, everything()?)?;
    ensure!(contents(&mut kernel)? == before);
    Ok(())
}

fn mark_outlives(_: &Sandbox) -> Result<()> {
    let mut first = with_everything()?;
    let before = contents(&mut first)?;
    let mark = serde_json::to_string(first.mark().context("no mark")?)?;
    drop(first);

    let mut second = Kernel::open()?;
    let unknown = contents(&mut second)?;
    ensure!(unknown.values().all(|table| !table.intact), "without a mark nothing is intact");
    ensure!(unknown[&TableName::INET].elements == before[&TableName::INET].elements);
    second.remember(serde_json::from_str(&mark)?);
    assert_eq!(contents(&mut second)?, before);
    nft(&["add", "chain", "inet", "rootful_net", "stray"], "")?;
    ensure!(!contents(&mut second)?[&TableName::INET].intact);

    let mut other: serde_json::Value = serde_json::from_str(&mark)?;
    other["rules"] = "0".repeat(64).into();
    let mut third = Kernel::open()?;
    third.remember(serde_json::from_value::<RulesetMark>(other)?);
    ensure!(third.mark().is_none(), "a mark of other rules");
    Ok(())
}

/// Somebody adds a chain again and again while the tables are made; where the chain is there in the end, the
/// table is not intact.
fn race_for_the_mark(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    apply(&mut kernel, fresh_tables())?;
    let (mut with_mark, mut without) = (0, 0);
    let end = Instant::now() + DEADLINE;
    while (with_mark == 0 || without == 0) && Instant::now() < end {
        while_somebody_runs("add chain inet rootful_net stray", || {
            for _ in 0..20 {
                apply(&mut kernel, fresh_tables())?;
                if kernel.mark().is_some() {
                    with_mark += 1;
                } else {
                    without += 1;
                }
            }
            Ok(())
        })?;
        let has_stray = listing()?.contains("stray");
        let is_intact = contents(&mut kernel)?[&TableName::INET].intact;
        ensure!(!(has_stray && is_intact), "a foreign chain in a table that is called intact");
    }
    println!("{with_mark} times with a mark, {without} times without");
    ensure!(with_mark > 0 && without > 0, "{with_mark} {without}");
    Ok(())
}

fn generation(_: &Sandbox) -> Result<()> {
    let mut kernel = Kernel::open()?;
    let first = kernel.ruleset_generation()?;
    contents(&mut kernel)?;
    assert_eq!(kernel.ruleset_generation()?, first, "looking changes nothing");
    apply(&mut kernel, everything()?)?;
    let second = kernel.ruleset_generation()?;
    ensure!(second != first);
    nft(&["add", "table", "inet", "other"], "")?;
    ensure!(kernel.ruleset_generation()? != second);
    Ok(())
}
