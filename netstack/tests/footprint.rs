//! What a connection costs in memory, in each of its lives: everything that the stacks have allocated for it,
//! tables included, counted by an allocator over many connections and divided.

#[path = "common/counting.rs"]
mod counting;

use counting::counts;
use netstack::testing::{Cable, Direct, Side};
use netstack::time::Duration;

/// Connections that are counted: tables grow in steps, so a count includes their slack.
const COUNT: usize = if cfg!(debug_assertions) {
    10_000
} else {
    100_000
};

/// Bytes that this thread holds more than before, for each of `COUNT`.
fn each(before: i64) -> i64 {
    (counts().bytes - before) / COUNT as i64
}

/// Two stacks with what they keep anyway.
fn world() -> Direct {
    let mut direct = Direct::new(Cable::Offloads, 1_500);
    let pair = direct.connect();
    direct.transfer((Side::Client, pair.0), pair.1, &[1; 100], &mut [0; 100]);
    direct
}

/// Takes the world apart; the bytes that each end has held for each connection.
fn ends(direct: Direct) -> (i64, i64) {
    let (client, server) = direct.into_stacks();
    let whole = counts().bytes;
    drop(client);
    let without_client = counts().bytes;
    drop(server);
    let count = COUNT as i64;
    (
        (whole - without_client) / count,
        (without_client - counts().bytes) / count,
    )
}

#[test]
fn an_idle_connection_costs_two_kib() {
    let mut direct = world();
    let before = counts().bytes;
    let mut pairs = Vec::with_capacity(COUNT);
    let own = counts().bytes - before;
    for _ in 0..COUNT {
        pairs.push(direct.connect());
    }
    let fresh = each(before + own) / 2;
    // A request and a response each, as connections do before they are idle.
    for pair in &pairs {
        direct.transfer((Side::Client, pair.0), pair.1, &[1; 300], &mut [0; 300]);
        direct.transfer((Side::Server, pair.1), pair.0, &[2; 3_000], &mut [0; 3_000]);
    }
    direct.advance(Duration::from_secs(2));
    let used = each(before + own) / 2;
    drop(pairs);
    let (client, server) = ends(direct);
    println!(
        "idle, {COUNT}: fresh {fresh}, used {used} (client {client}, server {server}) bytes each"
    );
    assert!(client <= 2_048 && server <= 2_048, "{client}, {server}");
}

#[test]
fn a_half_open_record_costs_256_bytes() {
    let mut direct = world();
    direct
        .stack(Side::Server)
        .set_setting("tcp_syncookies", "0")
        .unwrap();
    let mut opened = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        opened.push(direct.begin().0);
        direct.carry(Side::Client);
        direct.discard(Side::Server);
    }
    assert_eq!(direct.stack(Side::Server).usage().half_open, COUNT);
    drop(opened);
    let (client, server) = ends(direct);
    println!("half-open, {COUNT}: {server} bytes each; connecting {client}");
    assert!(server <= 256, "{server}");
}

/// The side that listens ends the connections, as most servers do: its records share one port.
#[test]
fn a_time_wait_record_costs_128_bytes() {
    let mut direct = world();
    let server = direct.stack(Side::Server);
    server.set_setting("tcp_max_tw_buckets", "1000000").unwrap();
    for _ in 0..COUNT {
        let (client, server) = direct.connect();
        direct.stack(Side::Server).close(server);
        direct.settle();
        direct.stack(Side::Client).close(client);
        direct.settle();
    }
    assert_eq!(direct.stack(Side::Server).usage().time_wait, COUNT);
    let (client, server) = ends(direct);
    println!("TIME-WAIT, {COUNT}: {server} bytes each; the other side {client}");
    assert!(server <= 128, "{server}");
}
