//! Simulator seeds over all processors: `cargo run --release -p benches --example seeds -- COUNT [FIRST]`.
//! Prints a summary; each seed that fails is named, with its scenario, and fails the run. `seeds -- 1 SEED`
//! repeats one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use netstack::testing::seeds::{Outcome, Scenario, run};

type Run = (u64, Result<Outcome, String>);

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| {
        args.next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (count, first): (u64, u64) = (number(10_000), number(0));
    let next = AtomicU64::new(first);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let runs: Vec<Run> = thread::scope(|scope| {
        let work = || {
            let mut runs = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return runs;
                }
                let outcome = std::panic::catch_unwind(|| run(seed));
                runs.push((seed, outcome.unwrap_or_else(|_| Err("panic".into()))));
            }
        };
        let all: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        all.into_iter()
            .flat_map(|one| one.join().expect("no panic"))
            .collect()
    });
    std::process::exit(i32::from(!summary(&runs)));
}

/// Prints what the runs came to; false if one failed.
fn summary(runs: &[Run]) -> bool {
    let good: Vec<&Outcome> = runs
        .iter()
        .filter_map(|(_, run)| run.as_ref().ok())
        .collect();
    let packets: u64 = good.iter().map(|run| run.packets).sum();
    let faults: u64 = good.iter().map(|run| run.faults).sum();
    let seconds: f64 = good.iter().map(|run| run.took.as_secs_f64()).sum();
    let longest = good.iter().map(|run| run.took).max().unwrap_or_default();
    println!("{} seeds, {} failed", runs.len(), runs.len() - good.len());
    println!("{packets} packets, {faults} of them lost, dropped or damaged");
    println!("{seconds:.0} s of virtual time, the longest {longest:?}");
    let mut bad: Vec<_> = runs.iter().filter(|(_, run)| run.is_err()).collect();
    bad.sort_by_key(|(seed, _)| *seed);
    for (seed, run) in &bad {
        println!("seed {seed}: {run:?}\n  {:?}", Scenario::of(*seed));
    }
    bad.is_empty()
}
