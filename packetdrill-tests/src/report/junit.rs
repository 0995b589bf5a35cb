//! Results as JUnit XML, the form that build servers read: a suite for each topic, a failure for what
//! differs, an error for what cannot be run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Verdict;
use crate::suite::{Case, Class, Ended};

/// Gathers results, which are written out once all are known.
#[derive(Debug, Default)]
pub struct Junit {
    suites: BTreeMap<String, Suite>,
}

#[derive(Debug, Default)]
struct Suite {
    body: String,
    tests: usize,
    failures: usize,
    errors: usize,
    took: Duration,
}

impl Junit {
    /// Adds a result.
    pub fn add(&mut self, case: &Case, ended: &Ended) {
        let suite = self.suites.entry(case.topic.clone()).or_default();
        suite.tests += 1;
        suite.took += ended.took;
        // Writing to a String cannot fail.
        let _ = write!(
            suite.body,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            escaped(&case.topic),
            escaped(&case.name),
            ended.took.as_secs_f64()
        );
        let Verdict::Bad(failure) = &ended.verdict else {
            suite.body.push_str("/>\n");
            return;
        };
        let tag = match ended.class() {
            Class::CannotRun => {
                suite.errors += 1;
                "error"
            }
            _ => {
                suite.failures += 1;
                "failure"
            }
        };
        let _ = writeln!(
            suite.body,
            ">\n      <{tag} message=\"{}\">{}</{tag}>\n    </testcase>",
            escaped(&failure.summary),
            escaped(ended.message.as_deref().unwrap_or_default())
        );
    }

    /// The document.
    pub fn document(&self) -> String {
        let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
        for (topic, suite) in &self.suites {
            let _ = writeln!(
                out,
                "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\">\n{}  </testsuite>",
                escaped(topic),
                suite.tests,
                suite.failures,
                suite.errors,
                suite.took.as_secs_f64(),
                suite.body
            );
        }
        out.push_str("</testsuites>\n");
        out
    }
}

/// Text as XML takes it; control characters, which it does not take at all, are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}
