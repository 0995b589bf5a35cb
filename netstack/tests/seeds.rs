//! Connections over links that seeds choose. `cargo run --release -p benches --example seeds -- 10000` runs more.

use netstack::testing::seeds;

/// Runs `seeds`; those that fail, with what did not hold.
fn failures(seeds: std::ops::Range<u64>) -> Vec<(u64, String)> {
    let run = |seed| seeds::run(seed).err().map(|error| (seed, error));
    seeds.filter_map(run).collect()
}

#[test]
fn streams_arrive_whole_over_any_link() {
    assert_eq!(failures(0..150), []);
}

#[test]
fn streams_arrive_whole_over_more_links() {
    assert_eq!(failures(150..300), []);
}

#[test]
fn a_seed_gives_the_same_packets_again() {
    for seed in 0..20 {
        assert_eq!(seeds::run(seed), seeds::run(seed), "seed {seed}");
    }
    assert_ne!(
        seeds::run(1).map(|run| run.digest),
        seeds::run(2).map(|run| run.digest)
    );
}
