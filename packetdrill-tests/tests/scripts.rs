//! Every script of ours passes over netstack.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use packetdrill_tests::collect::scripts;
use packetdrill_tests::report::Verdict;
use packetdrill_tests::run::{Config, IpVersion};
use packetdrill_tests::{Against, run_file};

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

/// Runs every script over a version.
fn all_pass_over(version: IpVersion) {
    let mut config = Config::default();
    config.set_ip_version(version);
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = scripts(&[directory]).expect("the scripts are there");
    let mut failures = Vec::new();
    for file in &files {
        let (source, verdict) = run_file(file, Against::Netstack, &config);
        if let Verdict::Bad(failure) = verdict {
            failures.push(failure.render(&file.display().to_string(), &source));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} scripts:\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}

#[test]
fn every_script_passes() {
    all_pass_over(IpVersion::V4);
}

#[test]
fn every_script_passes_over_ipv6() {
    all_pass_over(IpVersion::V6);
}

#[test]
fn every_script_passes_with_sockets_of_ipv6_over_ipv4() {
    all_pass_over(IpVersion::Mapped);
}

#[test]
fn every_row_of_the_listen_rules_has_a_script() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/listen");
    let files = scripts(&[directory]).expect("the scripts are there");
    for row in 1..=18 {
        let prefix = format!("row{row:02}-");
        let found = files.iter().any(|file| stem(file).starts_with(&prefix));
        assert!(found, "row {row} has no script");
    }
}

#[test]
fn the_documentation_names_every_script_of_the_listen_rules() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("../docs/netstack.md")).expect("it is there");
    let named: BTreeSet<&str> = table
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("row") && word.contains('-'))
        .collect();
    let files = scripts(&[root.join("scripts/listen")]).expect("the scripts are there");
    let present: BTreeSet<&str> = files.iter().map(|file| stem(file)).collect();
    assert_eq!(named, present);
}
