//! The packetdrill language: any text is a script or an error with a place.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = packetdrill_tests::parse::parse(&String::from_utf8_lossy(data));
});
