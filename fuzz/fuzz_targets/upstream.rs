//! See `gatepost_fuzz::upstream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::upstream::check(octets));
