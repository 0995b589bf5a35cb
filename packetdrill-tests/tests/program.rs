//! The program as it is used: exit status, TAP, JUnit, totals by topic, the order of results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PASSES: &str = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 close(3) = 0\n";
const FAILS: &str = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 listen(3, 1) = -1 EINVAL\n";
const CANNOT_RUN: &str = "0 mount(\"<&>\") = 0\n";

/// A fresh directory with three scripts in two topics.
fn collection(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    for (file, text) in [
        ("one/a.pkt", PASSES),
        ("one/b.pkt", FAILS),
        ("two/c#1.pkt", CANNOT_RUN),
    ] {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(path, text).expect("written");
    }
    root
}

fn packetdrill(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_packetdrill"))
        .args(args)
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn the_status_says_whether_all_passed() {
    let root = collection("status");
    let run = |file: &str| packetdrill(&[root.join(file).to_str().expect("text")]);
    assert_eq!(run("one/a.pkt").status.code(), Some(0));
    assert_eq!(run("one/b.pkt").status.code(), Some(1));
    assert_eq!(run("two/c#1.pkt").status.code(), Some(1));
    assert_eq!(run("nothing.pkt").status.code(), Some(2));
    assert_eq!(packetdrill(&["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(packetdrill(&["--help"]).status.code(), Some(0));
}

#[test]
fn totals_are_told_by_topic() {
    let root = collection("totals");
    let output = text(&packetdrill(&["-v", root.to_str().expect("text")]));
    let has = |wanted: &[&str]| {
        output
            .lines()
            .any(|line| line.split_whitespace().eq(wanted.iter().copied()))
    };
    assert!(has(&["one", "1", "1", "0"]), "{output}");
    assert!(has(&["two", "0", "0", "1"]), "{output}");
    assert!(output.contains("3 scripts: 1 passed, 1 failed, 1 cannot be run"));
    assert!(output.contains("CANNOT RUN "), "{output}");
    assert!(output.contains("FAIL ") && output.contains("<-- differs"));
    assert!(output.contains("ok   "));
}

#[test]
fn tap_has_a_line_for_each_run_in_order() {
    let root = collection("tap");
    let args = ["--tap", "--ip-version", "all", root.to_str().expect("text")];
    let output = text(&packetdrill(&args));
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..2], ["TAP version 14", "1..9"]);
    let results: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.starts_with("ok ") || line.starts_with("not ok "))
        .collect();
    let kinds: Vec<bool> = results.iter().map(|line| line.starts_with("ok ")).collect();
    assert_eq!(
        kinds,
        [true, true, true, false, false, false, false, false, false]
    );
    for (index, line) in results.iter().enumerate() {
        assert!(line.contains(&format!("ok {} - ", index + 1)), "{line}");
    }
    assert!(results[1].ends_with("one/a.pkt (ipv6)"));
    // A bare number sign would begin a directive, such as SKIP.
    assert!(results[6].ends_with("two/c\\#1.pkt (ipv4)"));
    assert_eq!(output.matches("severity: failed").count(), 3);
    assert_eq!(output.matches("severity: cannot be run").count(), 3);
    assert_eq!(output, text(&packetdrill(&args)), "twice the same");
}

#[test]
fn junit_has_a_suite_for_each_topic() {
    let root = collection("junit");
    let file = root.join("out.xml");
    let file_text = file.to_str().expect("text");
    packetdrill(&["--junit", file_text, root.to_str().expect("text")]);
    let xml = fs::read_to_string(&file).expect("it has been written");
    assert!(xml.starts_with("<?xml version=\"1.0\""));
    assert!(xml.contains("<testsuite name=\"one\" tests=\"2\" failures=\"1\" errors=\"0\""));
    assert!(xml.contains("<testsuite name=\"two\" tests=\"1\" failures=\"0\" errors=\"1\""));
    assert!(xml.contains("mount(&quot;&lt;&amp;&gt;&quot;)"), "{xml}");
    assert_eq!(xml.matches("<testcase").count(), 3);
    assert_eq!(xml.matches("</testsuite>").count(), 2);
}
