//! See `gatepost_fuzz::recovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::recovery::check(octets));
