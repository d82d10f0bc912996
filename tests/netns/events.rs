//! That changes by others are told at once, and a kernel's own changes of the ruleset are not.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{Stream, StreamExt as _};
use rootful_net_core::plan::Step;
use rootful_net_core::ruleset::Transaction;
use rootful_net_kernel::{Kernel, KernelEvent};
use rootful_net_tests::Test;
use rootful_net_tests::container::Container;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;

use crate::attaching::{ALICE, attach, attached, bridge, verify, veth};
use crate::ruleset::{additions, deletions, elements, everything, nft};

const DEADLINE: Duration = Duration::from_secs(20);
/// How long nothing is told where nothing is to be told.
const SILENCE: Duration = Duration::from_millis(300);

pub(crate) const TESTS: &[Test] = &[
    ("events::each_change_of_the_ruleset_by_others_is_told", rules_of_others),
    ("events::own_changes_of_the_ruleset_are_not_told", own_rules),
    ("events::changes_of_other_tables_are_not_told", other_tables),
    ("events::many_changes_are_told_a_few_times", many_changes),
    ("events::removed_and_changed_links_of_ours_are_told", own_links),
    ("events::changed_bridge_port_is_told", bridge_port),
    ("events::dead_container_is_told", dead_container),
    ("events::other_links_are_not_told", other_links),
    ("events::removed_addresses_are_told", addresses),
    ("events::forwarding_that_somebody_switches_is_told", forwarding),
    ("events::lost_links_are_told", lost_links),
    ("events::lost_rules_are_told", lost_rules),
];

type Events<'a> = Pin<&'a mut dyn Stream<Item = KernelEvent>>;

async fn next(events: &mut Events<'_>) -> Result<KernelEvent> {
    let event = tokio::time::timeout(DEADLINE, events.next()).await;
    event.context("no event in time")?.context("the events end")
}

/// Waits for this event, whatever comes before.
async fn wait_for(events: &mut Events<'_>, expected: &KernelEvent) -> Result<()> {
    while next(events).await.with_context(|| format!("{expected:?} is not told"))? != *expected {}
    Ok(())
}

/// Everything that is told until nothing is.
async fn drain(events: &mut Events<'_>) -> Result<Vec<KernelEvent>> {
    let mut told = Vec::new();
    while let Ok(event) = tokio::time::timeout(SILENCE, events.next()).await {
        told.push(event.context("the events end")?);
    }
    Ok(told)
}

fn in_runtime(test: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test)
}

fn apply(kernel: &mut Kernel, transaction: Transaction) -> Result<()> {
    Ok(kernel.apply(&Step::ChangeRules(transaction), None)?)
}

fn rules_of_others(_: &Sandbox) -> Result<()> {
    const CHANGES: &[&str] = &[
        "flush ruleset",
        "delete table inet rootful_net",
        "delete table bridge rootful_net",
        "add chain inet rootful_net stray",
        "flush chain inet rootful_net loopback\ndelete chain inet rootful_net loopback",
        "add chain inet rootful_net forward { policy drop; }",
        "add rule inet rootful_net forward accept",
        "flush chain inet rootful_net forward",
        "add set inet rootful_net stray { type ifname; }",
        "add element inet rootful_net bridges { \"foreign\" }",
        "delete element inet rootful_net publish4 { tcp . 8080 }",
        "flush set bridge rootful_net ports",
    ];
    in_runtime(async {
        let mut kernel = Kernel::open()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        for change in CHANGES {
            apply(&mut kernel, everything()?)?;
            nft(&["-f", "-"], change)?;
            wait_for(&mut events, &KernelEvent::RulesChanged).await.context(*change)?;
            let further = drain(&mut events).await?;
            ensure!(further.is_empty(), "{change}: {further:?}");
        }
        Ok(())
    })
}

fn own_rules(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let mut kernel = Kernel::open()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        apply(&mut kernel, everything()?)?;
        apply(&mut kernel, deletions(elements()?))?;
        apply(&mut kernel, additions(elements()?))?;
        apply(&mut kernel, everything()?.inverse())?;
        let told = drain(&mut events).await?;
        ensure!(told.is_empty(), "{told:?}");
        // The same changes by somebody else.
        apply(&mut Kernel::open()?, everything()?)?;
        wait_for(&mut events, &KernelEvent::RulesChanged).await
    })
}

fn other_tables(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let kernel = Kernel::open()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        nft(
            &["-f", "-"],
            "add table ip rootful_net\nadd chain ip rootful_net stray\n\
             add table inet rootful_net2\nadd set inet rootful_net2 bridges { type ifname; }\n\
             add element inet rootful_net2 bridges { \"foreign\" }\n\
             add table netdev rootful_net\n",
        )?;
        let told = drain(&mut events).await?;
        ensure!(told.is_empty(), "{told:?}");
        nft(&["add", "table", "inet", "rootful_net"], "")?;
        wait_for(&mut events, &KernelEvent::RulesChanged).await
    })
}

fn many_changes(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let mut kernel = Kernel::open()?;
        apply(&mut kernel, everything()?)?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        let add = |port| {
            format!("add element inet rootful_net publish6 {{ tcp . {port} : fd87::2 . 80 }}\n")
        };
        nft(&["-f", "-"], &(1000..6000).map(add).collect::<String>())?;
        let told = drain(&mut events).await?;
        ensure!(!told.is_empty() && told.len() < 50, "told {} times", told.len());
        ensure!(told.iter().all(|event| *event == KernelEvent::RulesChanged), "{told:?}");
        Ok(())
    })
}

fn removed(name: &str) -> KernelEvent {
    KernelEvent::LinkRemoved { name: name.to_owned() }
}

fn changed(name: &str) -> KernelEvent {
    KernelEvent::LinkChanged { name: name.to_owned() }
}

fn own_links(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let (mut kernel, _container) = attached()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        for change in ["down", "up", "mtu 1300", "address 02:00:5e:10:00:09", "alias other"] {
            run(&format!("ip link set rootful0 {change}"))?;
            wait_for(&mut events, &changed("rootful0")).await.context(change)?;
            drain(&mut events).await?;
        }
        for change in ["down", "nomaster", "master rootful0", "mtu 1300"] {
            run(&format!("ip link set rn0000000002 {change}"))?;
            wait_for(&mut events, &changed("rn0000000002")).await.context(change)?;
            drain(&mut events).await?;
        }
        run("ip link del rn0000000002")?;
        wait_for(&mut events, &removed("rn0000000002")).await?;
        run("ip link del rootful0")?;
        wait_for(&mut events, &removed("rootful0")).await?;
        // Own changes of links are told as well.
        kernel.apply(&Step::CreateBridge(bridge()), None)?;
        wait_for(&mut events, &changed("rootful0")).await
    })
}

fn bridge_port(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let (kernel, _container) = attached()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        for command in [
            "bridge link set dev rn0000000002 learning on",
            "bridge link set dev rn0000000002 isolated on",
            "ip link set dev rn0000000002 type bridge_slave hairpin on",
        ] {
            run(command)?;
            wait_for(&mut events, &changed("rn0000000002")).await.context(command)?;
            drain(&mut events).await?;
        }
        Ok(())
    })
}

fn dead_container(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let mut kernel = Kernel::open()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        let (dying, staying) = (Container::of(ALICE)?, Container::of(ALICE)?);
        kernel.carry_out(&[Step::CreateBridge(bridge())], None)?;
        kernel.carry_out(&attach(2), Some(&verify(&dying)?))?;
        kernel.carry_out(&attach(3), Some(&verify(&staying)?))?;
        dying.kill()?;
        wait_for(&mut events, &removed("rn0000000002")).await?;
        kernel.apply(&Step::DeleteLink(veth(3).host_link), None)?;
        wait_for(&mut events, &removed("rn0000000003")).await
    })
}

fn other_links(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let kernel = Kernel::open()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        run("ip link add other1 type veth peer name other2")?;
        run("ip link set other1 up")?;
        run("ip link del other1")?;
        let told = drain(&mut events).await?;
        ensure!(told.is_empty(), "{told:?}");
        run("ip link add rn0000000002 type veth peer name other0")?;
        wait_for(&mut events, &changed("rn0000000002")).await
    })
}

fn addresses(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let (kernel, _container) = attached()?;
        run("ip link add other1 type veth peer name other2")?;
        run("ip address add 192.0.2.1/24 dev other1")?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        let lost = |link: &str| KernelEvent::AddressRemoved { link: link.to_owned() };
        for address in ["10.87.0.1/16", "fd00:87::1/64"] {
            run(&format!("ip address del {address} dev rootful0"))?;
            wait_for(&mut events, &lost("rootful0")).await.context(address)?;
            let further = drain(&mut events).await?;
            ensure!(further.is_empty(), "{further:?}");
        }
        run("ip address flush dev other1")?;
        wait_for(&mut events, &lost("other1")).await?;
        run("ip address add 192.0.2.1/24 dev other1")?;
        let told = drain(&mut events).await?;
        ensure!(told.is_empty(), "an address that comes takes nothing away: {told:?}");
        Ok(())
    })
}

fn forwarding(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        run("ip link add rootful0 type bridge")?;
        let kernel = Kernel::open()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        for (switch, values) in [
            ("ipv4/ip_forward", ["1", "0", "1"]),
            ("ipv6/conf/all/forwarding", ["1", "0", "1"]),
            // Those of all links followed.
            ("ipv4/conf/rootful0/forwarding", ["0", "1", "0"]),
            ("ipv6/conf/rootful0/forwarding", ["0", "1", "0"]),
        ] {
            for value in values {
                std::fs::write(format!("/proc/sys/net/{switch}"), value)?;
                wait_for(&mut events, &KernelEvent::ForwardingChanged).await.context(switch)?;
                let further = drain(&mut events).await?;
                let expected = |event: &KernelEvent| *event == KernelEvent::ForwardingChanged;
                ensure!(further.iter().all(expected), "{switch}: {further:?}");
            }
        }
        std::fs::write("/proc/sys/net/ipv4/conf/rootful0/rp_filter", "2")?;
        run("ip link add other1 type veth peer name other2")?;
        run("ip link set other1 up")?;
        let told = drain(&mut events).await?;
        ensure!(told.is_empty(), "{told:?}");
        Ok(())
    })
}

fn lost_links(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        run("ip link add rn0000000002 type veth peer name other0")?;
        let kernel = Kernel::open()?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        // Changes of a link are told while it is up.
        run("ip link set other0 up")?;
        let commands = tempfile::NamedTempFile::new()?;
        let lines: String = (0..20_000).map(|n| format!("link set other0 alias {n}\n")).collect();
        std::fs::write(commands.path(), lines)?;
        run(&format!("ip -batch {}", commands.path().display()))?;
        wait_for(&mut events, &KernelEvent::Lost).await?;
        goes_on(&mut events).await
    })
}

fn lost_rules(_: &Sandbox) -> Result<()> {
    in_runtime(async {
        let mut kernel = Kernel::open()?;
        apply(&mut kernel, everything()?)?;
        let mut events: Events<'_> = pin!(kernel.events()?);
        let comment = "x".repeat(120);
        let add = |number: u32| {
            let [_, a, b, c] = number.to_be_bytes();
            format!("add element inet other addresses {{ 10.{a}.{b}.{c} comment \"{comment}\" }}\n")
        };
        let elements: String = (0..30_000).map(add).collect();
        nft(
            &["-f", "-"],
            "add table inet other\nadd set inet other addresses { type ipv4_addr; }\n",
        )?;
        for _ in 0..3 {
            nft(&["-f", "-"], &elements)?;
            nft(&["flush", "set", "inet", "other", "addresses"], "")?;
        }
        wait_for(&mut events, &KernelEvent::Lost).await?;
        goes_on(&mut events).await
    })
}

/// The stream goes on once what came before has been read.
async fn goes_on(events: &mut Events<'_>) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    loop {
        ensure!(Instant::now() < end, "no events after those that were lost");
        drain(events).await?;
        run("ip link add rn0000000003 type veth peer name other9")?;
        run("ip link del rn0000000003")?;
        nft(&["-f", "-"], "add table inet rootful_net\ndelete table inet rootful_net")?;
        let told = drain(events).await?;
        if told.contains(&removed("rn0000000003")) && told.contains(&KernelEvent::RulesChanged) {
            return Ok(());
        }
    }
}
