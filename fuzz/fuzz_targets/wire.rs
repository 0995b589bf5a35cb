//! The parsers of headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| netstack::testing::fuzz::wire(data));
