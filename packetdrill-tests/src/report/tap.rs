//! Results in the Test Anything Protocol, version 14: a line for each run, and below one that did not
//! pass a YAML block with what was expected and seen.

use std::fmt::Write as _;

use super::{Totals, Verdict};
use crate::suite::{Case, Class, Ended};

/// The two lines before all others.
pub fn head(count: usize) -> String {
    format!("TAP version 14\n1..{count}\n")
}

/// The lines of result `number`, counted from 1.
pub fn result(number: usize, case: &Case, ended: &Ended) -> String {
    // In a description a number sign begins a directive.
    let name = case.name.replace('\\', "\\\\").replace('#', "\\#");
    let Verdict::Bad(failure) = &ended.verdict else {
        return format!("ok {number} - {name}\n");
    };
    let severity = match ended.class() {
        Class::CannotRun => "cannot be run",
        _ => "failed",
    };
    let mut out = format!("not ok {number} - {name}\n  ---\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  severity: {severity}");
    let _ = writeln!(out, "  message: {}", quoted(&failure.summary));
    if failure.pos.line > 0 {
        let _ = writeln!(out, "  at: {{ line: {} }}", failure.pos.line);
    }
    out.push_str("  report: |\n");
    for line in ended.message.iter().flat_map(|text| text.lines()) {
        let _ = writeln!(out, "    {}", clean(line));
    }
    out.push_str("  ...\n");
    out
}

/// Totals by topic, as comments.
pub fn tail(totals: &Totals) -> String {
    totals
        .to_string()
        .lines()
        .fold(String::new(), |mut out, line| {
            let _ = writeln!(out, "# {line}");
            out
        })
}

fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        clean(text).replace('\\', "\\\\").replace('"', "\\\"")
    )
}

/// Without what YAML does not take as it is.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
