//! What went wrong in a script, and how it is told.

pub mod junit;
pub mod tap;
mod totals;

use std::fmt::Write as _;

use crate::ast::Pos;
pub use totals::{Counts, Totals};

/// How a script ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Everything happened as it says.
    Pass,
    /// Something happened otherwise, or the script could not be run.
    Bad(Box<Failure>),
}

/// Whether the stack or the script is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The target did something else than the script says.
    Target,
    /// The script cannot be run: it is malformed, or needs something that is not supported.
    Script,
}

/// Why a script did not pass.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The line that did not hold.
    pub pos: Pos,
    /// Who is to blame.
    pub blame: Blame,
    /// In one sentence.
    pub summary: String,
    /// What was expected and what was seen.
    pub rows: Vec<Row>,
    /// What the two columns of `rows` are called.
    pub columns: [&'static str; 2],
    /// The traffic and calls before it, oldest first.
    pub history: Vec<String>,
}

/// What a script says, and what happened.
const COLUMNS: [&str; 2] = ["expected", "seen"];

/// One compared property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What the script says.
    pub expected: String,
    /// What happened.
    pub seen: String,
    /// True if the two agree.
    pub agrees: bool,
}

impl Row {
    /// A property whose two sides are compared as text.
    pub fn new(name: &'static str, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        let (expected, seen) = (expected.into(), seen.into());
        let agrees = expected == seen;
        Self {
            name,
            expected,
            seen,
            agrees,
        }
    }

    /// A property that the script leaves open.
    pub fn open(name: &'static str, seen: impl Into<String>) -> Self {
        Self {
            name,
            expected: "any".to_owned(),
            seen: seen.into(),
            agrees: true,
        }
    }
}

impl Failure {
    /// The target did something else.
    pub fn mismatch(pos: Pos, summary: impl Into<String>, rows: Vec<Row>) -> Box<Self> {
        Box::new(Self {
            pos,
            blame: Blame::Target,
            summary: summary.into(),
            rows,
            columns: COLUMNS,
            history: Vec::new(),
        })
    }

    /// The script cannot be run.
    pub fn error(pos: Pos, summary: impl Into<String>) -> Self {
        Self {
            pos,
            blame: Blame::Script,
            summary: summary.into(),
            rows: Vec::new(),
            columns: COLUMNS,
            history: Vec::new(),
        }
    }

    /// The whole message: the line of the script, the comparison side by side, and what went before.
    pub fn render(&self, path: &str, source: &str) -> String {
        let mut out = String::new();
        let kind = match self.blame {
            Blame::Target => "FAIL",
            Blame::Script => "CANNOT RUN",
        };
        // Writing to a String cannot fail.
        // Line 0: the script as a whole.
        if let Some(index) = self.pos.line.checked_sub(1) {
            let _ = writeln!(out, "{kind} {path}:{}: {}", self.pos.line, self.summary);
            let line = source.lines().nth(index as usize).unwrap_or_default();
            let _ = writeln!(out, "  {:>5} | {}", self.pos.line, line.trim_end());
        } else {
            let _ = writeln!(out, "{kind} {path}: {}", self.summary);
        }
        self.render_rows(&mut out);
        if !self.history.is_empty() {
            let _ = writeln!(out, "  before that:");
            for line in &self.history {
                let _ = writeln!(out, "    {line}");
            }
        }
        out
    }

    fn render_rows(&self, out: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let width = |pick: fn(&Row) -> &str, head: &str| {
            self.rows
                .iter()
                .map(|row| pick(row).chars().count())
                .chain([head.len()])
                .max()
                .unwrap_or(0)
        };
        let name = width(|row| row.name, "");
        let [left, right] = self.columns;
        let expected = width(|row| &row.expected, left);
        let seen = width(|row| &row.seen, right);
        let _ = writeln!(out, "    {:name$}   {left:expected$}   {right:seen$}", "");
        for row in &self.rows {
            let mark = if row.agrees { "" } else { "   <-- differs" };
            let line = format!(
                "    {:name$}   {:expected$}   {:seen$}{mark}",
                row.name, row.expected, row.seen
            );
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_and_both_sides() {
        let rows = vec![Row::new("flags", "S.", "R."), Row::new("seq", "0", "0")];
        let failure = Failure::mismatch(Pos { line: 2, column: 1 }, "packet differs", rows);
        let text = failure.render("x.pkt", "first\n+0 > S. 0:0(0)\n");
        assert!(text.starts_with("FAIL x.pkt:2: packet differs\n      2 | +0 > S. 0:0(0)\n"));
        let flags = text.lines().find(|line| line.contains("flags")).unwrap();
        assert!(flags.contains("S.") && flags.ends_with("<-- differs"));
        assert!(
            !text
                .lines()
                .any(|line| line.contains("seq") && line.contains("differs"))
        );
    }
}
