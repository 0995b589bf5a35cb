//! The fuzz targets over their checked-in corpus, and over what random changes make of it.

use std::fs;
use std::path::PathBuf;

use netstack::testing::fuzz;
use proptest::prelude::*;
use proptest::sample::Index;

/// All inputs of a target, in a fixed order.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let entries = fs::read_dir(directory.join(target)).expect("the corpus is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has a corpus");
    files
        .iter()
        .map(|file| fs::read(file).expect("readable"))
        .collect()
}

#[test]
fn the_corpus_is_survived() {
    corpus("wire").iter().for_each(|input| fuzz::wire(input));
    corpus("tcp_options")
        .iter()
        .for_each(|input| fuzz::tcp_options(input));
    for input in corpus("filter") {
        assert!(fuzz::filter(&input) > 0, "no connection: {input:?}");
    }
    corpus("stack_receive")
        .iter()
        .for_each(|input| receive_both(input));
}

/// As it is, and with an interceptor, which one bit chooses.
fn receive_both(input: &[u8]) {
    fuzz::stack_receive(input);
    let mut other = input.to_vec();
    if let Some(first) = other.first_mut() {
        *first ^= 2;
        fuzz::stack_receive(&other);
    }
}

/// One change to an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, value)| Change::Set(at, value)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (at(), 1..30_u8).prop_map(|(at, len)| Change::Cut(at, len)),
        (at(), proptest::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1..200_u8).prop_map(|(at, len)| Change::Repeat(at, len)),
    ]
}

fn apply(mut input: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for change in changes {
        if input.is_empty() {
            break;
        }
        let end = |at: usize, len: u8| (at + usize::from(len)).min(input.len());
        match change {
            Change::Set(at, value) => *at.get_mut(&mut input) = value,
            Change::Flip(at, bits) => *at.get_mut(&mut input) ^= bits,
            Change::Cut(at, len) => {
                let at = at.index(input.len());
                input.drain(at..end(at, len));
            }
            Change::Insert(at, bytes) => {
                let at = at.index(input.len());
                input.splice(at..at, bytes);
            }
            Change::Repeat(at, len) => {
                let at = at.index(input.len());
                let piece = input[at..end(at, len)].to_vec();
                input.splice(at..at, piece);
            }
        }
    }
    input
}

/// One of the corpus, or two of them in a row.
fn changed(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let inputs = corpus(target);
    let (first, second) = (inputs.clone(), inputs);
    let any_two = (any::<Index>(), any::<Option<Index>>()).prop_map(move |(one, two)| {
        let mut input = one.get(&first).clone();
        if let Some(two) = two {
            input.extend(two.get(&second).iter().skip(1));
        }
        input
    });
    (any_two, proptest::collection::vec(change(), 0..12))
        .prop_map(|(input, changes)| apply(input, changes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn headers_with_changes(input in changed("wire")) {
        fuzz::wire(&input);
    }

    #[test]
    fn filters_with_changes(input in changed("bpf")) {
        fuzz::bpf(&input);
    }

    #[test]
    fn options_with_changes(input in changed("tcp_options")) {
        fuzz::tcp_options(&input);
    }

    #[test]
    fn packets_with_changes(input in changed("stack_receive")) {
        receive_both(&input);
    }

    #[test]
    fn rules_and_packets_with_changes(input in changed("filter")) {
        fuzz::filter(&input);
    }

    #[test]
    fn any_bytes(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz::wire(&input);
        fuzz::tcp_options(&input);
        fuzz::filter(&input);
        fuzz::bpf(&input);
        receive_both(&input);
    }
}
