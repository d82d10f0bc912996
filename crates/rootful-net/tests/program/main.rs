//! Runs the whole program: against a podman that is a script, and a service that is a stand-in on a private
//! bus. What the real ones do is tested elsewhere.

mod podman;
mod service;

use std::process::Output;

use rootful_net_stand_in::Bus;

use crate::podman::Podman;

const NO_BUS: &str = "unix:path=/nonexistent/bus";

/// Runs `rootful-net` and gives exit code, stdout and stderr.
fn run(podman: &Podman, bus: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rootful-net"))
        .args(arguments)
        .env("PATH", podman.path())
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .output()
        .expect("the program runs");
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

/// The stand-in's attachment as the program prints it, owned by whoever runs the tests.
fn attachment_json() -> String {
    let owner = format!("\"owner\": {}", rustix::process::geteuid().as_raw());
    include_str!("attachment.json").replace("\"owner\": 1000", &owner)
}

#[test]
fn without_bus_or_service_the_exit_code_is_6() {
    let podman = Podman::with("running", std::process::id(), "none");
    let (code, stdout, stderr) = run(&podman, NO_BUS, &["ps"]);
    assert_eq!((code, stdout.as_str()), (6, ""), "{stderr}");
    assert!(stderr.starts_with("Error: no connection to the system bus: "), "{stderr}");
    let bus = Bus::without_service();
    for arguments in [&["ps"][..], &["setup", "web"], &["teardown", "web"], &["network", "ls"]] {
        let (code, stdout, stderr) = run(&podman, bus.address(), arguments);
        assert_eq!((code, stdout.as_str()), (6, ""), "{stderr}");
        assert!(stderr.contains("is not installed or not running: "), "{stderr}");
        assert!(stderr.ends_with("; see 'systemctl status rootful-netd'\n"), "{stderr}");
    }
}

#[test]
fn containers_that_cannot_be_attached_are_refused_before_the_service_is_asked() {
    let pid = std::process::id();
    let cases = [
        (Podman::empty(), 4, "Error: container \"web\" does not exist"),
        (
            Podman::broken(),
            1,
            "podman cannot inspect container \"web\": database \\u{1b} is locked",
        ),
        (Podman::missing(), 1, "--pid or --netns"),
        (Podman::with("exited", 0, "none"), 7, "'podman start web'"),
        (Podman::with("running", pid, "bridge"), 5, "already has network \"bridge\""),
        (Podman::with("running", pid, "container:abc"), 5, "'rootful-net setup abc'"),
        (Podman::with("running", u32::MAX, "none"), 7, "does not exist"),
    ];
    let bus = Bus::without_service();
    for (podman, expected, text) in cases {
        let (code, stdout, stderr) = run(&podman, bus.address(), &["setup", "web"]);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_container_is_not_initialized_for_what_cannot_be() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--dry-run"], 7, "run 'podman init web' first"),
        (&["-p", "80-80"], 2, "does not ascend"),
        (&["--network", "a", "--network", "a"], 2, "is asked for twice"),
        (&["-p", "80:80", "-p", "80:81"], 2, "published twice"),
    ];
    let bus = Bus::without_service();
    for (options, expected, text) in cases {
        let podman = Podman::with("created", 0, "none");
        let (code, _, stderr) =
            run(&podman, bus.address(), &[&["setup", "web"], *options].concat());
        assert_eq!(code, *expected, "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
        assert!(!podman.calls().contains("init"), "{}", podman.calls());
    }
}

#[test]
fn a_pod_is_attached_under_its_name_whichever_way_it_is_asked_for() {
    for asked in ["site", "7a4b1fb4c892-infra"] {
        let podman = Podman::with_pod();
        let bus = service::bus();
        let (code, _, stderr) = run(&podman, bus.address(), &["setup", asked]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let calls = bus.calls().join("\n");
        assert!(calls.contains(" site "), "{calls}");
        assert!(calls.contains(&format!("container-id {}", podman::ID)), "{calls}");
    }
}

#[test]
fn a_teardown_of_what_is_gone_needs_nothing_and_succeeds() {
    let lines: &[&[&str]] = &[
        &["teardown", "--pid", "4294967295"],
        &["teardown", "--netns", "/nonexistent/namespace"],
        &["teardown", "--cidfile", "/nonexistent/cidfile"],
    ];
    for line in lines {
        assert_eq!(run(&Podman::missing(), NO_BUS, line), (0, String::new(), String::new()));
    }
}

#[test]
fn a_created_container_is_initialized_and_attached() {
    let podman = Podman::with("created", 0, "none");
    let bus = service::bus();
    let arguments = ["setup", "web", "-p", "8080:80", "--network-alias", "www", "--replace"];
    let (code, stdout, stderr) = run(&podman, bus.address(), &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(
        stdout,
        "CONTAINER  NETWORKS  ADDRESSES             PORTS\n\
         web        rootful0  10.87.3.4, fd00::304  8080->80/tcp\n"
    );
    let id = podman::ID;
    let inspect = "container inspect --format json --";
    assert_eq!(podman.calls(), format!("{inspect} web\ninit -- {id}\n{inspect} {id}\n"));
    let options = format!("aliases [www], container-id {id}, replace true");
    assert_eq!(bus.calls(), [format!("attach own-namespace web [rootful0] [8080:80] {options}")]);
}

#[test]
fn setup_prints_json_and_needs_no_podman_for_a_namespace() {
    let bus = service::bus();
    let pid = std::process::id().to_string();
    let arguments = ["setup", "--pid", &pid, "--name", "web", "--format", "json"];
    let (code, stdout, stderr) = run(&Podman::missing(), bus.address(), &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, attachment_json());
    let (code, ..) = run(
        &Podman::missing(),
        bus.address(),
        &["setup", "--netns", "/proc/self/ns/net", "--name", "web", "--dry-run"],
    );
    assert_eq!(code, 0);
    let calls = ["attach", "plan"].map(|call| format!("{call} own-namespace web [rootful0] [] "));
    assert_eq!(bus.calls(), calls);
}

#[test]
fn what_the_service_says_no_with_is_passed_on() {
    let bus = service::bus();
    let podman = Podman::with("running", std::process::id(), "none");
    let arguments = ["setup", "web", "--name", "taken"];
    let (code, stdout, stderr) = run(&podman, bus.address(), &arguments);
    assert_eq!((code, stdout.as_str()), (5, ""));
    assert_eq!(stderr, "Error: name taken\\u{1b} is taken\n");
}

#[test]
fn attachments_and_networks_are_listed() {
    let bus = service::bus();
    let podman = Podman::missing();
    let cases: &[(&[&str], &str)] = &[
        (&["port", "web"], "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"),
        (&["inspect", "web"], &*attachment_json()),
        (&["inspect", &podman::ID[..12]], &*attachment_json()),
        (&["network", "inspect", "rootful0"], include_str!("networks.json")),
        (&["network", "ls", "--format", "json"], include_str!("networks.json")),
        (
            &["network", "ls"],
            "NAME      INTERFACE  SUBNETS                  INTERNAL\n\
             rootful0  rootful0   10.87.0.0/16, fd00::/64  no\n",
        ),
    ];
    for (arguments, expected) in cases {
        let (code, stdout, stderr) = run(&podman, bus.address(), arguments);
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert_eq!(stdout, *expected, "{arguments:?}");
    }
    let (code, stdout, _) = run(&podman, bus.address(), &["ps", "--all"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("OWNER"), "{stdout}");
    for arguments in [&["inspect", "db"][..], &["port", "db"], &["network", "inspect", "other"]] {
        let (code, stdout, _) = run(&podman, bus.address(), arguments);
        assert_eq!((code, stdout.as_str()), (4, ""), "{arguments:?}");
    }
}

#[test]
fn teardown_goes_by_name_then_by_id() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cidfile = dir.path().join("cid");
    std::fs::write(&cidfile, podman::ID).expect("the file can be written");
    let cidfile = cidfile.to_str().expect("UTF-8");
    let pid = std::process::id().to_string();
    let short = &podman::ID[..12];
    let by_short_id = format!("detach {short}");
    let by_id = format!("detach all container-id {}", podman::ID);
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&["web"], &["detach web"], ""),
        (&["--name", "web"], &["detach web"], ""),
        (&["none"], &["detach none"], ""),
        (&[short], &[&by_short_id, &by_id], ""),
        (&["--name", short], &[&by_short_id], ""),
        (&["0123456789ab"], &["detach 0123456789ab"], ""),
        (&["--cidfile", cidfile], &[&by_id], ""),
        (&["--pid", &pid], &["detach own-namespace"], ""),
        (&["--all"], &["detach all"], "db\nweb\n"),
    ];
    for (arguments, calls, expected) in cases {
        let bus = service::bus();
        let (code, stdout, stderr) =
            run(&Podman::missing(), bus.address(), &[&["teardown"], *arguments].concat());
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, *expected, ""), "{arguments:?}");
        assert_eq!(bus.calls(), *calls, "{arguments:?}");
    }
}

#[test]
fn networks_are_made_and_removed_by_name() {
    let bus = service::bus();
    let podman = Podman::missing();
    let arguments = ["network", "create", "lab", "--subnet", "10.9.0.0/24", "-o", "mtu=1400"];
    let answer = run(&podman, bus.address(), &arguments);
    assert_eq!(answer, (0, "lab\n".to_owned(), String::new()));
    let calls = bus.calls().join("\n");
    let wanted =
        ["\"name\":\"lab\"", "\"subnet\":\"10.9.0.0/24\"", "\"mtu\":\"1400\"", "ignore false"];
    assert!(wanted.iter().all(|wanted| calls.contains(wanted)), "{calls}");

    let bus = service::bus();
    let arguments = ["network", "rm", "--ignore", "lab", "busy", "other"];
    let answer = run(&podman, bus.address(), &arguments);
    let said = "Error: network \"busy\" is in use\n";
    assert_eq!(answer, (5, "lab\n".to_owned(), said.to_owned()));
    assert_eq!(bus.calls(), ["remove lab ignore true"]);
}

#[test]
fn completions_are_printed_for_a_shell() {
    let (code, stdout, _) = run(&Podman::missing(), NO_BUS, &["completion", "bash"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("complete -F _rootful__net"));
}

#[test]
fn the_documented_json_is_what_is_printed() {
    let documented = include_str!("../../../../docs/cli.md");
    for json in [include_str!("attachment.json"), include_str!("networks.json")] {
        assert!(documented.contains(&format!("```json\n{json}```\n")), "{json}");
    }
}
