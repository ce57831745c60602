//! See `gatepost_fuzz::command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::command::check(octets));
