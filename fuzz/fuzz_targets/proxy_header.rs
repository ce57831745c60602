//! See `gatepost_fuzz::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::proxy_header::check(octets));
