//! In steady state no segment allocates: counted by an allocator, so that one allocation that comes back fails
//! the test.

#[path = "common/counting.rs"]
mod counting;

use counting::allocations_in;
use netstack::socket::SocketId;
use netstack::testing::{Cable, Direct, Side};
use netstack::time::Duration;

/// Rounds before the counting, for queues and pools to grow to what the work needs.
const WARM: usize = 400;
/// Rounds that are counted.
const COUNTED: usize = 200;

struct World {
    direct: Direct,
    flows: Vec<(SocketId, SocketId)>,
    data: Vec<u8>,
    buffer: Vec<u8>,
}

impl World {
    fn new(cable: Cable, flows: usize) -> Self {
        let mut direct = Direct::new(cable, 1_500);
        let flows = (0..flows).map(|_| direct.connect()).collect();
        Self {
            direct,
            flows,
            data: vec![0x5a; 256 << 10],
            buffer: vec![0; 64 << 10],
        }
    }

    /// `to_server` bytes one way, then `to_client` the other, on each connection; 20 us pass.
    fn round(&mut self, to_server: usize, to_client: usize) {
        for at in 0..self.flows.len() {
            let (client, server) = self.flows[at];
            let (data, buffer) = (&self.data, &mut self.buffer);
            let direct = &mut self.direct;
            direct.transfer((Side::Client, client), server, &data[..to_server], buffer);
            direct.transfer((Side::Server, server), client, &data[..to_client], buffer);
        }
        self.direct.advance(Duration::from_micros(20));
    }

    /// All connections write, in small pieces, before any of it is carried; then all are read.
    fn burst(&mut self, writes: usize, piece: usize) {
        for (client, _) in &self.flows {
            for _ in 0..writes {
                let stack = self.direct.stack(Side::Client);
                let sent = stack.tcp_send(*client, &self.data[..piece], false);
                assert_eq!(sent, Ok(piece));
            }
        }
        for _ in 0..8 {
            self.direct.advance(Duration::from_micros(20));
            for (_, server) in &self.flows {
                let stack = self.direct.stack(Side::Server);
                while stack.tcp_recv(*server, &mut self.buffer, false).is_ok() {}
            }
        }
    }
}

/// Allocations, and segments carried, once the work has run for a while.
fn steady(cable: Cable, flows: usize, to_server: usize, to_client: usize) -> (u64, u64) {
    let mut world = World::new(cable, flows);
    (0..WARM).for_each(|_| world.round(to_server, to_client));
    let before = world.direct.carried();
    let allocations = allocations_in(|| {
        (0..COUNTED).for_each(|_| world.round(to_server, to_client));
    });
    (allocations, world.direct.carried() - before)
}

fn check(flows: usize, to_server: usize, to_client: usize) {
    for cable in [Cable::Offloads, Cable::Segments, Cable::Single] {
        let (allocations, segments) = steady(cable, flows, to_server, to_client);
        assert!(segments >= (COUNTED * flows) as u64);
        assert_eq!(
            allocations, 0,
            "{cable:?}: {flows} flows, {to_server} and {to_client} bytes, {segments} segments"
        );
    }
}

#[test]
fn bulk_allocates_nothing() {
    check(1, 256 << 10, 0);
    check(8, 64 << 10, 0);
}

#[test]
fn bulk_both_ways_allocates_nothing() {
    check(1, 128 << 10, 128 << 10);
}

#[test]
fn requests_and_responses_allocate_nothing() {
    check(1, 1, 1);
    check(8, 128, 128);
    check(1, 16 << 10, 16 << 10);
}

#[test]
fn small_writes_of_many_flows_allocate_nothing() {
    for cable in [Cable::Offloads, Cable::Segments, Cable::Single] {
        let mut world = World::new(cable, 64);
        (0..60).for_each(|_| world.burst(16, 1_000));
        let allocations = allocations_in(|| (0..20).for_each(|_| world.burst(16, 1_000)));
        assert_eq!(allocations, 0, "{cable:?}");
    }
}
