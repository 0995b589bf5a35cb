//! The fuzz targets of the packetdrill language over their corpus, whole and in random pieces: any text
//! is a script or an error, and any script passes, fails or is an error.

use std::fs;
use std::path::PathBuf;

use packetdrill_tests::run::Config;
use packetdrill_tests::{Against, parse, run_text};
use proptest::prelude::*;
use proptest::sample::Index;

fn corpus() -> Vec<String> {
    let directory =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/packetdrill_parse");
    let entries = fs::read_dir(directory).expect("the corpus is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let read =
        |file: &PathBuf| String::from_utf8_lossy(&fs::read(file).expect("readable")).into_owned();
    files.iter().map(read).collect()
}

fn survive(text: &str) {
    let parsed = parse::parse(text);
    let ran = run_text(text, Against::Netstack, &Config::default());
    assert!(
        parsed.is_ok() || ran.is_err(),
        "what does not parse does not pass: {text}"
    );
}

#[test]
fn the_corpus_is_survived() {
    corpus().iter().for_each(|text| survive(text));
}

/// Lines of all scripts, some of them changed in one place, in any order.
fn mixture() -> impl Strategy<Value = String> {
    let lines: Vec<String> = corpus()
        .iter()
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let line = (any::<Index>(), any::<Option<(Index, char)>>()).prop_map(move |(at, change)| {
        let mut line: Vec<char> = at.get(&lines).chars().collect();
        if let (Some((at, c)), false) = (change, line.is_empty()) {
            let at = at.index(line.len());
            line[at] = c;
        }
        line.into_iter().collect::<String>()
    });
    proptest::collection::vec(line, 1..25).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mixed_lines_are_survived(text in mixture()) {
        survive(&text);
    }
}
