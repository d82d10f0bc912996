use super::*;

const ID: &str = "28d26f56a01b99347aa859a4e1507805f78669756d3d8380c21b28e324e3b1aa";

fn config(json: &str) -> Config {
    Config::parse(json.as_bytes()).expect(json)
}

#[test]
fn a_namespace_is_the_containers_own_or_somebody_elses() {
    let cases = [
        (r#"[{"type":"pid"},{"type":"network"}]"#, NetworkNamespace::Own),
        (r#"[{"type":"network","path":""}]"#, NetworkNamespace::Own),
        (r#"[{"type":"network","path":"/run/user/1000/netns/netns-1"}]"#, NetworkNamespace::Own),
        (r#"[{"type":"network","path":"/proc/769/ns/net"}]"#, NetworkNamespace::OfContainer),
        (r#"[{"type":"pid"}]"#, NetworkNamespace::OfHost),
        ("[]", NetworkNamespace::OfHost),
    ];
    for (namespaces, expected) in cases {
        let config = config(&format!(r#"{{"linux":{{"namespaces":{namespaces}}}}}"#));
        assert_eq!(config.network_namespace(), expected, "{namespaces}");
    }
}

#[test]
fn mounts_are_found_by_their_place() {
    let config =
        config(r#"{"mounts":[{"destination":"/etc/hosts"},{"destination":"/etc//x/"},{}]}"#);
    for (place, there) in [("/etc/hosts", true), ("/etc/x", true), ("/etc", false), ("/", false)] {
        assert_eq!(config.has_mount(place), there, "{place}");
    }
}

#[test]
fn podmans_files_say_which_container_it_is() {
    let cases = [
        ("/etc/hostname", format!("/run/x/{ID}/userdata/hostname"), true),
        ("/run/.containerenv", format!("/run/x/{ID}/userdata/.containerenv"), true),
        ("/etc/hosts", "/home/alice/hosts".to_owned(), false),
        ("/etc/hosts", "/home/alice/userdata/hosts".to_owned(), false),
        ("/data", format!("/run/x/{ID}/userdata/hostname"), false),
        ("/etc/hostname", "/".to_owned(), false),
    ];
    for (destination, source, known) in cases {
        let mount = format!(r#"{{"destination":"{destination}","source":"{source}"}}"#);
        let config = config(&format!(r#"{{"mounts":[{mount}]}}"#));
        let id = config.container_id().map(|id| id.to_string());
        assert_eq!(id, known.then(|| ID.to_owned()), "{source}");
        let dir = known.then(|| PathBuf::from(format!("/run/x/{ID}/userdata")));
        assert_eq!(config.files_dir(), dir, "{source}");
    }
}

#[test]
fn root_in_the_container_is_somebody_in_podmans_namespace() {
    let cases = [
        ("{}", (0, 0)),
        (r#"{"uidMappings":[{"containerID":0,"hostID":1,"size":9}]}"#, (1, 0)),
        (
            r#"{"uidMappings":[{"containerID":5,"hostID":0,"size":1},{"containerID":0,"hostID":7,"size":5}],
                "gidMappings":[{"containerID":0,"hostID":8,"size":5}]}"#,
            (7, 8),
        ),
        (r#"{"uidMappings":[{"containerID":0,"hostID":-1,"size":9}]}"#, (0, 0)),
    ];
    for (linux, expected) in cases {
        let config = config(&format!(r#"{{"linux":{linux}}}"#));
        assert_eq!(config.root_user(), expected, "{linux}");
    }
}

#[test]
fn what_is_no_configuration_is_an_error() {
    for json in ["", "[]", "7", "{", "\"x\""] {
        assert!(Config::parse(json.as_bytes()).is_err(), "{json}");
    }
    let odd = config(r#"{"mounts":7,"linux":[],"hooks":"x","annotations":[1],"hostname":{}}"#);
    assert_eq!(odd.annotations().count(), 0);
    assert_eq!((odd.hostname(), odd.files_dir(), odd.mount_label()), (None, None, None));
    assert_eq!(odd.network_namespace(), NetworkNamespace::OfHost);
}

#[test]
fn numbers_come_out_as_they_went_in() {
    let numbers = [
        "0",
        "-9223372036854775808",
        "18446744073709551615",
        "0.1",
        "-1.7482232971272084e-9",
        "1.6176163832269587e274",
        "5e-324",
    ];
    for number in numbers {
        let json = format!(r#"{{"x":{number}}}"#);
        let written = String::from_utf8(config(&json).to_json()).expect("UTF-8");
        let written = written.strip_prefix(r#"{"x":"#).and_then(|rest| rest.strip_suffix('}'));
        assert_eq!(written.map(|text| text.replace("e+", "e")).as_deref(), Some(number));
    }
}
