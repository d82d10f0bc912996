//! Every operation of every change is made to fail, once or for as long as the change goes on: the change is undone and
//! says so, or it is done, or what remains of it is finished at once when nothing fails any more.
//!
//! Each place fails with one error number of those that are likely there, a different one from place to place; with
//! `ROOTFUL_NET_TESTS=all` with each of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::fault::{Action, Place};
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::Refusal;
use rustix::io::Errno;

use crate::daemon::ALICE;
use crate::documented;
use crate::stage::{self, Act, Model, PROMISED, Scenario, Stage};

pub(crate) const TESTS: &[Test] = &[
    ("failing_steps::attach_the_first", |sandbox| prove(sandbox, stage::ATTACH_FIRST)),
    ("failing_steps::attach_beside_another", |sandbox| prove(sandbox, stage::ATTACH_SECOND)),
    ("failing_steps::detach_the_last", |sandbox| prove(sandbox, stage::DETACH_LAST)),
    ("failing_steps::detach_beside_another", |sandbox| prove(sandbox, stage::DETACH_ONE)),
    ("failing_steps::replace_the_ports", |sandbox| prove(sandbox, stage::REPLACE_PORTS)),
    ("failing_steps::replace_the_network", |sandbox| prove(sandbox, stage::REPLACE_NETWORK)),
    ("failing_steps::replace_the_namespace", |sandbox| prove(sandbox, stage::RESTART)),
    ("failing_steps::release_of_the_dead", |sandbox| prove(sandbox, stage::DEATH)),
    ("failing_steps::repair_at_start", |sandbox| prove(sandbox, stage::START)),
    ("failing_steps::lost_notifications_are_made_up_for", lost_notifications),
    ("failing_steps::reading_does_not_wait_for_a_step_that_stalls", stalled_step),
];

/// For how long something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// The first time.
    Once,
    /// Whenever the same is done, also when it is tried again, undone or repaired, until the change has been answered.
    Throughout,
}

/// The scenarios in which looking fails, too.
const LOOKING: &[&str] =
    &[stage::ATTACH_FIRST.title, stage::DETACH_ONE.title, stage::DEATH.title, stage::START.title];

fn prove(sandbox: &Sandbox, scenario: Scenario) -> Result<()> {
    let model = Model::of(scenario)?;
    let mut stage = Stage::set(sandbox, scenario)?;
    let in_all = std::env::var("ROOTFUL_NET_TESTS").is_ok_and(|value| value == "all");
    let mut rows = Vec::new();
    let mut places_seen = BTreeMap::new();
    for place in stage.places()? {
        let likely = errnos(&place)?;
        // All changes look at the host in the same ways.
        let looks = place.name.contains("observe/") && !LOOKING.contains(&scenario.title);
        if likely.is_empty() || looks {
            continue;
        }
        let seen = places_seen.entry(place.kind.clone()).or_insert(0);
        *seen += 1;
        let mut outcomes = Vec::new();
        for failing in [Failing::Once, Failing::Throughout] {
            // Each of them comes both once and throughout.
            let turn = *seen + usize::from(failing == Failing::Throughout);
            let chosen = if in_all { likely } else { &likely[turn % likely.len()..][..1] };
            let mut outcome = None;
            for &errno in chosen {
                let came = fail(&mut stage, scenario, &model, &place, failing, errno);
                let came = came.with_context(|| format!("{} {failing:?} {errno:?}", place.name))?;
                let same = *outcome.get_or_insert(came);
                ensure!(same == came, "{}: {errno:?}: {came}, not {same}", place.name);
            }
            outcomes.extend(outcome);
        }
        rows.push((place.name, outcomes.join(" | ")));
    }
    let title = format!("failing: {}", scenario.title);
    documented::ensure_documented(&title, &documented::failing_table(&rows))
}

/// What the kernel or the disk may say there.
fn errnos(place: &Place) -> Result<&'static [Errno]> {
    Ok(match place.kind.as_str() {
        "Passage" => &[],
        "Step" => &[Errno::PERM, Errno::NOMEM],
        "Request" => &[Errno::BUSY, Errno::NOBUFS, Errno::EXIST, Errno::NOMEM, Errno::PERM],
        // Lost, and cut off.
        "Answer" => &[Errno::NOBUFS, Errno::MSGSIZE],
        "File" => &[Errno::NOSPC, Errno::IO],
        other => bail!("a place of an unknown kind: {other}"),
    })
}

fn fail(
    stage: &mut Stage,
    scenario: Scenario,
    model: &Model,
    place: &Place,
    failing: Failing,
    errno: Errno,
) -> Result<&'static str> {
    stage.prepare()?;
    let action = Action::Fail(errno.raw_os_error());
    let name = match (failing, scenario.act) {
        (Failing::Once, Act::Die) => format!("*{}", place.name),
        (Failing::Once, Act::Attach(_) | Act::Detach | Act::Start(_)) => place.name.clone(),
        (Failing::Throughout, _) => format!("*{}", without_number(&place.name)),
    };
    let passings = match failing {
        Failing::Once => "1",
        Failing::Throughout => "*",
    };
    stage.faults.order_all(&[(passings, action, &name)])?;
    let answer = stage.act()?;
    if !matches!(scenario.act, Act::Start(_)) {
        stage.wait_for_the_end_of_links()?;
    }
    stage.settle()?;
    stage.faults.clear()?;
    ensure!(stage.daemon.is_some(), "the daemon does not start");
    let outcome = eventually(PROMISED, || {
        let outcome = outcome(stage, scenario, model, failing, answer.as_ref())?;
        stage.ensure_nothing_to_repair()?;
        Ok(outcome)
    })?;
    stage.ensure_bystander_is_well()?;
    let attached = match outcome {
        "undone" => scenario.before,
        "released" => None,
        _ => scenario.after,
    };
    stage.ensure_reachable(attached)?;
    stage.ensure_flows_follow(attached)?;
    eventually(PROMISED, || {
        let kept = stage.store.names()?;
        ensure!(kept.is_empty(), "descriptors are kept: {kept:?}");
        Ok(())
    })?;
    stage.again(model).context("asked again")?;
    stage.remove()?;
    eventually(PROMISED, || stage.picture()?.ensure_same(&model.without))?;
    stage.ensure_flows_follow(None)?;
    Ok(outcome)
}

/// The innermost scope and the point, without the scope's number.
fn without_number(place: &str) -> &str {
    let scope =
        place.rsplit_once('/').map_or(0, |(scopes, _)| scopes.rfind('/').map_or(0, |at| at + 1));
    place[scope..].trim_start_matches(|digit: char| digit.is_ascii_digit()).trim_start()
}

fn outcome(
    stage: &Stage,
    scenario: Scenario,
    model: &Model,
    failing: Failing,
    answer: Option<&Result<(), Refusal>>,
) -> Result<&'static str> {
    let picture = stage.picture()?;
    let is_refused = match answer {
        Some(Err(refusal)) => {
            ensure!(refusal.name == "Internal" || refusal.name == "Unavailable", "{refusal:?}");
            ensure!(!refusal.message.is_empty(), "{refusal:?}");
            true
        }
        Some(Ok(())) | None => false,
    };
    match (scenario.act, is_refused) {
        (Act::Attach(_), true) => {
            let Err(before) = picture.ensure_same(&model.before) else { return Ok("undone") };
            match picture.ensure_same(&model.without) {
                // What cannot be done and cannot be undone either.
                Ok(()) => {
                    let may_be = failing == Failing::Throughout || scenario.may_release;
                    ensure!(may_be, "a live attachment is lost");
                    Ok("released")
                }
                Err(without) => bail!("not as before ({before:#}), nor released ({without:#})"),
            }
        }
        (Act::Detach, true) => match picture.ensure_same(&model.before) {
            Ok(()) => Ok("undone"),
            Err(_) => picture.ensure_same(&model.after).map(|()| "done, and refused"),
        },
        (Act::Start(_), _) => picture.ensure_same(&model.before).map(|()| "repaired"),
        (Act::Attach(_) | Act::Detach | Act::Die, _) => {
            picture.ensure_same(&model.after).map(|()| "done")
        }
    }
}

fn lost_notifications(sandbox: &Sandbox) -> Result<()> {
    let scenario = Scenario { act: Act::Detach, ..stage::REPLACE_PORTS };
    let model = Model::of(scenario)?;
    let mut stage = Stage::set(sandbox, scenario)?;
    for damage in ["nft flush ruleset", "ip link delete rootful0"] {
        stage.prepare()?;
        let lost = Action::Fail(Errno::NOBUFS.raw_os_error());
        stage.faults.order_all(&[("*", lost, "notification")])?;
        run(damage)?;
        eventually(PROMISED, || stage.picture()?.ensure_same(&model.before))?;
        stage.faults.clear()?;
        stage.ensure_bystander_is_well()?;
        stage.remove()?;
    }
    Ok(())
}

fn stalled_step(sandbox: &Sandbox) -> Result<()> {
    const STALL_MILLISECONDS: u64 = 3000;
    const AT_ONCE: Duration = Duration::from_secs(1);
    let scenario = stage::ATTACH_SECOND;
    let mut stage = Stage::set(sandbox, scenario)?;
    let places = stage.places()?;
    let place = places.iter().find(|place| place.name.ends_with("create veth/before"));
    let place = place.context("no veth is made")?;
    stage.prepare()?;
    stage.faults.order(Action::Stall(STALL_MILLISECONDS), &place.name)?;
    let begun = Instant::now();
    let log_length = Daemon::log()?.len();
    let namespace = crate::daemon::fd(&stage.containers[0])?;
    std::thread::scope(|scope| -> Result<()> {
        let attach = scope.spawn(|| {
            use std::os::fd::AsFd as _;
            let message = rootful_net_tests::user::message("web", &["rootful0"], &["8080:80"]);
            ALICE.attach(namespace.as_fd(), &message)
        });
        let mut slowest = Duration::ZERO;
        let mut asked = 0;
        while begun.elapsed() < Duration::from_millis(STALL_MILLISECONDS - 500) {
            let start = Instant::now();
            let listed = ALICE.succeed(&["ps", "--all"])?;
            slowest = slowest.max(start.elapsed());
            asked += 1;
            ensure!(listed.contains("other") && !listed.contains("web"), "{listed}");
        }
        let attached = attach.join().map_err(|_| anyhow::anyhow!("the caller panics"))??;
        ensure!(attached.is_ok(), "{attached:?}");
        ensure!(begun.elapsed() >= Duration::from_millis(STALL_MILLISECONDS), "nothing stalls");
        ensure!(asked >= 3 && slowest < AT_ONCE, "asked {asked} times, {slowest:?}");
        Ok(())
    })?;
    ensure!(Daemon::log()?[log_length..].contains("attached"), "it is not attached");
    stage.faults.clear()?;
    stage.remove()
}
