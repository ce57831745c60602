//! See `gatepost_fuzz::pop3`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::pop3::check_splits(octets));
