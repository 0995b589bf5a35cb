//! Two stacks wired back to back and stepped by one thread: no system call but the clock's.

use std::time::{Duration, Instant};

use netstack::testing::{Cable, Direct, Side};

use super::{Case, MBITS, MICROS, mbits, micros};
use crate::Failure;

const CHUNK: usize = 64 * 1024;
/// Steps between two looks at the clock.
const STEPS: u64 = 64;
/// What passes for the stacks with each step.
const STEP: Duration = Duration::from_micros(10);

pub(super) fn cases(mtu: u32) -> Vec<Case> {
    vec![
        Case::new("memory bulk", MBITS, move |time| Ok(bulk(mtu, time))),
        Case::new("memory request/response", MICROS, move |time| {
            Ok::<_, Failure>(trips(mtu, time))
        }),
    ]
}

fn bulk(mtu: u32, time: Duration) -> f64 {
    let mut direct = Direct::new(Cable::Offloads, mtu);
    let (client, server) = direct.connect();
    let (data, mut buffer) = (vec![7; CHUNK], vec![0; CHUNK]);
    let (start, mut got) = (Instant::now(), 0);
    loop {
        for _ in 0..STEPS {
            direct.transfer((Side::Client, client), server, &data, &mut buffer);
            direct.advance(STEP);
            got += CHUNK as u64;
        }
        let elapsed = start.elapsed();
        if elapsed >= time {
            return mbits(got, elapsed);
        }
    }
}

fn trips(mtu: u32, time: Duration) -> f64 {
    let mut direct = Direct::new(Cable::Offloads, mtu);
    let (client, server) = direct.connect();
    let (start, mut trips, mut buffer) = (Instant::now(), 0, [0; 8]);
    loop {
        for _ in 0..STEPS {
            direct.transfer((Side::Client, client), server, b"x", &mut buffer);
            direct.transfer((Side::Server, server), client, b"x", &mut buffer);
            direct.advance(STEP);
        }
        trips += STEPS;
        let elapsed = start.elapsed();
        if elapsed >= time {
            return micros(elapsed, trips);
        }
    }
}
