use std::os::unix::fs::PermissionsExt as _;

use rootful_net_core::attachment::{Attachment, Holder};
use rootful_net_core::ledger::AddressOrigin;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = open(&root).unwrap();
    (root, store)
}

fn open(root: &tempfile::TempDir) -> Result<Store, StoreError> {
    Store::open_in(&root.path().join("run"), &root.path().join("state"))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn attachment(id: &str) -> Attachment {
    serde_json::from_value(serde_json::json!({
        "id": id,
        "owner": 1000,
        "namespace": {"device": 4, "inode": 4_026_532_000_u64},
        "request": {"name": "web", "container_id": null, "networks": [], "forwards": [], "dns": []},
        "interfaces": [],
        "forwards": [],
    }))
    .unwrap()
}

fn leases(addresses: &[&str]) -> Leases {
    let mut leases = Leases::default();
    for address in addresses {
        let holder = Holder { owner: 1000, name: "web".parse().unwrap() };
        let network = "lab".parse().unwrap();
        leases.renew(&network, address.parse().unwrap(), holder, AddressOrigin::Derived);
    }
    leases
}

fn network(name: &str) -> Network {
    let text = format!(
        r#"{{"name": "{name}", "network_interface": "br-{name}", "subnets": [{{"subnet": "10.9.0.0/24"}}]}}"#
    );
    Network::from_json(&text).unwrap()
}

#[test]
fn the_key_is_made_once_and_only_root_can_read_it() {
    let (_root, store) = store();
    store.address_key().unwrap();
    let first = fs::read(&store.key_path).unwrap();
    store.address_key().unwrap();
    assert_eq!(fs::read(&store.key_path).unwrap(), first);
    assert_eq!(first.len(), AddressKey::BYTES);
    assert_eq!(fs::metadata(&store.key_path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_of_the_wrong_length_is_refused_with_what_to_do_and_stays() {
    for content in [&b""[..], b"short", &[7; 33]] {
        let (_root, store) = store();
        fs::write(&store.key_path, content).unwrap();
        let error = store.address_key().err().expect("not 32 bytes");
        let text = chain(&error);
        assert!(text.contains("address.key") && text.contains("from a backup"), "{text}");
        assert_eq!(fs::read(&store.key_path).unwrap(), content);
    }
}

#[test]
fn records_are_read_as_they_were_written() {
    let (_root, store) = store();
    let (one, two, three) =
        (attachment("0000000001"), attachment("0000000002"), attachment("0000000003"));
    let records = [
        Record::live(one.clone()),
        Record::pending(two.clone(), Some(one)),
        Record::ending(three.clone()),
    ];
    records.iter().for_each(|record| store.record(record).unwrap());
    assert_eq!(store.records().unwrap(), records);
    // A record takes the place of the one before it.
    store.record(&Record::live(two.clone())).unwrap();
    store.forget(three.id()).unwrap();
    store.forget(three.id()).unwrap();
    assert_eq!(store.records().unwrap(), [records[0].clone(), Record::live(two)]);
}

#[test]
fn a_record_cut_off_anywhere_is_set_aside_and_the_others_are_read() {
    let (_root, store) = store();
    let (whole, torn) = (Record::live(attachment("0000000001")), attachment("0000000002"));
    store.record(&whole).unwrap();
    store.record(&Record::live(torn.clone())).unwrap();
    let path = store.record_path(torn.id());
    let aside = store.attachment_dir.join("0000000002.json.damaged");
    let text = fs::read(&path).unwrap();
    for length in 0..text.len() {
        fs::write(&path, &text[..length]).unwrap();
        assert_eq!(store.records().unwrap(), std::slice::from_ref(&whole), "{length} bytes");
        assert!(!path.exists());
        assert_eq!(fs::read(&aside).unwrap(), &text[..length]);
        fs::remove_file(&aside).unwrap();
    }
    assert_eq!(names(&store.attachment_dir), ["0000000001.json"]);
}

#[test]
fn leases_cut_off_anywhere_are_set_aside_and_none_are_there() {
    let (_root, store) = store();
    assert_eq!(store.leases(), Leases::default());
    let kept = leases(&["10.9.0.7", "10.9.0.8"]);
    store.keep_leases(&kept).unwrap();
    assert_eq!(store.leases(), kept);
    let aside = store.lease_path.with_file_name("leases.json.damaged");
    let text = fs::read(&store.lease_path).unwrap();
    for length in 0..text.len() {
        fs::write(&store.lease_path, &text[..length]).unwrap();
        assert_eq!(store.leases(), Leases::default(), "{length} bytes");
        assert_eq!(fs::read(&aside).unwrap(), &text[..length]);
        fs::remove_file(&aside).unwrap();
    }
}

#[test]
fn sealed_files_of_another_version_or_name_are_damaged() {
    let (_root, store) = store();
    let record = attachment("0000000001");
    store.record(&Record::live(record.clone())).unwrap();
    let path = store.record_path(record.id());
    let other_name = store.attachment_dir.join("0000000009.json");
    fs::copy(&path, &other_name).unwrap();
    assert_eq!(store.records().unwrap(), [Record::live(record)]);
    assert!(!other_name.exists());
    write(&path, br#"{"version":1,"phase":"live"}"#).unwrap();
    assert!(store.records().unwrap().is_empty());
    write(&store.lease_path, br#"{"version":2,"leases":[]}"#).unwrap();
    assert_eq!(store.leases(), Leases::default());
    assert_eq!(
        names(&store.attachment_dir),
        ["0000000001.json.damaged", "0000000009.json.damaged"]
    );
}

#[test]
fn what_was_set_aside_is_never_overwritten() {
    let (_root, store) = store();
    for number in 0..sealed::MAX_SET_ASIDE + 2 {
        fs::write(&store.lease_path, format!("damage {number}")).unwrap();
        assert_eq!(store.leases(), Leases::default());
    }
    let directory = store.lease_path.parent().unwrap();
    let mut contents: Vec<_> = names(directory)
        .into_iter()
        .filter(|name| name.starts_with("leases.json.damaged"))
        .map(|name| fs::read_to_string(directory.join(name)).unwrap())
        .collect();
    contents.sort();
    let mut expected: Vec<_> =
        (0..sealed::MAX_SET_ASIDE).map(|number| format!("damage {number}")).collect();
    expected.sort();
    assert_eq!(contents, expected);
    // And leases can be kept again.
    store.keep_leases(&leases(&["10.9.0.7"])).unwrap();
    assert_eq!(store.leases(), leases(&["10.9.0.7"]));
}

#[test]
fn definitions_of_networks_in_use_are_read_as_they_were_written() {
    let (_root, store) = store();
    let (lab, office) = (network("lab"), network("office"));
    store.keep_network(&lab).unwrap();
    store.keep_network(&office).unwrap();
    assert_eq!(store.kept_networks().unwrap(), [lab, office.clone()]);
    store.forget_network(&"lab".parse().unwrap()).unwrap();
    store.forget_network(&"lab".parse().unwrap()).unwrap();
    assert_eq!(store.kept_networks().unwrap(), [office]);
    fs::write(store.network_dir.join("office.json"), network("office").to_json()).unwrap();
    assert!(store.kept_networks().unwrap().is_empty());
    assert_eq!(names(&store.network_dir), ["office.json.damaged"]);
}

#[test]
fn the_mark_is_read_as_it_was_written() {
    let (_root, store) = store();
    assert_eq!(store.mark(), None);
    for mark in ["", "v1\n\nfirst", "second\n"] {
        store.keep_mark(mark).unwrap();
        assert_eq!(store.mark().as_deref(), Some(mark));
    }
    fs::write(&store.mark_path, "second\n").unwrap();
    assert_eq!(store.mark(), None);
    assert!(store.mark_path.with_file_name("ruleset.damaged").exists());
}

#[test]
fn times_of_files_do_not_matter() {
    let (root, store) = store();
    let record = Record::live(attachment("0000000001"));
    store.record(&record).unwrap();
    store.keep_leases(&leases(&["10.9.0.7"])).unwrap();
    #[expect(clippy::disallowed_methods, reason = "times of files are what is tested")]
    let far_away = [std::time::SystemTime::UNIX_EPOCH, std::time::SystemTime::now() + 10 * YEAR];
    for time in far_away {
        for path in [&store.record_path(record.attachment.id()), &store.lease_path] {
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let store = open(&root).unwrap();
        assert_eq!(store.records().unwrap(), std::slice::from_ref(&record));
        assert_eq!(store.leases(), leases(&["10.9.0.7"]));
    }
}

const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 60 * 60);

#[test]
fn a_state_directory_that_cannot_be_made_keeps_nobody_from_starting() {
    let root = tempfile::tempdir().unwrap();
    // Its place is taken by a file.
    fs::write(root.path().join("state"), b"").unwrap();
    let store = open(&root).unwrap();
    assert!(store.address_key().is_err());
    assert!(store.keep_leases(&Leases::default()).is_err());
    assert_eq!(store.leases(), Leases::default());
    store.record(&Record::live(attachment("0000000001"))).unwrap();
    assert_eq!(store.records().unwrap().len(), 1);
}
