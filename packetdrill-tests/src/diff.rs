//! One script over netstack and over the host's kernel: what the two do otherwise.
//!
//! A run ends at the first line that does not hold. Where one side has failed and the other has not, or
//! only later, the other did there what the script says; so the line and both sides are known.

use std::cmp::Ordering;
use std::path::Path;

use crate::report::{Blame, Failure, Row, Verdict};
use crate::run::Config;
use crate::{Against, run_file};

/// Names of the two columns.
const COLUMNS: [&str; 2] = ["Linux", "netstack"];

/// Runs a script over both; passes if they do the same, whether the script expects it or not.
pub fn diff_file(path: &Path, netstack: &Config, kernel: &Config) -> (String, Verdict) {
    let (source, ours) = run_file(path, Against::Netstack, netstack);
    let (_, theirs) = run_file(path, Against::Kernel, kernel);
    let verdict = match compare(failure(ours), failure(theirs)) {
        None => Verdict::Pass,
        Some(failure) => Verdict::Bad(failure),
    };
    (source, verdict)
}

fn failure(verdict: Verdict) -> Option<Box<Failure>> {
    match verdict {
        Verdict::Pass => None,
        Verdict::Bad(failure) => Some(failure),
    }
}

/// What differs, if anything does.
fn compare(ours: Option<Box<Failure>>, theirs: Option<Box<Failure>>) -> Option<Box<Failure>> {
    for (side, name) in [(&ours, COLUMNS[1]), (&theirs, COLUMNS[0])] {
        if let Some(failure) = side
            .as_ref()
            .filter(|failure| failure.blame == Blame::Script)
        {
            let mut failure = failure.clone();
            failure.summary = format!("over {name}: {}", failure.summary);
            return Some(failure);
        }
    }
    match (ours, theirs) {
        (None, None) => None,
        (Some(ours), None) => Some(netstack_differs(ours)),
        (None, Some(theirs)) => Some(linux_differs(theirs)),
        (Some(ours), Some(theirs)) => match ours.pos.line.cmp(&theirs.pos.line) {
            Ordering::Less => Some(netstack_differs(ours)),
            Ordering::Greater => Some(linux_differs(theirs)),
            Ordering::Equal => both_differ(ours, &theirs),
        },
    }
}

/// Linux does what the script says.
fn netstack_differs(mut ours: Box<Failure>) -> Box<Failure> {
    ours.summary = format!("netstack differs from Linux: {}", ours.summary);
    ours.columns = COLUMNS;
    ours.rows.retain(|row| !row.agrees);
    ours
}

/// netstack does what the script says.
fn linux_differs(mut theirs: Box<Failure>) -> Box<Failure> {
    theirs.summary = format!("Linux differs from netstack: {}", theirs.summary);
    theirs.columns = COLUMNS;
    theirs.rows.retain(|row| !row.agrees);
    for row in &mut theirs.rows {
        std::mem::swap(&mut row.expected, &mut row.seen);
    }
    theirs
}

/// The script expects something else than either: what matters is what was seen.
fn both_differ(ours: Box<Failure>, theirs: &Failure) -> Option<Box<Failure>> {
    let mut rows = Vec::new();
    for (index, our_row) in ours.rows.iter().enumerate() {
        let same_name = |row: &&Row| row.name == our_row.name;
        let their_row = theirs.rows.get(index).filter(same_name);
        let their_row = their_row.or_else(|| theirs.rows.iter().find(same_name));
        // Times are never the same to the microsecond: what counts is whether they are in time.
        let alike = |row: &Row| row.name == "time" && row.agrees == our_row.agrees;
        let row = match their_row {
            Some(row) if alike(row) => continue,
            Some(row) => Row::new(our_row.name, row.seen.clone(), our_row.seen.clone()),
            None => Row::new(our_row.name, "nothing to compare", our_row.seen.clone()),
        };
        if !row.agrees {
            rows.push(row);
        }
    }
    let alone = |row: &&Row| !ours.rows.iter().any(|our_row| our_row.name == row.name);
    for row in theirs.rows.iter().filter(alone) {
        rows.push(Row::new(row.name, row.seen.clone(), "nothing to compare"));
    }
    if rows.is_empty() && ours.summary == theirs.summary {
        return None;
    }
    let summary = match ours.summary == theirs.summary {
        true => "both differ from the script, and from each other".to_owned(),
        false => format!("Linux: {}; netstack: {}", theirs.summary, ours.summary),
    };
    let mut failure = ours;
    failure.summary = summary;
    failure.columns = COLUMNS;
    failure.rows = rows;
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Pos;

    fn failed(line: u32, rows: &[(&'static str, &str, &str)]) -> Option<Box<Failure>> {
        let rows = rows
            .iter()
            .map(|(name, expected, seen)| Row::new(name, *expected, *seen));
        let pos = Pos { line, column: 1 };
        Some(Failure::mismatch(pos, "differs", rows.collect()))
    }

    fn told(difference: Option<Box<Failure>>) -> (u32, Vec<(String, String)>) {
        let failure = difference.expect("a difference");
        let rows = failure.rows.iter();
        let rows = rows.map(|row| (row.expected.clone(), row.seen.clone()));
        (failure.pos.line, rows.collect())
    }

    fn pair(linux: &str, netstack: &str) -> Vec<(String, String)> {
        vec![(linux.to_owned(), netstack.to_owned())]
    }

    #[test]
    fn the_same_is_no_difference_even_where_the_script_is_wrong() {
        assert!(compare(None, None).is_none());
        let rows = [("ack", "1", "2"), ("time", "1 s", "1.1 s")];
        let other_time = [("ack", "1", "2"), ("time", "1 s", "1.2 s")];
        assert!(compare(failed(3, &rows), failed(3, &other_time)).is_none());
    }

    #[test]
    fn whoever_fails_first_differs_from_the_other() {
        let rows = [("flags", "S.", "S."), ("ack", "1", "2")];
        assert_eq!(told(compare(failed(3, &rows), None)), (3, pair("1", "2")));
        assert_eq!(told(compare(None, failed(3, &rows))), (3, pair("2", "1")));
        let later = failed(9, &[("win", "5", "6")]);
        assert_eq!(
            told(compare(failed(3, &rows), later.clone())),
            (3, pair("1", "2"))
        );
        assert_eq!(told(compare(later, failed(3, &rows))), (3, pair("2", "1")));
    }

    #[test]
    fn at_one_line_only_what_was_seen_otherwise_is_told() {
        let ours = failed(3, &[("ack", "1", "2"), ("win", "5", "6")]);
        let theirs = failed(3, &[("ack", "1", "2"), ("win", "5", "7")]);
        assert_eq!(told(compare(ours, theirs)), (3, pair("7", "6")));
        let ours = failed(3, &[("packet", "S", "none")]);
        let theirs = failed(3, &[("ack", "1", "2")]);
        assert_eq!(told(compare(ours, theirs)).1.len(), 2);
    }

    #[test]
    fn what_cannot_be_run_is_no_result() {
        let broken = Failure::error(Pos::default(), "no TUN device");
        let difference = compare(None, Some(Box::new(broken))).expect("told");
        assert_eq!(difference.blame, Blame::Script);
        assert!(difference.summary.contains("Linux: no TUN device"));
    }
}
