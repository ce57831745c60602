//! See `gatepost_fuzz::rights`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::rights::check(octets));
