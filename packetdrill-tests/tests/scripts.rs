//! Every script of ours passes over netstack.

use std::path::{Path, PathBuf};

use packetdrill_tests::collect::scripts;
use packetdrill_tests::report::Verdict;
use packetdrill_tests::run::Config;
use packetdrill_tests::{Against, run_file};

/// Scripts that Linux passes and netstack does not yet, with what it lacks. One that passes must leave
/// the list.
const NOT_YET: [(&str, &str); 8] = [
    (
        "challenge-ack",
        "no answer to an ACK of what was never sent",
    ),
    ("close-with-unread-data", "RST after close carries an ACK"),
    ("data-in-order", "a window update too many"),
    ("half-close", "a window update too many"),
    ("handshake-passive", "first window with timestamps"),
    ("send-initial-window", "PSH on super-packets"),
    ("send-peer-window", "PSH on super-packets"),
    ("simultaneous-open", "no answer to the SYN-ACK"),
];

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

#[test]
fn every_script_passes() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = scripts(&[directory]).expect("the scripts are there");
    let mut failures = Vec::new();
    for file in &files {
        let (source, verdict) = run_file(file, Against::Netstack, &Config::default());
        let not_yet = NOT_YET.iter().any(|(name, _)| *name == stem(file));
        match verdict {
            Verdict::Pass if not_yet => {
                failures.push(format!("{} passes by now\n", file.display()));
            }
            Verdict::Bad(failure) if !not_yet => {
                failures.push(failure.render(&file.display().to_string(), &source));
            }
            _ => {}
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
fn every_row_of_the_listen_rules_has_a_script() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/listen");
    let files = scripts(&[directory]).expect("the scripts are there");
    for row in 1..=18 {
        let prefix = format!("row{row:02}-");
        let found = files.iter().any(|file| stem(file).starts_with(&prefix));
        assert!(found, "row {row} has no script");
    }
}
