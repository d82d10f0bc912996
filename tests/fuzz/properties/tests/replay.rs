//! Replays the kept corpora, without libFuzzer and nightly Rust.

use std::fs;
use std::path::Path;

use rootful_net_properties::TARGETS;

#[test]
fn everything_in_the_corpora_holds() {
    for target in TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target.name);
        let entries =
            fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let mut count = 0;
        for entry in entries {
            let path = entry.expect("it can be listed").path();
            // Which one it is stands in the output of a test that fails.
            eprintln!("{}", path.display());
            (target.check)(&fs::read(&path).expect("it can be read"));
            count += 1;
        }
        assert!(count > 0, "{} is empty", dir.display());
    }
}
