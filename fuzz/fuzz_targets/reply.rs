//! See `gatepost_fuzz::reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::reply::check(octets));
