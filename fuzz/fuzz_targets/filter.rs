//! Rules, connections and translation in a router; `netstack::testing::fuzz` says how the bytes are read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    netstack::testing::fuzz::filter(data);
});
