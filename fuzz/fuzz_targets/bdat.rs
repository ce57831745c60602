//! See `gatepost_fuzz::body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::body::check_chunks(octets));
