//! The daemon is killed at every place of every change, and started again: kernel, records and bus then hold what they
//! hold where nothing went wrong, before the change or after it, and nobody else notices.

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::fault::Action;
use rootful_net_tests::sandbox::Sandbox;

use crate::daemon::DEADLINE;
use crate::documented;
use crate::stage::{self, Act, Asked, Model, PROMISED, Scenario, Stage};

pub(crate) const TESTS: &[Test] = &[
    ("crash_points::attach_the_first", |sandbox| prove(sandbox, stage::ATTACH_FIRST)),
    ("crash_points::attach_beside_another", |sandbox| prove(sandbox, stage::ATTACH_SECOND)),
    ("crash_points::detach_the_last", |sandbox| prove(sandbox, stage::DETACH_LAST)),
    ("crash_points::detach_beside_another", |sandbox| prove(sandbox, stage::DETACH_ONE)),
    ("crash_points::replace_the_ports", |sandbox| prove(sandbox, stage::REPLACE_PORTS)),
    ("crash_points::replace_the_network", |sandbox| prove(sandbox, stage::REPLACE_NETWORK)),
    ("crash_points::replace_the_address", |sandbox| prove(sandbox, stage::REPLACE_ADDRESS)),
    ("crash_points::replace_without_a_descriptor_store", |sandbox| {
        prove(sandbox, stage::REPLACE_UNKEPT)
    }),
    ("crash_points::replace_the_namespace", |sandbox| prove(sandbox, stage::RESTART)),
    ("crash_points::release_of_the_dead", |sandbox| prove(sandbox, stage::DEATH)),
    ("crash_points::repair_at_start", |sandbox| prove(sandbox, stage::START)),
];

fn prove(sandbox: &Sandbox, scenario: Scenario) -> Result<()> {
    let model = Model::of(scenario)?;
    let mut stage = Stage::set(sandbox, scenario)?;
    let mut rows = Vec::new();
    for place in stage.places()? {
        if place.name.contains("observe/") {
            // Nothing changes between these and the places around them.
            continue;
        }
        let outcome = crash(&mut stage, scenario, &model, &place.name);
        rows.push((place.name.clone(), outcome.with_context(|| place.name)?.to_owned()));
    }
    documented::ensure_documented(scenario.title, &documented::crash_table(&rows))
}

fn crash(
    stage: &mut Stage,
    scenario: Scenario,
    model: &Model,
    place: &str,
) -> Result<&'static str> {
    stage.prepare()?;
    match scenario.act {
        Act::Die => stage.faults.order(Action::Kill, &format!("*{place}"))?,
        Act::Attach(_) | Act::Detach | Act::Start(_) => stage.faults.order(Action::Kill, place)?,
    }
    // What it answers, if it does, is known below.
    let _ = stage.act()?;
    if let Some(daemon) = stage.daemon.take() {
        daemon.wait_within(DEADLINE).context("the place is not passed")?;
    }
    stage.faults.clear()?;
    if !matches!(scenario.act, Act::Start(_)) {
        stage.ensure_connection_goes_on().context("while no daemon runs")?;
    }
    let log_length = Daemon::log()?.len();
    stage.start_again()?;
    let (outcome, attached) = eventually(PROMISED, || outcome(stage, scenario, model))?;
    stage.ensure_nothing_to_repair()?;
    stage.ensure_bystander_is_well()?;
    stage.ensure_reachable(attached)?;
    stage.ensure_flows_follow(attached)?;
    let kept = stage.store.names()?;
    ensure!(kept.is_empty(), "descriptors are kept: {kept:?}");
    if outcome == "released" {
        let log = &Daemon::log()?[log_length..];
        ensure!(log.contains("lost its network") || log.contains("undone"), "not logged: {log}");
    }
    stage.again(model).context("asked again")?;
    stage.remove()?;
    stage.picture()?.ensure_same(&model.without).context("without it")?;
    stage.ensure_flows_follow(None).context("without it")?;
    Ok(outcome)
}

/// Which of the states that are allowed it is, and what is attached in it.
fn outcome(
    stage: &Stage,
    scenario: Scenario,
    model: &Model,
) -> Result<(&'static str, Option<Asked>)> {
    let picture = stage.picture()?;
    let before = match (scenario.act, picture.ensure_same(&model.before)) {
        (Act::Start(_), Ok(())) => return Ok(("repaired", scenario.before)),
        (Act::Attach(_) | Act::Detach, Ok(())) => return Ok(("undone", scenario.before)),
        (Act::Die, Ok(())) => bail!("the dead is attached"),
        (_, Err(error)) => error,
    };
    let Err(after) = picture.ensure_same(&model.after) else {
        return Ok(("done", scenario.after));
    };
    let Err(without) = picture.ensure_same(&model.without) else {
        ensure!(scenario.may_release, "a live attachment is lost");
        return Ok(("released", None));
    };
    bail!(
        "it is neither as before ({before:#}), nor as after ({after:#}), nor released ({without:#})"
    )
}
