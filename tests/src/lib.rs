//! What the tests that need root stand on: private namespaces, one set a test, the product in them, and a
//! runner that says "ignored" where they cannot be had. Nothing here touches the machine's own network.

pub mod bus;
pub mod changes;
pub mod container;
pub mod daemon;
pub mod deadline;
pub mod fault;
pub mod fd_store;
pub mod footprint;
pub mod frame;
pub mod installation;
pub mod lan;
pub mod namespace;
pub mod packet;
pub mod process;
mod runner;
pub mod sandbox;
pub mod sealed;
pub mod steady;
pub mod traffic;
pub mod user;

pub use runner::{Suite, Test, run};
