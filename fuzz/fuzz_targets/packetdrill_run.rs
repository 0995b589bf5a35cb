//! Whole scripts over netstack: any text passes, fails or is an error.
#![no_main]

use packetdrill_tests::run::Config;
use packetdrill_tests::{Against, run_text};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let _ = run_text(&text, Against::Netstack, &Config::default());
});
