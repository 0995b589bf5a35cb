//! Filters: the verifier, and the interpreter on what it lets pass.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| netstack::testing::fuzz::bpf(data));
