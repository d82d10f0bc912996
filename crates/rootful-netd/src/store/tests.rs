use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open_in(&root.path().join("run"), &root.path().join("state")).unwrap();
    (root, store)
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
fn a_key_of_the_wrong_length_is_refused_and_stays() {
    let (_root, store) = store();
    fs::write(&store.key_path, b"short").unwrap();
    let error = store.address_key().err().expect("5 bytes are no key");
    assert!(error.to_string().contains("address.key"), "{error}");
    assert_eq!(fs::read(&store.key_path).unwrap(), b"short");
}

#[test]
fn a_damaged_record_is_set_aside() {
    let (_root, store) = store();
    fs::write(store.attachment_dir.join("0123456789.json"), b"{\"version\":1,").unwrap();
    assert!(store.records().unwrap().is_empty());
    assert!(store.attachment_dir.join("0123456789.damaged").exists());
}

#[test]
fn a_failed_write_leaves_the_old_content_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    write_atomically(&path, b"old", 0o600).unwrap();
    // The place of the temporary file is taken by a directory.
    fs::create_dir(root.path().join(".file.new")).unwrap();
    assert!(write_atomically(&path, b"new", 0o600).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
}
