//! See `rootful_net_properties`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rootful_net_properties::check("frames", input));
