//! How many runs passed, by topic.

use std::collections::BTreeMap;
use std::fmt;

use crate::suite::{Case, Class, Ended};

/// Counts of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// The target did something else.
    pub failed: usize,
    /// Not runnable.
    pub cannot_run: usize,
}

impl Counts {
    /// All of them.
    pub fn all(self) -> usize {
        self.passed + self.failed + self.cannot_run
    }

    fn add(&mut self, class: Class) {
        match class {
            Class::Passed => self.passed += 1,
            Class::Failed => self.failed += 1,
            Class::CannotRun => self.cannot_run += 1,
        }
    }
}

/// Counts of all topics.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    topics: BTreeMap<String, Counts>,
    sum: Counts,
}

impl Totals {
    /// Counts a case.
    pub fn add(&mut self, case: &Case, ended: &Ended) {
        self.topics
            .entry(case.topic.clone())
            .or_default()
            .add(ended.class());
        self.sum.add(ended.class());
    }

    /// The sum over the topics.
    pub fn sum(&self) -> Counts {
        self.sum
    }

    /// True if there are topics to tell apart.
    pub fn has_topics(&self) -> bool {
        self.topics.len() > 1
    }
}

/// A table with a line for each topic.
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.topics.keys().map(|name| name.chars().count());
        let width = names.chain(["topic".len()]).max().unwrap_or(0);
        writeln!(
            f,
            "{:width$}  {:>6}  {:>6}  {:>10}",
            "topic", "passed", "failed", "cannot run"
        )?;
        for (name, counts) in &self.topics {
            writeln!(
                f,
                "{name:width$}  {:>6}  {:>6}  {:>10}",
                counts.passed, counts.failed, counts.cannot_run
            )?;
        }
        Ok(())
    }
}
