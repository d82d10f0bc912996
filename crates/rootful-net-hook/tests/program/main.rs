//! Runs the whole program as podman and its runtime do, against a stand-in for the service on a private bus.

mod bundle;
mod service;

use std::io::Write as _;
use std::process::{Command, Stdio};

use rootful_net_stand_in::Bus;

use crate::bundle::{Bundle, ID};

const NO_BUS: &str = "unix:path=/nonexistent/bus";

/// Runs the hook and gives exit code, stdout and stderr.
fn run(bus: &str, stage: &str, stdin: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rootful-net-hook"))
        .arg(stage)
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut pipe = child.stdin.take().expect("it is piped");
    let bytes = stdin.to_owned();
    // It may well refuse to read it all.
    let writing = std::thread::spawn(move || pipe.write_all(&bytes));
    let output = child.wait_with_output().expect("the program ends");
    let _ = writing.join().expect("it does not panic");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn short() -> &'static str {
    &ID[..12]
}

#[test]
fn a_container_is_attached_with_its_name_from_storage() {
    let bus = service::bus();
    let bundle = Bundle::new(r#"{"type":"network"}"#, Some("web"));
    let state = bundle.state(
        r#""io.rootful-net.publish":"80:80,53:53/udp,tcp","io.rootful-net.alias":"www",
           "io.rootful-net.dns":"192.0.2.53","org.example":"x""#,
    );
    assert_eq!(run(bus.address(), "attach", state.as_bytes()), (0, String::new(), String::new()));
    let call = "own-namespace web [rootful0:alias=www] [80:80/tcp 53:53/udp,tcp]";
    assert_eq!(bus.calls(), [format!("attach {call} container-id {ID} dns [192.0.2.53]")]);
}

#[test]
fn an_annotation_names_the_container_where_storage_does_not() {
    let bus = service::bus();
    let bundle = Bundle::new(r#"{"type":"network","path":"/run/user/1000/netns/x"}"#, None);
    let state =
        bundle.state(r#""io.rootful-net.name":"shop","io.rootful-net.network":"a;b:ip=10.0.0.9""#);
    assert_eq!(run(bus.address(), "attach", state.as_bytes()), (0, String::new(), String::new()));
    let call = format!("attach own-namespace shop [a b:ip=10.0.0.9] [] container-id {ID} dns []");
    assert_eq!(bus.calls(), [call]);
}

#[test]
fn a_container_without_a_network_of_its_own_starts_and_is_not_attached() {
    let cases = [
        (r#"{"type":"network","path":"/proc/769/ns/net"}"#, "shares another one's network"),
        (r#"{"type":"pid"}"#, "uses the host's network"),
    ];
    let bus = service::bus();
    for (namespace, note) in cases {
        let bundle = Bundle::new(namespace, Some("web"));
        let state = bundle.state(r#""io.rootful-net.publish":"80:80""#);
        let (code, stdout, stderr) = run(bus.address(), "attach", state.as_bytes());
        assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
        assert!(stderr.contains(note), "{stderr}");
    }
    let bundle = Bundle::new(r#"{"type":"network"}"#, Some("web"));
    let state = bundle.state(r#""org.example":"x""#);
    assert_eq!(run(NO_BUS, "attach", state.as_bytes()), (0, String::new(), String::new()));
    assert!(bus.calls().is_empty());
}

#[test]
fn what_is_wrong_fails_the_start_with_a_line_that_says_it() {
    let bus = service::bus();
    let cases = [
        (
            r#""io.rootful-net.publsh":"80:80""#,
            Some("web"),
            "annotation \"io.rootful-net.publsh\" is not known",
        ),
        (
            r#""io.rootful-net.publish":"0:80""#,
            Some("web"),
            "annotation io.rootful-net.publish: \"0\"",
        ),
        (r#""io.rootful-net.publish":"80:80""#, None, "annotation io.rootful-net.name"),
        (r#""io.rootful-net.name":"taken""#, Some("web"), "name taken\\u{1b} is taken"),
    ];
    for (annotations, name, text) in cases {
        let bundle = Bundle::new(r#"{"type":"network"}"#, name);
        let (code, stdout, stderr) =
            run(bus.address(), "attach", bundle.state(annotations).as_bytes());
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        let start = format!("rootful-net-hook attach: container {}: ", short());
        assert!(stderr.starts_with(&start) && stderr.contains(text), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    assert!(bus.calls().is_empty());
}

#[test]
fn without_a_bus_or_a_service_the_start_fails() {
    let bundle = Bundle::new(r#"{"type":"network"}"#, Some("web"));
    let state = bundle.state(r#""io.rootful-net.publish":"80:80""#);
    let (code, _, stderr) = run(NO_BUS, "attach", state.as_bytes());
    assert_eq!(code, 1);
    assert!(stderr.contains("no connection to the system bus: "), "{stderr}");
    let bus = Bus::without_service();
    let (code, _, stderr) = run(bus.address(), "attach", state.as_bytes());
    assert_eq!(code, 1);
    assert!(stderr.contains("is not installed or not running: "), "{stderr}");
}

#[test]
fn hostile_input_is_refused() {
    let mut long = b"{\"id\":\"".to_vec();
    long.resize(16 * 1024 * 1024, b'x');
    let deep = "[".repeat(100_000);
    let inputs: [&[u8]; 6] = [b"", b"{}", b"\xff\xfe", b"[]", deep.as_bytes(), &long];
    for input in inputs {
        for (stage, code) in [("attach", 1), ("precreate", 1), ("detach", 0)] {
            // An empty object is a configuration without annotations.
            if (stage, input) == ("precreate", b"{}") {
                continue;
            }
            let (got, stdout, stderr) = run(NO_BUS, stage, input);
            assert_eq!((got, stdout.as_str()), (code, ""), "{stage}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
    let (code, _, stderr) = run(NO_BUS, "poststop", b"");
    assert_eq!(code, 2);
    assert!(stderr.contains("usage: rootful-net-hook precreate|attach|detach"), "{stderr}");
}

#[test]
fn a_stopped_container_is_detached_by_its_id_and_never_fails() {
    let bus = service::bus();
    let bundle = Bundle::new(r#"{"type":"network"}"#, None);
    let state = bundle.stopped();
    assert_eq!(run(bus.address(), "detach", state.as_bytes()), (0, String::new(), String::new()));
    assert_eq!(bus.calls(), [format!("detach all container-id {ID}")]);
    let (code, _, stderr) = run(NO_BUS, "detach", state.as_bytes());
    assert_eq!(code, 0);
    assert!(stderr.contains("no connection to the system bus"), "{stderr}");
}

/// `GOLDEN=update cargo test -p rootful-net-hook` writes the files anew.
#[test]
fn configurations_get_what_they_lack_and_keep_the_rest() {
    let cases = [
        ("plain", vec!["search dns.podman\nnameserver 10.87.0.1\nnameserver fd00::1\n"]),
        ("read-only-auto", vec!["nameserver 192.0.2.53\n", "127.0.0.1\tlocalhost\n"]),
        ("complete", vec![]),
        ("others", vec![]),
    ];
    let bus = service::bus();
    for (name, contents) in cases {
        let bundle = Bundle::new(r#"{"type":"network"}"#, None);
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/golden");
        let read = |path| std::fs::read_to_string(path).expect("the golden file is there");
        let input = bundle.placed(&read(golden.join(format!("{name}.in.json"))));
        let (code, stdout, stderr) = run(bus.address(), "precreate", input.as_bytes());
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}");
        let value: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
        let pretty = serde_json::to_string_pretty(&value).expect("JSON") + "\n";
        let found = bundle.unplaced(&pretty);
        let expected = golden.join(format!("{name}.out.json"));
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
            std::fs::write(&expected, &found).expect("it can be written");
        }
        assert_eq!(found, read(expected), "{name}");
        let files = bundle.files();
        assert_eq!(files.len(), contents.len(), "{name}: {files:?}");
        for content in contents {
            assert!(files.iter().any(|file| file.starts_with(content)), "{name}: {files:?}");
        }
    }
}

#[test]
fn an_unknown_network_or_a_missing_service_fails_the_creation() {
    let input = include_str!("golden/plain.in.json");
    let bundle = Bundle::new(r#"{"type":"network"}"#, None);
    let input = bundle.placed(input);
    let bus = service::bus();
    let other = input.replace("80:80,443:443", "80:80").replace(
        "\"io.rootful-net.publish\"",
        "\"io.rootful-net.network\": \"nosuch\", \"io.rootful-net.publish\"",
    );
    let (code, stdout, stderr) = run(bus.address(), "precreate", other.as_bytes());
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("network \"nosuch\" does not exist"), "{stderr}");
    let (code, stdout, stderr) = run(NO_BUS, "precreate", input.as_bytes());
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("no connection to the system bus"), "{stderr}");
}

#[test]
fn the_definitions_run_each_stage_once_for_our_annotations() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks.d");
    let stages = [("precreate", "precreate"), ("attach", "createRuntime"), ("detach", "poststop")];
    for (argument, stage) in stages {
        let path = dir.join(format!("50-rootful-net-{argument}.json.in"));
        let text = std::fs::read_to_string(path).expect("the definition is there");
        let definition: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(definition["hook"]["args"], serde_json::json!(["rootful-net-hook", argument]));
        assert_eq!(definition["stages"], serde_json::json!([stage]));
        let when = serde_json::json!({ "annotations": { r"^io\.rootful-net\.": ".*" } });
        assert_eq!(definition["when"], when);
    }
    assert_eq!(std::fs::read_dir(dir).expect("a directory").count(), stages.len());
}
