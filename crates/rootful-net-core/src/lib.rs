//! Decides. This crate parses requests, derives addresses, applies the policy and turns what is observed
//! and recorded into a plan; it does no I/O, reads no clock and draws no random numbers.

#![forbid(unsafe_code)]

pub mod annotation;
pub mod attachment;
pub mod catalogue;
pub mod derivation;
pub mod dns;
pub mod ledger;
pub mod link;
pub mod mac;
pub mod name;
pub mod network;
pub mod observed;
pub mod ownership;
pub mod plan;
pub mod planner;
pub mod policy;
mod prefix;
pub mod publish;
pub mod request;
pub mod ruleset;
