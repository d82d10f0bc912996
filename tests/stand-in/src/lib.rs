//! A bus of a test's own for the clients' tests, and what stands in for the service on it and writes down how it
//! was called. Each test says itself what its manager answers.

mod bus;
mod network;

pub use bus::{ATTACHMENT_PATH, Bus, Calls};
pub use network::Network;

use std::fs::File;
use std::os::fd::AsFd as _;

use zbus::OwnedFd;

/// Whether a client passed the namespace of the process that runs the test.
///
/// # Panics
/// There is no `/proc`.
pub fn namespace_name(namespace: &OwnedFd) -> &'static str {
    let inode = |fd| rustix::fs::fstat(fd).expect("an open file").st_ino;
    let own = File::open("/proc/self/ns/net").expect("the own namespace");
    match inode(namespace.as_fd()) == inode(own.as_fd()) {
        true => "own-namespace",
        false => "other-namespace",
    }
}
