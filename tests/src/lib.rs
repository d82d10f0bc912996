//! What the tests that need root stand on: private namespaces, one set a test, and a runner that says
//! "ignored" where they cannot be had. Nothing here touches the machine's own network.

pub mod container;
pub mod lan;
pub mod namespace;
mod runner;
pub mod sandbox;
pub mod traffic;

pub use runner::{Test, run};
