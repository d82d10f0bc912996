//! Disks that are full, read-only or rotten: what the service does without them, and what it says.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::deadline::eventually;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::Installation;
use rootful_net_tests::namespace::run;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::sealed;
use rootful_net_tests::user::message;
use serde_json::Value;

use crate::daemon::{
    ALICE, BOB, DEADLINE, System, Web, addresses, container_of, ensure_nothing_is_left,
    ensure_refused, ensure_seen, fd,
};

pub(crate) const TESTS: &[Test] = &[
    ("disks::full_state_directory_keeps_nobody_from_attaching", full_state),
    ("disks::read_only_state_directory_keeps_nobody_from_attaching", read_only_state),
    ("disks::no_key_and_no_room_for_one_is_an_error", no_room_for_a_key),
    ("disks::full_runtime_directory_refuses_and_leaves_nothing", full_runtime),
    ("disks::damaged_leases_are_set_aside_and_what_is_attached_keeps_its_address", damaged_leases),
    ("disks::lost_key_is_told_where_there_are_leases", lost_key),
    ("disks::times_of_files_do_not_matter", times_of_files),
];

const STATE_DIR: &str = "/var/lib/rootful-net";
const RUNTIME_DIR: &str = "/run/rootful-net";
const LEASE_PATH: &str = "/var/lib/rootful-net/leases.json";
const KEY_PATH: &str = "/var/lib/rootful-net/address.key";

/// With a small file system of its own at `directory`.
fn start_on_small(sandbox: &Sandbox, directory: &str) -> Result<System> {
    System::start_with(sandbox, |_: &Installation| {
        fs::create_dir_all(directory)?;
        run(&format!("mount -t tmpfs -o size=256k,mode=0755 tmpfs {directory}"))?;
        Ok(())
    })
}

/// Leaves no room in the directory until the file that this makes is removed.
pub(crate) fn fill(directory: &str) -> Result<String> {
    let path = format!("{directory}/filler");
    let mut file = fs::File::create(&path)?;
    // First in large pieces, then to the last byte.
    for size in [4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    let probe = format!("{directory}/probe");
    ensure!(fs::write(&probe, b"x").is_err(), "{directory} is not full");
    fs::remove_file(probe)?;
    Ok(path)
}

/// The names of the leases on disk.
fn names_on_disk() -> Result<Vec<String>> {
    let file: Value = serde_json::from_str(&sealed::read(LEASE_PATH)?)?;
    let leases = file["leases"].as_array().context("a list")?;
    let mut names: Vec<_> = leases.iter().filter_map(|lease| lease["name"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn full_state(sandbox: &Sandbox) -> Result<()> {
    let mut system = start_on_small(sandbox, STATE_DIR)?;
    let containers = [container_of(ALICE)?, container_of(ALICE)?, container_of(BOB)?];
    let first = ALICE.set_up(&containers[0], "first", "")?;
    let filler = fill(STATE_DIR)?;
    let second = ALICE.set_up(&containers[1], "second", "")?;
    let third = BOB.set_up(&containers[2], "third", "")?;
    // What is on disk is whole, and from before.
    ensure!(names_on_disk()? == ["first"]);
    let log = Daemon::log()?;
    ensure!(log.matches("cannot keep the leases").count() == 1, "{log}");
    ensure!(log.contains("No space left on device"), "{log}");
    // The next one starts, and keeps on saying so.
    system.end(Daemon::stop)?;
    system.start_again()?;
    let log = Daemon::log()?;
    ensure!(log.matches("cannot keep the leases").count() == 2, "{log}");
    for (user, container, attachment) in [
        (ALICE, &containers[0], &first),
        (ALICE, &containers[1], &second),
        (BOB, &containers[2], &third),
    ] {
        ensure!(user.set_up(container, &attachment.name, "")? == *attachment);
    }
    // When there is room, they are written without anybody asking.
    fs::remove_file(filler)?;
    eventually(DEADLINE, || {
        let names = names_on_disk()?;
        ensure!(names == ["first", "second", "third"], "{names:?}");
        ensure!(Daemon::log()?.contains("leases are kept again"));
        Ok(())
    })
}

fn read_only_state(sandbox: &Sandbox) -> Result<()> {
    let mut system = start_on_small(sandbox, STATE_DIR)?;
    let container = container_of(ALICE)?;
    let idle = ALICE.set_up(&container, "idle", "")?;
    ALICE.tear_down("idle")?;
    ensure_nothing_is_left()?;
    system.end(Daemon::stop)?;
    run(&format!("mount -o remount,ro {STATE_DIR}"))?;
    system.start_again()?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    let log = Daemon::log()?;
    ensure!(log.contains("cannot keep the leases") && log.contains("Read-only"), "{log}");
    ensure!(addresses(&ALICE.set_up(&container, "idle", "")?)? == addresses(&idle)?);
    run(&format!("mount -o remount,rw {STATE_DIR}"))?;
    eventually(DEADLINE, || {
        ensure!(names_on_disk()? == ["idle", "web"]);
        Ok(())
    })?;
    drop(web);
    Ok(())
}

fn no_room_for_a_key(sandbox: &Sandbox) -> Result<()> {
    let mut system = start_on_small(sandbox, STATE_DIR)?;
    system.end(Daemon::stop)?;
    fs::remove_file(KEY_PATH)?;
    run(&format!("mount -o remount,ro {STATE_DIR}"))?;
    ensure!(system.start_again().is_err());
    let log = Daemon::log()?;
    ensure!(log.contains(&format!("cannot make {KEY_PATH}: ")), "{log}");
    run(&format!("mount -o remount,rw {STATE_DIR}"))?;
    fs::write(KEY_PATH, b"short")?;
    ensure!(system.start_again().is_err());
    let log = Daemon::log()?;
    ensure!(log.contains(&format!("cannot use {KEY_PATH}: ")), "{log}");
    ensure!(log.contains("has 5 bytes") && log.contains("from a backup"), "{log}");
    ensure!(fs::read(KEY_PATH)? == b"short");
    fs::remove_file(KEY_PATH)?;
    system.start_again()
}

fn full_runtime(sandbox: &Sandbox) -> Result<()> {
    let mut system = start_on_small(sandbox, RUNTIME_DIR)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let filler = fill(RUNTIME_DIR)?;
    let refused = container_of(BOB)?;
    let asked = message("db", &["rootful0"], &["8081:80"]);
    let attempt = || BOB.attach(fd(&refused)?.as_fd(), &asked);
    ensure_refused("Unavailable", &["cannot be recorded", "No space left on device"], attempt)?;
    ensure!(refused.run(|| run("ip -brief link"))?.lines().count() == 1);
    let answer = BOB.run(&["setup", "--pid", &refused.pid().to_string(), "--name", "db"])?;
    ensure!(answer.code == Some(6), "{answer:?}");
    // What is attached works, also with another process of the service, and can be detached.
    system.end(Daemon::kill)?;
    system.start_again()?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    ensure!(ALICE.set_up(&web.container, "web", "-p 8080:80/tcp,udp")? == web.attachment);
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    fs::remove_file(filler)?;
    BOB.set_up(&refused, "db", "-p 8081:80")?;
    Ok(())
}

fn damaged_leases(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let idle = container_of(BOB)?;
    let before = addresses(&BOB.set_up(&idle, "idle", "")?)?;
    BOB.tear_down("idle")?;
    let export = sealed::read(LEASE_PATH)?;
    let whole = fs::read(LEASE_PATH)?;
    let mut rotten = whole.clone();
    // One digit of one address: it is JSON still.
    let digit = export.find("10.87.").context("no address")? + "10.87".len() + 1;
    rotten[digit] = if rotten[digit] == b'1' { b'2' } else { b'1' };
    serde_json::from_slice::<Value>(rotten.split(|byte| *byte == b'\n').next().context("a line")?)?;
    let cases =
        [("damaged", &whole[..whole.len() / 2]), ("damaged.2", &[]), ("damaged.3", &rotten)];
    for (number, (suffix, content)) in cases.into_iter().enumerate() {
        system.end(Daemon::stop)?;
        fs::write(LEASE_PATH, content)?;
        system.start_again()?;
        let aside = format!("{LEASE_PATH}.{suffix}");
        ensure!(fs::read(&aside)? == content, "{aside}");
        let log = Daemon::log()?;
        ensure!(log.matches("damaged leases set aside").count() == number + 1, "{log}");
        ensure!(log.contains(&aside) && log.contains("rootful-net lease import"), "{log}");
        system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
        ensure!(names_on_disk()? == ["web"]);
        let again = ALICE.set_up(&web.container, "web", "-p 8080:80/tcp,udp")?;
        ensure!(again == web.attachment, "{again:#?}");
    }
    // The name whose lease is lost gets what is derived for it, which nobody else has.
    ensure!(addresses(&BOB.set_up(&idle, "idle", "")?)? == before);
    Ok(())
}

fn lost_key(sandbox: &Sandbox) -> Result<()> {
    let told = "the address key was missing and is made anew";
    let mut system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let before = addresses(&ALICE.set_up(&container, "web", "")?)?;
    ALICE.tear_down("web")?;
    ensure_nothing_is_left()?;
    system.end(Daemon::stop)?;
    ensure!(!Daemon::log()?.contains(told), "{}", Daemon::log()?);
    fs::remove_file(KEY_PATH)?;
    system.start_again()?;
    let log = Daemon::log()?;
    ensure!(log.contains(told) && log.contains(KEY_PATH), "{log}");
    // What has a lease keeps its address.
    ensure!(addresses(&ALICE.set_up(&container, "web", "")?)? == before);
    Ok(())
}

fn times_of_files(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let web = Web::set_up(ALICE, "web", "-p 8080:80/tcp,udp")?;
    let idle = container_of(BOB)?;
    let kept = addresses(&BOB.set_up(&idle, "idle", "")?)?;
    BOB.tear_down("idle")?;
    let record = format!("{RUNTIME_DIR}/attachments/{}.json", web.attachment.id);
    for date in ["1970-01-01", "2099-01-01"] {
        // What is left goes after the answer, and the record last.
        eventually(DEADLINE, || {
            let records = Footprint::look()?.records;
            ensure!(records.len() == 1, "{records:#?}");
            Ok(())
        })?;
        let before = Footprint::look()?;
        system.end(Daemon::stop)?;
        for path in [LEASE_PATH, KEY_PATH, &record] {
            ensure!(Path::new(path).exists(), "{path}");
            run(&format!("touch --date={date} {path}"))?;
        }
        system.start_again()?;
        let after = Footprint::look()?;
        ensure!(after == before, "{before:#?} became {after:#?}");
        ensure!(addresses(&BOB.set_up(&idle, "idle", "")?)? == kept);
        BOB.tear_down("idle")?;
    }
    Ok(())
}
