//! How long it takes until damage of every kind is repaired: at once where the kernel tells of it, at the next regular
//! look where it does not. Tables of others stay as they are, and connections go on.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rootful_net_dbus::objects;
use rootful_net_tests::Test;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::namespace::{run, run_json};
use rootful_net_tests::sandbox::Sandbox;

use crate::daemon::{ALICE, DEADLINE, ROOT, container_of};
use crate::documented;
use crate::picture::Picture;
use crate::stage::{self, Act, Scenario, Stage};

pub(crate) const TESTS: &[Test] = &[("repair_times::damage_is_repaired_in_time", in_time)];

/// How often each kind of damage is done; with `UPDATE_EXPECT` set more often, for the table in docs/reliability.md.
const TIMES: usize = 3;
const TIMES_MEASURED: usize = 20;
/// Within which half of the repairs are made where the kernel tells of the damage.
const TOLD: Duration = Duration::from_millis(100);
/// And each of them, on a machine that does other things besides.
const TOLD_AT_WORST: Duration = Duration::from_millis(1000);
/// The same where it is looked for twice a second.
const LOOKED_FOR: Duration = Duration::from_millis(1000);
const LOOKED_FOR_AT_WORST: Duration = Duration::from_millis(2000);

/// Who damages what is repaired over and over is answered twice a second only; a daemon that is started anew has not seen
/// it.
const BEFORE_IT_IS_A_QUARREL: usize = 10;

/// How the service learns of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noticed {
    /// The kernel tells.
    Told,
    /// It is looked for.
    LookedFor,
}

/// One kind of damage: what it is, how it is noticed, commands that do it, and a question whose answer is another one
/// until it is repaired. `LINK` and `MAC` stand for the subject's host link and MAC address, `ELEMENT` for one of its
/// elements, `HANDLE` for that of a rule, `GATEWAY4` and `GATEWAY6` for the addresses of the bridge.
type Damage = (&'static str, Noticed, &'static [&'static str], &'static str);

const RULESET: &str = "nft -s list table inet rootful_net";
const GUARD: &str = "nft -s list table bridge rootful_net";
const BRIDGE: &str = "ip -oneline link show dev rootful0 up";
const BRIDGE_ADDRESSES: &str = "ip -brief address show dev rootful0";
const PORT: &str = "bridge -details link show dev LINK";
const FORWARDING: &str = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";

const DAMAGE: &[Damage] = &[
    ("`nft flush ruleset`", Noticed::Told, &["nft flush ruleset"], RULESET),
    ("table deleted", Noticed::Told, &["nft delete table inet rootful_net"], RULESET),
    ("guard's table deleted", Noticed::Told, &["nft delete table bridge rootful_net"], GUARD),
    ("chain flushed", Noticed::Told, &["nft flush chain inet rootful_net forward"], RULESET),
    (
        "chain deleted",
        Noticed::Told,
        &["nft flush chain inet rootful_net input", "nft delete chain inet rootful_net input"],
        RULESET,
    ),
    (
        "rule deleted",
        Noticed::Told,
        &["nft delete rule inet rootful_net forward handle HANDLE"],
        RULESET,
    ),
    (
        "element deleted",
        Noticed::Told,
        &["nft delete element inet rootful_net publish4 ELEMENT"],
        RULESET,
    ),
    (
        "tables of others and this one replaced at once",
        Noticed::Told,
        &["nft -f /run/reload.nft"],
        RULESET,
    ),
    ("bridge deleted", Noticed::Told, &["ip link delete rootful0"], PORT),
    ("bridge down", Noticed::Told, &["ip link set rootful0 down"], BRIDGE),
    (
        "IPv4 address of the bridge removed",
        Noticed::Told,
        &["ip address delete GATEWAY4 dev rootful0"],
        BRIDGE_ADDRESSES,
    ),
    (
        "IPv6 address of the bridge removed",
        Noticed::Told,
        &["ip address delete GATEWAY6 dev rootful0"],
        BRIDGE_ADDRESSES,
    ),
    ("IPv4 forwarding off", Noticed::Told, &["sysctl -q net.ipv4.ip_forward=0"], FORWARDING),
    (
        "IPv6 forwarding off",
        Noticed::Told,
        &["sysctl -q net.ipv6.conf.all.forwarding=0"],
        FORWARDING,
    ),
    ("port unplugged", Noticed::Told, &["ip link set LINK nomaster"], PORT),
    ("port down", Noticed::Told, &["ip link set LINK down"], "ip -oneline link show dev LINK up"),
    ("flag of a port changed", Noticed::Told, &["bridge link set dev LINK learning on"], PORT),
    (
        "entry of the forwarding database deleted",
        Noticed::LookedFor,
        &["bridge fdb delete MAC dev LINK master"],
        "bridge fdb show brport LINK",
    ),
];

/// A table of somebody else's, which some tools replace together with everything else.
const FOREIGN: &str = "table inet foreign {
    set blocked { type ipv4_addr; elements = { 198.51.100.1, 198.51.100.2 } }
    chain input { type filter hook input priority 10; policy accept; ip saddr @blocked drop; }
}
";

fn in_time(sandbox: &Sandbox) -> Result<()> {
    let is_measured = std::env::var_os("UPDATE_EXPECT").is_some();
    let times = if is_measured { TIMES_MEASURED } else { TIMES };
    let scenario = Scenario { act: Act::Detach, ..stage::REPLACE_PORTS };
    let mut stage = Stage::set(sandbox, scenario)?;
    stage.prepare()?;
    fs::write("/run/reload.nft", format!("flush ruleset\n{FOREIGN}"))?;
    fs::write("/run/foreign.nft", FOREIGN)?;
    run("nft -f /run/reload.nft")?;
    let model = stage.picture()?;
    let names = Names::look()?;
    let mut rows = Vec::new();
    for (damage, noticed, commands, question) in DAMAGE {
        let mut elapsed = Vec::new();
        for number in 0..times {
            if number % BEFORE_IT_IS_A_QUARREL == 0 {
                stage.daemon.take().context("no daemon runs")?.kill()?;
                stage.start_again()?;
            }
            elapsed.push(
                repair(&mut stage, &model, &names, commands, question)
                    .with_context(|| damage.to_string())?,
            );
        }
        rows.push((*damage, *noticed, elapsed));
    }
    rows.push(("container ended without a word", Noticed::Told, death(&mut stage, times)?));
    let mut table =
        "\n| damage | noticed | median | worst |\n| --- | --- | --- | --- |\n".to_owned();
    let mut late = Vec::new();
    for (damage, noticed, mut elapsed) in rows {
        elapsed.sort();
        let (median, worst) = (elapsed[elapsed.len() / 2], elapsed[elapsed.len() - 1]);
        let (how, limit, limit_at_worst) = match noticed {
            Noticed::Told => ("told", TOLD, TOLD_AT_WORST),
            Noticed::LookedFor => ("looked for", LOOKED_FOR, LOOKED_FOR_AT_WORST),
        };
        let (shown, shown_worst) = (median.as_millis(), worst.as_millis());
        table.push_str(&format!("| {damage} | {how} | {shown} ms | {shown_worst} ms |\n"));
        if median > limit || worst > limit_at_worst {
            late.push(damage);
        }
    }
    table.push('\n');
    println!("{table}");
    ensure!(late.is_empty(), "repaired too late: {late:?}\n{table}");
    if is_measured { documented::ensure_documented("repair times", &table) } else { Ok(()) }
}

/// Names that commands need.
struct Names {
    link: String,
    mac: String,
    gateways: [String; 2],
}

impl Names {
    fn look() -> Result<Self> {
        let attachments =
            ROOT.on_bus(async |connection| Ok(objects::attachments(&connection).await?))?;
        let subject = attachments.into_iter().find(|(_, properties)| properties.name == "web");
        let (_, mut subject) = subject.context("nothing is attached")?;
        let interface = subject.interfaces.remove(0);
        let shown = run_json("ip -json address show dev rootful0")?;
        let addresses = shown[0]["addr_info"].as_array().context("no addresses")?;
        let of = |family: &str| {
            let is_wanted = |address: &&serde_json::Value| {
                address["family"] == family && address["scope"] == "global"
            };
            let address = addresses.iter().find(is_wanted).context("an address")?;
            let local = address["local"].as_str().context("no address")?;
            Ok::<_, anyhow::Error>(format!("{local}/{}", address["prefixlen"]))
        };
        Ok(Self {
            link: interface.host_link,
            mac: interface.mac,
            gateways: [of("inet")?, of("inet6")?],
        })
    }

    fn put_into(&self, command: &str) -> Result<String> {
        let mut command = command
            .replace("LINK", &self.link)
            .replace("MAC", &self.mac)
            .replace("GATEWAY4", &self.gateways[0])
            .replace("GATEWAY6", &self.gateways[1])
            .replace("ELEMENT", "{ tcp . 8080 }");
        if command.contains("HANDLE") {
            let listed = run("nft -a list chain inet rootful_net forward")?;
            let rule = listed.lines().find(|line| line.contains("ct state invalid"));
            let handle = rule.and_then(|rule| rule.rsplit(' ').next()).context("no rule")?;
            command = command.replace("HANDLE", handle);
        }
        Ok(command)
    }
}

/// Does the damage and answers how long it lasted.
fn repair(
    stage: &mut Stage,
    model: &Picture,
    names: &Names,
    commands: &[&str],
    question: &str,
) -> Result<Duration> {
    let question = names.put_into(question)?;
    let foreign = run("nft list table inet foreign")?;
    let whole = in_order(&run(&question)?);
    let mut commands: Vec<String> =
        commands.iter().map(|command| names.put_into(command)).collect::<Result<_>>()?;
    let last = commands.pop().context("no command")?;
    commands.iter().try_for_each(|command| run(command).map(|_| ()))?;
    run(&last)?;
    let begun = Instant::now();
    loop {
        // A link that is not there is no answer.
        if run(&question).is_ok_and(|answer| in_order(&answer) == whole) {
            break;
        }
        ensure!(begun.elapsed() < DEADLINE, "not repaired: {question}: {:?}", run(&question));
    }
    let elapsed = begun.elapsed();
    if last.contains("nft flush ruleset") {
        run("nft -f /run/foreign.nft")?;
    }
    eventually(DEADLINE, || stage.picture()?.ensure_same(model))?;
    stage.ensure_bystander_is_well()?;
    ensure!(run("nft list table inet foreign")? == foreign, "the foreign table is another one");
    Ok(elapsed)
}

/// The same text for the same sets, and for a link that was made anew.
fn in_order(text: &str) -> String {
    let mut words: Vec<_> =
        text.split([' ', '\n', '\t', ',']).filter(|word| !word.is_empty()).collect();
    words.retain(|word| !word.ends_with(':') && !word.starts_with("state"));
    words.sort_unstable();
    words.join(" ")
}

fn records() -> Result<usize> {
    Ok(fs::read_dir("/run/rootful-net/attachments")?.count())
}

/// Containers that end, and how long each was attached behind its link.
fn death(stage: &mut Stage, times: usize) -> Result<Vec<Duration>> {
    let mut elapsed = Vec::new();
    for _ in 0..times {
        let without = stage.picture()?;
        let guest = container_of(ALICE)?;
        let attached = ALICE.set_up(&guest, "guest", "-p 9191:80")?;
        let link = format!("/sys/class/net/{}", attached.interfaces[0].host_link);
        let count = records()?;
        guest.kill()?;
        eventually(DEADLINE, || {
            ensure!(fs::metadata(&link).is_err(), "the kernel keeps the link");
            Ok(())
        })?;
        let begun = Instant::now();
        eventually(DEADLINE, || {
            ensure!(records()? < count, "it is attached");
            Ok(())
        })?;
        elapsed.push(begun.elapsed());
        eventually(DEADLINE, || stage.picture()?.ensure_same(&without))?;
        stage.ensure_bystander_is_well()?;
    }
    Ok(elapsed)
}
