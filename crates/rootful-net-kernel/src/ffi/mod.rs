//! Owns every call that the compiler cannot check. What leaves this module is safe to call with any
//! argument; nothing in it decides anything.

#![allow(unsafe_code)]

pub(crate) mod inherited;
pub(crate) mod memory;
pub(crate) mod nft;
pub(crate) mod nsfs;
