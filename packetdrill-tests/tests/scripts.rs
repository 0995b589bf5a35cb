//! Every script of ours passes over netstack.

use std::path::PathBuf;

use packetdrill_tests::collect::scripts;
use packetdrill_tests::report::Verdict;
use packetdrill_tests::run::Config;
use packetdrill_tests::{Against, run_file};

#[test]
fn every_script_passes() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = scripts(&[directory]).expect("the scripts are there");
    let failures: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let (source, verdict) = run_file(file, Against::Netstack, &Config::default());
            match verdict {
                Verdict::Pass => None,
                Verdict::Bad(failure) => Some(failure.render(&file.display().to_string(), &source)),
            }
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} scripts:\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}

#[test]
fn every_row_of_the_listen_rules_has_a_script() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/listen");
    let files = scripts(&[directory]).expect("the scripts are there");
    for row in 1..=18 {
        let prefix = format!("row{row:02}-");
        let found = files.iter().any(|file| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix))
        });
        assert!(found, "row {row} has no script");
    }
}
