//! See `gatepost_fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::session::check_against_model(octets));
