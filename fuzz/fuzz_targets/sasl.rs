//! See `gatepost_fuzz::sasl`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::sasl::check(octets));
