//! Goodput of one connection through a simulated link, by loss and round-trip time, in virtual time:
//! the same figures on each machine. `goodput [RATE_MBIT [SECONDS]]`

use std::time::Duration;

use benches::Pair;
use netstack::testing::LinkConfig;

/// Loss in percent.
const LOSSES: [f64; 4] = [0.1, 1.0, 2.0, 5.0];
/// Round-trip times in microseconds.
const RTTS_US: [u64; 4] = [100, 1_000, 10_000, 100_000];
/// Runs for each cell, each with a seed of its own; the median counts.
const SEEDS: u64 = 5;

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let mut next = |default| args.next().and_then(Result::ok).unwrap_or(default);
    let (rate_mbit, mib) = (next(1_000), next(16));
    for reorder in [0.0, 0.02] {
        println!(
            "{mib} MiB at {rate_mbit} Mbit/s, reordering {:.0}%",
            reorder * 100.0
        );
        println!("Mbit/s (timeouts, retransmissions per loss)");
        print!("{:>8}", "loss");
        for rtt in RTTS_US {
            print!("{:>24}", format!("{:?}", Duration::from_micros(rtt)));
        }
        println!();
        for loss in LOSSES {
            print!("{:>8}", format!("{loss}%"));
            for rtt in RTTS_US {
                print!("{:>24}", cell(rate_mbit, mib, loss / 100.0, reorder, rtt));
            }
            println!();
        }
    }
}

fn cell(rate_mbit: u64, mib: u64, loss: f64, reorder: f64, rtt_us: u64) -> String {
    let bits = rate_mbit * 1_000_000;
    let config = LinkConfig {
        rate: Some(bits),
        queue_bytes: ((bits / 8 * rtt_us / 1_000_000) as usize).max(64 << 10),
        delay: Duration::from_micros(rtt_us / 2),
        loss,
        duplicate: 0.0,
        reorder,
        reorder_delay: Duration::from_micros(rtt_us / 4),
        corrupt: 0.0,
    };
    let len = (mib << 20) as usize;
    let mut runs: Vec<(u64, String)> = (0..SEEDS).map(|seed| run(config, len, seed)).collect();
    runs.sort();
    runs.swap_remove(runs.len() / 2).1
}

fn run(config: LinkConfig, len: usize, seed: u64) -> (u64, String) {
    let Some(bulk) = Pair::new(config, &[], seed).bulk(len) else {
        return (0, "not in an hour".into());
    };
    let mbit = len as f64 * 8.0 / bulk.took.as_secs_f64() / 1e6;
    let losses = (len as f64 / 1448.0 * config.loss).max(1.0);
    let per_loss = bulk.retransmitted as f64 / losses;
    let text = format!("{mbit:.2} ({}, {per_loss:.2})", bulk.timeouts);
    ((mbit * 1000.0) as u64, text)
}
