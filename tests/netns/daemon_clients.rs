//! What the clients do beyond one call: they ask again when the service went away before it answered, and say
//! which program has a port that they were refused.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::Test;
use rootful_net_tests::bus::Monitor;
use rootful_net_tests::container::Container;
use rootful_net_tests::daemon::Daemon;
use rootful_net_tests::footprint::Footprint;
use rootful_net_tests::installation::binary_path;
use rootful_net_tests::process::Process;
use rootful_net_tests::sandbox::Sandbox;
use rootful_net_tests::user::{Answer, User};
use rustix::process::Signal;

use crate::daemon::{
    ALICE, BOB, ROOT, System, container_of, ensure_nothing_is_left, ensure_seen, serve,
};

pub(crate) const TESTS: &[Test] = &[
    ("clients::setup_and_teardown_outlive_a_killed_service", outlive_a_killed_service),
    ("clients::hook_outlives_a_killed_service", hook_outlives_a_killed_service),
    ("clients::refused_port_names_the_callers_own_program", refused_port_names_the_program),
    ("clients::hook_names_the_program_that_has_the_port", hook_names_the_program),
];

const CONTAINER_ID: &str = "28d26f56a01b99347aa859a4e1507805f78669756d3d8380c21b28e324e3b1aa";

/// Has the service killed between the call of `method` that `ask` makes and its answer, and started again only
/// after whoever asked has seen that it is gone.
fn kill_in_mid_call<T: Send>(
    system: &mut System,
    method: &str,
    ask: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let monitor = Monitor::start()?;
    system.daemon()?.signal(Signal::STOP)?;
    std::thread::scope(|scope| {
        let asking = scope.spawn(ask);
        monitor.wait_for(&format!("member={method}"))?;
        system.end(Daemon::kill)?;
        monitor.wait_for("error_name=org.freedesktop.DBus.Error.NoReply")?;
        monitor.wait_for("error_name=org.freedesktop.DBus.Error.ServiceUnknown")?;
        system.start_again()?;
        match asking.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn outlive_a_killed_service(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let _servers = serve(&container, &[80])?;
    let set_up = || ALICE.set_up(&container, "web", "-p 8080:80/tcp,udp");
    let attachment = kill_in_mid_call(&mut system, "Attach", set_up)?;
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    ensure!(ALICE.set_up(&container, "web", "-p 8080:80/tcp,udp")? == attachment);
    kill_in_mid_call(&mut system, "Detach", || ALICE.tear_down("web"))?;
    ensure_nothing_is_left()
}

fn hook_outlives_a_killed_service(sandbox: &Sandbox) -> Result<()> {
    let mut system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let _servers = serve(&container, &[80])?;
    let bundle = bundle()?;
    let state = state(&bundle, &container, "8080:80/tcp,udp");
    let attach = || hook(ALICE, &container, "attach", &state);
    let answer = kill_in_mid_call(&mut system, "Attach", attach)?;
    ensure!(answer.code == Some(0) && answer.error.is_empty(), "{answer:?}");
    system.lan.run(|| ensure_seen("192.0.2.1:8080", "192.0.2.100"))?;
    let detach = || hook(ALICE, &container, "detach", &state);
    let answer = kill_in_mid_call(&mut system, "DetachAll", detach)?;
    ensure!(answer.code == Some(0) && answer.error.is_empty(), "{answer:?}");
    ensure_nothing_is_left()
}

/// The directory of a container's configuration.
fn bundle() -> Result<String> {
    let bundle_dir = format!("/run/containers/{CONTAINER_ID}/userdata");
    fs::create_dir_all(&bundle_dir)?;
    let config = r#"{"linux":{"namespaces":[{"type":"network"}]}}"#;
    fs::write(Path::new(&bundle_dir).join("config.json"), config)?;
    Ok(bundle_dir)
}

/// What a runtime says to the hook.
fn state(bundle: &str, container: &Container, publish: &str) -> String {
    let pid = container.pid();
    format!(
        r#"{{"ociVersion":"1.0","id":"{CONTAINER_ID}","pid":{pid},"status":"created","bundle":"{bundle}",
            "annotations":{{"io.rootful-net.name":"web","io.rootful-net.publish":"{publish}"}}}}"#
    )
}

/// Runs the hook as podman does: as root of the user namespace that the container's is in, in the host's network.
fn hook(user: User, container: &Container, stage: &str, state: &str) -> Result<Answer> {
    let uid = user.uid();
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={uid}"), &format!("--regid={uid}")]).arg("--clear-groups");
    command.args(["nsenter", "--preserve-credentials", "--user"]);
    command.args(["--target", &container.pid().to_string()]);
    command.args(["setpriv", "--pdeathsig=KILL", "--"]).arg(binary_path("rootful-net-hook"));
    let mut child = command
        .arg(stage)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("a pipe")?.write_all(state.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(Answer {
        code: output.status.code(),
        output: String::from_utf8(output.stdout)?,
        error: String::from_utf8(output.stderr)?,
    })
}

/// A program that listens on TCP port 8080 and UDP port 8053, and calls itself `a"` and an escape character.
const PROGRAM: &str = r#"
    use IO::Socket::INET;
    my $tcp = IO::Socket::INET->new(Listen => 1, LocalAddr => "0.0.0.0:8080") or die "$@";
    my $udp = IO::Socket::INET->new(Proto => "udp", LocalAddr => "0.0.0.0:8053") or die "$@";
    $0 = "a\"\x1b";
    $| = 1;
    print "ready\n";
    sleep;
"#;
const PROGRAM_NAME: &str = r#""a\"\u{1b}""#;

/// Starts it with these words before its own.
fn start_program(words: &[String]) -> Result<Process> {
    let (first, words) = words.split_first().context("a program")?;
    let mut process = Process::start(first, |command| {
        command.args(words).args(["setpriv", "--pdeathsig=KILL", "perl", "-e", PROGRAM]);
        command.stdout(Stdio::piped());
    })?;
    let mut line = String::new();
    BufReader::new(process.take_stdout()?).read_line(&mut line)?;
    ensure!(line == "ready\n", "the program does not start");
    Ok(process)
}

fn as_user(user: User) -> Vec<String> {
    let uid = user.uid();
    let ids = [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()];
    ["setpriv".to_owned()].into_iter().chain(ids).collect()
}

fn refused_port_names_the_program(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let process = start_program(&as_user(ALICE))?;
    let is_alices = |port: &str| {
        format!("port {port} is in use by {PROGRAM_NAME} (pid {}) of user alice\n", process.pid())
    };
    let refused = |user: User, publish: &str| -> Result<String> {
        let before = Footprint::look()?;
        let pid = container.pid().to_string();
        let answer = user.run(&["setup", "--pid", &pid, "--name", "web", "-p", publish])?;
        ensure!(answer.code == Some(5) && answer.output.is_empty(), "{answer:?}");
        ensure!(answer.error.lines().count() == 1, "{answer:?}");
        ensure!(Footprint::look()? == before);
        Ok(answer.error)
    };
    for user in [ALICE, ROOT] {
        for (publish, port) in [("8080:80", "8080/tcp"), ("192.0.2.1:8053:53/udp", "8053/udp")] {
            let error = refused(user, publish)?;
            ensure!(error.ends_with(&format!(": {}", is_alices(port))), "{error}");
        }
    }
    // Another conflict is not the program's fault, and another user's processes are not the caller's business.
    let other = container_of(BOB)?;
    let pid = other.pid().to_string();
    let answer = BOB.run(&["setup", "--pid", &pid, "--name", "web", "-p", "8080:80"])?;
    ensure!(answer.code == Some(5) && answer.error.contains("8080/tcp"), "{answer:?}");
    ensure!(!answer.error.contains("pid"), "{answer:?}");
    // Root sees the service's own sockets.
    ALICE.set_up(&container, "web", "-p 8081:80/tcp,udp")?;
    let answer = ROOT.run(&["setup", "--pid", &pid, "--name", "web", "-p", "8081:80/udp"])?;
    ensure!(answer.code == Some(5) && !answer.error.contains("pid"), "{answer:?}");
    Ok(())
}

fn hook_names_the_program(sandbox: &Sandbox) -> Result<()> {
    let _system = System::start(sandbox)?;
    let container = container_of(ALICE)?;
    let state = state(&bundle()?, &container, "8080:80");
    let user = as_user(ALICE);
    // Podman's own programs are in its user namespace, and those the hook sees.
    let enter = ["nsenter", "--preserve-credentials", "--user", "--target"].map(str::to_owned);
    let within = [user.clone(), enter.to_vec(), vec![container.pid().to_string()]].concat();
    for (words, is_seen) in [(within, true), (user, false)] {
        let process = start_program(&words)?;
        let answer = hook(ALICE, &container, "attach", &state)?;
        ensure!(answer.code == Some(1) && answer.error.contains("8080/tcp"), "{answer:?}");
        ensure!(answer.error.lines().count() == 1, "{answer:?}");
        let pid = process.pid();
        let who = format!("port 8080/tcp is in use by {PROGRAM_NAME} (pid {pid}) of user alice\n");
        ensure!(answer.error.ends_with(&who) == is_seen, "{answer:?}");
        ensure!(answer.error.contains("pid") == is_seen, "{answer:?}");
    }
    Ok(())
}
