//! See `gatepost_fuzz::scan_plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost_fuzz::scan_plan::check_honest(octets));
