//! The planner's decisions carried out on a host without a kernel: what is repaired and what is left alone, what an
//! interrupted change comes to, and the order of things in the engine. After a change that is meant,
//! `UPDATE_EXPECT=1 cargo test -p rootful-net-core` writes the golden files anew; review the difference.

#![allow(clippy::unwrap_used, reason = "a test that fails by a panic has done its work")]

mod damage;
mod engine;
mod explore;
mod happenings;
mod host;
mod machine;
mod ordering;
mod picture;
mod random;
mod reconcile;
mod restore;
mod state;
