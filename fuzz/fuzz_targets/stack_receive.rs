//! Packets and time against a whole stack; `netstack::testing::fuzz` says how the bytes are read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| netstack::testing::fuzz::stack_receive(data));
