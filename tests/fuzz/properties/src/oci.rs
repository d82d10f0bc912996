//! What runtime and podman say to the hook: a container's state, its configuration, the list of containers.
//! The hook's own code reads it; a configuration comes out as it went in, but for what was to be changed.

use std::path::Path;

use rootful_net_core::annotation::Annotations;
use rootful_net_core::request::ContainerId;
use rootful_net_hook::config::Config;
use rootful_net_hook::state::State;
use rootful_net_hook::storage::name_in;
use serde_json::Value;

use crate::message::check_message;

pub(crate) fn check(input: &[u8]) {
    check_state(input);
    check_configuration(input);
    let id: ContainerId = "a".repeat(64).parse().expect("an id");
    if let Ok(Some(name)) = name_in(input, &id) {
        let Ok(list) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        let entries = list.as_array().expect("it is a list").iter();
        let own = entries.filter(|entry| entry["id"].as_str() == Some(id.as_str()));
        let names: Vec<_> = own.map(|entry| entry["names"][0].as_str()).collect();
        assert_eq!(names.first(), Some(&Some(name.as_str())));
    }
}

fn check_state(input: &[u8]) {
    let Ok(state) = State::parse(input) else {
        return;
    };
    // What is passed over need not even be Unicode.
    let Ok(value) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    assert_eq!(value["id"], state.id.as_str());
    let pid = value["pid"].as_i64().filter(|pid| *pid > 0).and_then(|pid| u32::try_from(pid).ok());
    assert_eq!(state.pid, pid);
    assert_eq!(Path::new(value["bundle"].as_str().unwrap_or_default()), state.bundle);
    if let Err(error) = Annotations::parse(state.annotations()) {
        check_message(&error);
    }
}

fn check_configuration(input: &[u8]) {
    let Ok(mut config) = Config::parse(input) else {
        return;
    };
    let before = value_of(input);
    assert_eq!(value_of(&config.to_json()), before);
    if let Err(error) = Annotations::parse(config.annotations()) {
        check_message(&error);
    }
    let _ =
        (config.network_namespace(), config.root_user(), config.hostname(), config.mount_label());
    if let (Some(dir), Some(id)) = (config.files_dir(), config.container_id()) {
        assert_eq!(dir.parent().and_then(Path::file_name), Some(id.as_str().as_ref()));
    }
    let destination = "/etc/resolv.conf";
    let was_there = config.has_mount(destination);
    config.bind(Path::new("/run/rootful-net-resolv.conf"), destination);
    config.have_reported_to(1);
    assert!(config.has_mount(destination));
    let after = value_of(&config.to_json());
    let mounts = |value: &Value| value["mounts"].as_array().map_or(0, Vec::len);
    assert_eq!(mounts(&after), mounts(&before) + 1, "was there: {was_there}");
    for (key, value) in before.as_object().expect("it is one") {
        if !["mounts", "hooks"].contains(&key.as_str()) {
            assert_eq!(after[key], *value, "{key}");
        }
    }
}

fn value_of(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("it was read or written")
}
