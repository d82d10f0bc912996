//! What must hold for any bytes that a stranger can have the product parse. Each target is a function that
//! panics where it does not; where it can, it compares with a second, naive reading of the same bytes.
//!
//! The same functions run under libFuzzer (`tests/fuzz/run`) and, over the kept corpora, in `cargo test`.

mod annotations;
mod frames;
mod message;
mod network;
mod oci;
mod options;
mod policy;
mod publish;
mod records;

/// A parser of strangers' bytes, and what must hold for it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the fuzz target and of its corpus.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "annotations", check: annotations::check },
    Target { name: "frames", check: frames::check },
    Target { name: "network", check: network::check },
    Target { name: "oci", check: oci::check },
    Target { name: "options", check: options::check },
    Target { name: "policy", check: policy::check },
    Target { name: "publish", check: publish::check },
    Target { name: "records", check: records::check },
];

/// Checks `input` for the target called `name`.
///
/// # Panics
/// There is no such target, or something does not hold.
pub fn check(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").check)(input);
}
