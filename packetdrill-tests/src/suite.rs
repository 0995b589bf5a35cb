//! Many scripts at once: which runs there are, several of them in parallel, and what became of each,
//! always in the same order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::ast::Pos;
use crate::collect;
use crate::report::{Blame, Failure, Verdict};
use crate::run::IpVersion;

/// One script over one IP version.
#[derive(Clone, Debug)]
pub struct Case {
    /// The script.
    pub path: PathBuf,
    /// The directory that it belongs to, for totals.
    pub topic: String,
    /// What it is run over.
    pub version: IpVersion,
    /// What messages call it.
    pub name: String,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it ended.
    pub verdict: Verdict,
    /// The message of one that did not pass.
    pub message: Option<String>,
    /// How long it took, in real time.
    pub took: Duration,
}

/// How a case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Everything was as the script says.
    Passed,
    /// The target did something else.
    Failed,
    /// The script is malformed, or asks for what is not there.
    CannotRun,
}

impl Ended {
    /// How it counts.
    pub fn class(&self) -> Class {
        match &self.verdict {
            Verdict::Pass => Class::Passed,
            Verdict::Bad(failure) => match failure.blame {
                Blame::Target => Class::Failed,
                Blame::Script => Class::CannotRun,
            },
        }
    }
}

/// The cases of some scripts over some versions. A script whose name ends in `v4` or `v6` is run over
/// that family alone.
pub fn cases(files: &[PathBuf], roots: &[PathBuf], versions: &[IpVersion]) -> Vec<Case> {
    let mut cases = Vec::new();
    for path in files {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let fits = |version: &&IpVersion| match **version {
            IpVersion::V6 => !stem.ends_with("v4"),
            _ => !stem.ends_with("v6"),
        };
        for version in versions.iter().filter(fits) {
            let path_text = path.display();
            cases.push(Case {
                path: path.clone(),
                topic: collect::topic(path, roots),
                version: *version,
                name: match versions {
                    [_] => path_text.to_string(),
                    _ => format!("{path_text} ({version})"),
                },
            });
        }
    }
    cases
}

/// Runs `one` for every case on `jobs` threads, and hands each result to `done` in the cases' order.
pub fn run(
    cases: &[Case],
    jobs: usize,
    one: impl Fn(&Case) -> (String, Verdict) + Sync,
    mut done: impl FnMut(&Case, Ended),
) {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, cases.len().max(1)) {
            let sender = sender.clone();
            let (next, one) = (&next, &one);
            scope.spawn(move || {
                while let Some((index, case)) = take(next, cases) {
                    // Nobody listens any more: then there is nothing more to do.
                    if sender.send((index, run_case(case, one))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (index, ended) in receiver {
            early.insert(index, ended);
            while let Some(ended) = early.remove(&due) {
                done(&cases[due], ended);
                due += 1;
            }
        }
    });
}

fn take<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    cases.get(index).map(|case| (index, case))
}

fn run_case(case: &Case, one: &impl Fn(&Case) -> (String, Verdict)) -> Ended {
    let start = Instant::now();
    // A defect found by one script must not hide the results of the others.
    let (source, verdict) = catch_unwind(AssertUnwindSafe(|| one(case))).unwrap_or_else(|_| {
        let summary = "the stack or the runner has panicked (its message is on standard error)";
        let failure = Failure::mismatch(Pos::default(), summary, Vec::new());
        (String::new(), Verdict::Bad(failure))
    });
    let message = match &verdict {
        Verdict::Pass => None,
        Verdict::Bad(failure) => Some(failure.render(&case.name, &source)),
    };
    Ended {
        verdict,
        message,
        took: start.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_cases(count: usize) -> Vec<Case> {
        let files: Vec<PathBuf> = (0..count)
            .map(|n| PathBuf::from(format!("{n:03}")))
            .collect();
        cases(&files, &[], &[IpVersion::V4])
    }

    #[test]
    fn results_come_in_order_whoever_is_first() {
        let cases = some_cases(100);
        let later = std::sync::Barrier::new(2);
        let mut seen = Vec::new();
        run(
            &cases,
            4,
            |case| {
                // The first waits for one behind it, so that the order cannot be right by chance.
                if case.name == "000" || case.name == "001" {
                    later.wait();
                }
                assert_ne!(case.name, "050", "a panic is a failure of this case alone");
                (String::new(), Verdict::Pass)
            },
            |case, ended| seen.push((case.name.clone(), ended.class())),
        );
        let names: Vec<&String> = seen.iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted() && names.len() == 100);
        let failed: Vec<_> = seen.iter().filter(|(_, c)| *c != Class::Passed).collect();
        assert_eq!(failed, [&("050".to_owned(), Class::Failed)]);
    }

    #[test]
    fn a_name_may_limit_the_versions() {
        let files = ["a.pkt", "a-v4.pkt", "a_ipv6.pkt"].map(PathBuf::from);
        let all = [IpVersion::V4, IpVersion::V6, IpVersion::Mapped];
        let names: Vec<String> = cases(&files, &[], &all)
            .into_iter()
            .map(|case| case.name)
            .collect();
        assert_eq!(
            names,
            [
                "a.pkt (ipv4)",
                "a.pkt (ipv6)",
                "a.pkt (ipv4-mapped-ipv6)",
                "a-v4.pkt (ipv4)",
                "a-v4.pkt (ipv4-mapped-ipv6)",
                "a_ipv6.pkt (ipv6)",
            ]
        );
    }
}
