//! See `gatepost_fuzz::queue_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::queue_record::check(octets));
