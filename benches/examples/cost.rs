//! Work whose instructions `benches/cost` counts, in one process and without a clock:
//! `cost WORK CONNECTIONS COUNT`, with CONNECTIONS idle beside (or, for `spread`, at work in turn). Prints how many units
//! (segments, requests, connections) the counted part did.

use netstack::socket::SocketId;
use netstack::testing::{Cable, Direct, Side};
use netstack::time::Duration;

type Pair = (SocketId, SocketId);

struct Work {
    direct: Direct,
    pairs: Vec<Pair>,
    data: Vec<u8>,
    buffer: Vec<u8>,
}

impl Work {
    fn new(cable: Cable, connections: usize) -> Self {
        let mut direct = Direct::new(cable, 1_500);
        let pairs = (0..connections.max(1)).map(|_| direct.connect()).collect();
        Self {
            direct,
            pairs,
            data: vec![0x5a; 64 << 10],
            buffer: vec![0; 64 << 10],
        }
    }

    fn there(&mut self, pair: Pair, len: usize) {
        let (data, buffer) = (&self.data[..len], &mut self.buffer);
        self.direct
            .transfer((Side::Client, pair.0), pair.1, data, buffer);
    }

    fn request(&mut self, pair: Pair, len: usize) {
        self.there(pair, len);
        let (data, buffer) = (&self.data[..len], &mut self.buffer);
        self.direct
            .transfer((Side::Server, pair.1), pair.0, data, buffer);
        self.direct.advance(Duration::from_micros(10));
    }

    fn connection(&mut self) {
        let (client, server) = self.direct.connect();
        self.direct.close(client, server);
        self.direct.advance(Duration::from_micros(10));
    }
}

/// What is counted: `benches/cost` has callgrind collect in this function only.
#[inline(never)]
fn measured(work: &mut Work, what: &str, count: usize) -> u64 {
    let before = work.direct.carried();
    let last = work.pairs.len() - 1;
    for at in 0..count {
        let pair = work.pairs[last];
        match what {
            "bulk" | "bulk-single" | "bulk-offloads" => {
                work.there(pair, 64 << 10);
                work.direct.advance(Duration::from_micros(10));
            }
            "request" => work.request(pair, 1),
            "request-16k" => work.request(pair, 16 << 10),
            "spread" => work.request(work.pairs[at % work.pairs.len()], 1),
            "connection" => work.connection(),
            other => panic!("no such work: {other}"),
        }
    }
    match what {
        "bulk" | "bulk-single" | "bulk-offloads" => work.direct.carried() - before,
        _ => count as u64,
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, connections, count] = &args[..] else {
        eprintln!("usage: cost WORK CONNECTIONS COUNT");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse().expect("a number");
    let cable = match what.as_str() {
        "bulk-offloads" => Cable::Offloads,
        "bulk-single" => Cable::Single,
        _ => Cable::Segments,
    };
    let mut work = Work::new(cable, number(connections));
    // Queues and tables grow to what the work needs.
    for _ in 0..200 {
        measured_once(&mut work, what);
    }
    println!("{}", measured(&mut work, what, number(count)));
}

/// One unit that is not counted.
fn measured_once(work: &mut Work, what: &str) {
    let pair = work.pairs[work.pairs.len() - 1];
    match what {
        "connection" => work.connection(),
        "request" | "spread" => work.request(pair, 1),
        _ => work.request(pair, 16 << 10),
    }
}
