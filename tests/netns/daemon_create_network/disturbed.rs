//! Networks that are made and removed while the disk refuses, the service is killed, or both go on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::fault::{Action, Faults};
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::Refusal;
use rustix::io::Errno;

use super::{
    GRANT, LAB, NETWORK_DIR, Networks, create, create_with, ensure_code, ensure_kept, granted,
    ignore, remove,
};
use crate::daemon::{ALICE, DEADLINE, ROOT, System, container_of, ensure_refused};
use crate::daemon_disks::fill;

pub(super) const TESTS: &[Test] = &[
    ("create_network::disk_that_is_full_or_read_only_changes_nothing", disks),
    ("create_network::every_refusal_of_the_disk_changes_nothing", failing_disk),
    ("create_network::one_is_whole_or_not_there_after_a_crash", crashes),
    ("create_network::command_outlives_a_killed_service", outlives),
];

const STATE_DIR: &str = "/var/lib/rootful-net";

fn disks(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start_with(sandbox, |installation| {
        installation.add_policy("all.toml", GRANT)?;
        fs::create_dir_all(STATE_DIR)?;
        run(&format!("mount -t tmpfs -o size=256k,mode=0755 tmpfs {STATE_DIR}"))?;
        Ok(())
    })?;
    granted(create(ROOT, LAB)?)?;
    let more = r#"{"name": "more"}"#;
    let filler = fill(STATE_DIR)?;
    let words = ["network is not made", "No space left on device", "more.json"];
    ensure_kept("Unavailable", &words, || create(ROOT, more))?;
    ensure_code(ROOT, &["network", "create", "more"], 6, "No space left on device")?;
    run(&format!("mount -o remount,ro {STATE_DIR}"))?;
    let words = ["network is not made", "Read-only file system", "more.json"];
    ensure_kept("Unavailable", &words, || create(ROOT, more))?;
    let words = ["network is not removed", "Read-only file system", "lab.json"];
    ensure_kept("Unavailable", &words, || remove(ROOT, "lab"))?;
    // What was not removed is used.
    let container = container_of(ALICE)?;
    ALICE.set_up(&container, "web", "--network lab")?;
    ALICE.tear_down("web")?;
    run(&format!("mount -o remount,rw {STATE_DIR}"))?;
    fs::remove_file(filler)?;
    granted(remove(ROOT, "lab")?)?;
    granted(create(ROOT, more)?)?;
    let before = Networks::look()?;
    system.end(Daemon::stop)?;
    system.start_again()?;
    ensure!(Networks::look()? == before);
    Ok(())
}

/// With a daemon that obeys orders to fail.
fn start_with_faults(sandbox: &Sandbox) -> Result<(System, Faults)> {
    let mut faults = None;
    let system = System::start_with(sandbox, |installation| {
        faults = Some(Faults::new(installation)?);
        installation.add_policy("all.toml", GRANT)
    })?;
    Ok((system, faults.context("made before the daemon starts")?))
}

/// What goes wrong in the middle.
#[derive(Clone, Copy, Debug)]
enum Change {
    Create,
    Remove,
}

impl Change {
    /// Makes the network, or removes it, so that it is not as it will be.
    fn prepare(self) -> Result<()> {
        let is_there = Path::new(NETWORK_DIR).join("lab.json").exists();
        match (self, is_there) {
            (Self::Create, true) => granted(remove(ROOT, "lab")?),
            (Self::Remove, false) => granted(create(ROOT, LAB)?).map(|_| ()),
            (Self::Create, false) | (Self::Remove, true) => Ok(()),
        }
    }

    fn act(self) -> Result<Result<(), Refusal>> {
        match self {
            Self::Create => Ok(create(ROOT, LAB)?.map(|_| ())),
            Self::Remove => remove(ROOT, "lab"),
        }
    }
}

fn failing_disk(sandbox: &Sandbox) -> Result<()> {
    let (mut system, faults) = start_with_faults(sandbox)?;
    for change in [Change::Create, Change::Remove] {
        change.prepare()?;
        let places = faults.trace(|| granted(change.act()?))?;
        let places: Vec<_> = places.iter().filter(|place| place.kind == "File").collect();
        ensure!(!places.is_empty(), "{change:?} has nothing to do with the disk");
        for place in places {
            for errno in [Errno::NOSPC, Errno::IO] {
                let case = format!("{change:?}: {errno:?} at {}", place.name);
                change.prepare()?;
                let before = Networks::look()?;
                faults.order(Action::Fail(errno.raw_os_error()), &place.name)?;
                let refused = ensure_refused("Unavailable", &["network is not"], || change.act());
                refused.with_context(|| case.clone())?;
                faults.clear()?;
                ensure!(Networks::look()? == before, "{case}");
                system.end(Daemon::kill)?;
                system.start_again()?;
                ensure!(Networks::look()? == before, "{case}, and started again");
            }
        }
    }
    Ok(())
}

fn crashes(sandbox: &Sandbox) -> Result<()> {
    let (mut system, faults) = start_with_faults(sandbox)?;
    let without = Networks::look()?;
    granted(create(ROOT, LAB)?)?;
    let with = Networks::look()?;
    for change in [Change::Create, Change::Remove] {
        change.prepare()?;
        let places = faults.trace(|| granted(change.act()?))?;
        let mut outcomes = Vec::new();
        for place in places.iter().filter(|place| !place.name.contains("observe/")) {
            let case = format!("{change:?}: killed at {}", place.name);
            change.prepare()?;
            faults.order(Action::Kill, &place.name)?;
            // Whether it still answers does not matter.
            let _ = change.act()?;
            system.end(|daemon| daemon.wait_within(DEADLINE)).with_context(|| case.clone())?;
            faults.clear()?;
            system.start_again()?;
            let found = Networks::look()?;
            if found == with {
                outcomes.push("there");
            } else if found == without {
                outcomes.push("gone");
            } else {
                bail!("{case}: {found:#?}");
            }
            // It can be asked for again.
            granted(create_with(ROOT, LAB, &ignore())?).with_context(|| case.clone())?;
            ensure!(Networks::look()? == with, "{case}, and made again");
        }
        outcomes.dedup();
        let expected = match change {
            Change::Create => ["gone", "there"],
            Change::Remove => ["there", "gone"],
        };
        ensure!(outcomes == expected, "{change:?}: {outcomes:?}");
    }
    Ok(())
}

/// The service is killed when it has done it and before it has said so; asked again, it does not take that for a
/// mistake.
fn outlives(sandbox: &Sandbox) -> Result<()> {
    let (mut system, faults) = start_with_faults(sandbox)?;
    let cases: [(&[&str], &str); 2] = [
        (&["network", "create", "lab"], "*write network file/after rename"),
        (&["network", "rm", "lab"], "*remove network file/after"),
    ];
    for (arguments, place) in cases {
        faults.order(Action::Kill, place)?;
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ROOT.succeed(arguments));
            system.end(|daemon| daemon.wait_within(DEADLINE)).context(place)?;
            faults.clear()?;
            system.start_again()?;
            match asking.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        ensure!(answer == "lab\n", "{arguments:?}: {answer}");
        // Whoever asks anew is told.
        let answer = ROOT.run(arguments)?;
        ensure!(answer.code != Some(0), "{arguments:?}: {answer:?}");
    }
    Ok(())
}
