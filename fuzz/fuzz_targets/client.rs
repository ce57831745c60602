//! See `gatepost_fuzz::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::client::check(octets));
