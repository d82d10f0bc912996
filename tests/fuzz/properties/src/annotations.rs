//! A container's annotations, written one a line as `KEY=VALUE`: what they are read as can be written as
//! annotations again, and those are read as the same.

use std::collections::BTreeMap;

use rootful_net_core::annotation::{Annotations, Key, PREFIX};
use rootful_net_core::name::ContainerName;
use rootful_net_core::publish::Publish;
use rootful_net_core::request::{MAX_FORWARDS, MAX_NETWORKS};

use crate::message::check_message;

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let pairs: BTreeMap<&str, &str> =
        text.lines().map(|line| line.split_once('=').unwrap_or((line, ""))).collect();
    let own = pairs.keys().filter(|key| key.starts_with(PREFIX)).count();
    let annotations = match Annotations::parse(pairs.iter().map(|(key, value)| (*key, *value))) {
        Ok(Some(annotations)) => annotations,
        Ok(None) => return assert_eq!(own, 0, "{text:?}"),
        Err(error) => return check_message(&error),
    };
    assert!(own > 0, "{text:?}");
    assert!((1..=MAX_NETWORKS).contains(&annotations.networks().len()));
    let asked: usize = annotations.publish().iter().map(|publish| publish.forwards().count()).sum();
    assert!(asked <= MAX_FORWARDS);
    let container: ContainerName = "web".parse().expect("a name");
    let request = annotations.request(container, None).expect("it was checked");
    assert_eq!(request.forwards.len(), asked);
    let forwards: Vec<_> = annotations.publish().iter().flat_map(Publish::forwards).collect();
    assert_eq!(request.forwards, forwards);

    let written = written(&annotations);
    let pairs = written.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let reread = Annotations::parse(pairs).expect("what was written is read");
    assert_eq!(reread.as_ref(), Some(&annotations), "{written:?}");
}

fn written(annotations: &Annotations) -> Vec<(String, String)> {
    let joined = |items: Vec<String>, separator: &str| items.join(separator);
    let networks = annotations.networks().iter().map(ToString::to_string).collect();
    let publish = annotations.publish().iter().map(ToString::to_string).collect();
    let dns = annotations.dns().iter().map(ToString::to_string).collect();
    [
        (Key::Network, joined(networks, ";")),
        (Key::Publish, joined(publish, ",")),
        (Key::Dns, joined(dns, ",")),
        (Key::Name, annotations.name().map(ToString::to_string).unwrap_or_default()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| (key.to_string(), value))
    .collect()
}
