//! Listeners that share a port (SO_REUSEPORT): row 18 of the listen rules.

use std::net::SocketAddr;

use super::harness::Host;
use super::listen::{Bench, PORT, Reply};
use crate::socket::SocketId;
use crate::socket::tcp::{ShutdownHow, TcpOption};

/// Two listeners on one port; the bench looks at the first.
fn group(backlog: i32, cookies: u32) -> (Bench, [SocketId; 2]) {
    let mut host = Host::new([10, 0, 0, 1], 5);
    host.config.tcp_syncookies = cookies;
    let addr = SocketAddr::new(host.out.addr, PORT);
    let listeners = [(), ()].map(|()| {
        host.with(|engine, cx| {
            let id = engine.socket(cx);
            engine
                .set_option(cx, id, TcpOption::ReusePort(true))
                .expect("a flag");
            engine.bind(cx, id, addr).expect("shared");
            engine.listen(cx, id, backlog).expect("bound");
            id
        })
    });
    let listener = listeners[0];
    (Bench { host, listener }, listeners)
}

/// How many connections wait at a listener.
fn waiting(bench: &mut Bench, listener: SocketId) -> u32 {
    bench
        .host
        .with(|engine, cx| engine.info(cx, listener))
        .expect("it listens")
        .unacked
}

fn close(bench: &mut Bench, listener: SocketId) {
    bench
        .host
        .with(|engine, cx| engine.close(cx, listener))
        .expect("open");
    bench.host.take();
}

#[test]
fn row_18_reuse_port_shares_the_load() {
    let (mut bench, listeners) = group(100, 1);
    (0..40).for_each(|n| bench.connect(n));
    let lens = listeners.map(|id| waiting(&mut bench, id));
    assert_eq!(lens.iter().sum::<u32>(), 40);
    assert!(
        lens.iter().all(|len| *len > 8),
        "the hash spreads them: {lens:?}"
    );
}

/// Peers that the hash sends to the first listener of [`group`], which has the same secrets each time.
fn peers_of_the_first() -> Vec<u8> {
    let (mut bench, listeners) = group(100, 1);
    let mut peers = Vec::new();
    for n in 0..40 {
        let before = waiting(&mut bench, listeners[0]);
        bench.connect(n);
        if waiting(&mut bench, listeners[0]) > before {
            peers.push(n);
        }
    }
    peers
}

#[test]
fn row_18_each_has_its_own_queues() {
    let peers = peers_of_the_first();
    let (mut bench, listeners) = group(0, 0);
    bench.connect(peers[0]);
    assert_eq!(bench.syn(peers[1]), Reply::Nothing, "the first one is full");
    let others: Vec<u8> = (0..40).filter(|n| !peers.contains(n)).collect();
    bench.connect(others[0]);
    assert_eq!(listeners.map(|id| waiting(&mut bench, id)), [1, 1]);
}

#[test]
fn row_18_the_overflow_stamp_is_shared_by_the_group() {
    let peers = peers_of_the_first();
    // Only the first listener ever overflows: one cookie, to one peer.
    let (mut bench, listeners) = group(0, 1);
    bench.syn_ack(peers[0]);
    let cookie = bench.syn_ack(peers[1]);
    assert_eq!(bench.host.stats.syncookies_sent, 1);
    close(&mut bench, listeners[0]);
    assert_eq!(
        bench.ack(peers[1], cookie),
        Reply::Nothing,
        "the second listener believes the cookie"
    );
    assert_eq!(waiting(&mut bench, listeners[1]), 1);
}

#[test]
fn row_18_nothing_migrates_unless_tcp_migrate_req_is_set() {
    let peers = peers_of_the_first();
    for migrate in [0, 1] {
        let (mut bench, listeners) = group(5, 0);
        bench.host.config.tcp_migrate_req = migrate;
        let iss = bench.syn_ack(peers[0]);
        bench.connect(peers[1]);
        close(&mut bench, listeners[0]);
        assert_eq!(waiting(&mut bench, listeners[1]), migrate);
        let expected = [Reply::Reset, Reply::Nothing][migrate as usize].clone();
        assert_eq!(bench.ack(peers[0], iss), expected);
        assert_eq!(waiting(&mut bench, listeners[1]), 2 * migrate);
    }
}

#[test]
fn row_18_an_heir_takes_no_more_than_its_queue_holds() {
    let peers = peers_of_the_first();
    let (mut bench, listeners) = group(2, 0);
    bench.host.config.tcp_migrate_req = 1;
    peers[..3].iter().for_each(|n| bench.connect(*n));
    bench
        .host
        .with(|engine, cx| engine.listen(cx, listeners[1], 1))
        .expect("bound");
    bench
        .host
        .with(|engine, cx| engine.shutdown(cx, listeners[0], ShutdownHow::Receive))
        .expect("it listens");
    assert_eq!(
        waiting(&mut bench, listeners[1]),
        2,
        "row 12 holds here too"
    );
    assert_eq!(bench.host.take().len(), 1, "the third is reset");
}
