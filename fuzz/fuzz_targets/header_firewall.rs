//! See `gatepost_fuzz::header_firewall`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::header_firewall::check(octets));
