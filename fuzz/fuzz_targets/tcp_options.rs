//! The list of TCP options.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| netstack::testing::fuzz::tcp_options(data));
