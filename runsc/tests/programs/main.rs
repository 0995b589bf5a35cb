//! Real programs, each run natively and in the sandbox, and compared.
//!
//! A harness of its own: a case whose program is not on the machine counts as skipped, loudly, and
//! as root (where the test command installs everything) as failed. The last line counts.
//!
//! `cargo test -p runsc --test programs -- NAME...` runs the cases whose names contain one of NAME.

mod alone;
mod cases;
mod flows;
mod host_network;
mod memory;
mod network;
mod run;
#[path = "../shared/mod.rs"]
mod shared;

use std::time::Instant;

use run::{Outcome, Skip};

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let mut tally = Tally::default();
    if let Err(reason) = run::prepare() {
        println!("programs: all skipped: {reason}");
        tally.skipped =
            cases::ALL.len() + network::ALL.len() + host_network::ALL.len() + memory::ALL.len();
        tally.finish();
    }
    let matches =
        |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    for case in cases::ALL.iter().filter(|case| matches(case.name)) {
        tally.record(case.name, case.needs, || alone::compare(case));
    }
    let networks = network::ALL.iter().chain(host_network::ALL);
    for case in networks.filter(|case| matches(case.name)) {
        tally.record(case.name, case.needs, || (case.check)());
    }
    for case in memory::ALL.iter().filter(|case| matches(case.name)) {
        tally.record(case.name, case.needs, || (case.check)());
    }
    tally.finish();
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn record(&mut self, name: &str, needs: &[&str], check: impl FnOnce() -> Outcome) {
        let start = Instant::now();
        let outcome = match needs.iter().find(|program| !run::installed(program)) {
            Some(missing) => Err(Skip(format!("{missing} is not installed"))),
            None => Ok(check()),
        };
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Ok(Ok(())) => {
                self.passed += 1;
                println!("test {name} ... ok ({seconds:.1} s)");
            }
            Ok(Err(why)) => {
                self.failed += 1;
                println!("test {name} ... FAILED ({seconds:.1} s)\n{why}");
            }
            Err(Skip(why)) => {
                self.skipped += 1;
                println!("test {name} ... SKIPPED: {why}");
            }
        }
    }

    fn finish(self) -> ! {
        // As root the test command has installed what every case needs: a gap is a failure there.
        let gaps = if nix::unistd::geteuid().is_root() {
            self.skipped
        } else {
            0
        };
        println!(
            "programs: {} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
        std::process::exit(i32::from(self.failed + gaps > 0));
    }
}
