//! Random interleavings at a listener whose peers send data on their SYNs: neither the accept queue nor
//! the queue of open handshakes takes more than it may, and no place is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::listen::Bench;
use crate::socket::SocketId;
use crate::socket::tcp::TcpOption;
use crate::time::Duration;
use crate::wire::tcp::{TcpFlags, TcpOptions, TcpRepr};
use proptest::prelude::*;

const ISN: u32 = 5000;
const DATA: &[u8] = b"0123456789";
const PEERS: u8 = 10;

/// Listener, peers and what they should know of each other.
struct World {
    bench: Bench,
    most: usize,
    backlog: usize,
    /// Our numbers, by the peers whose handshake is open.
    open: BTreeMap<u8, u32>,
    /// Connections that nobody has accepted.
    waiting: BTreeSet<u8>,
    /// Accepted ones.
    held: Vec<(u8, SocketId)>,
}

impl World {
    fn new(most: u8, backlog: u8) -> Self {
        let mut bench = Bench::new(i32::from(backlog), 1);
        // No cookies are needed.
        bench.host.config.tcp_fastopen = 0x202;
        let listener = bench.listener;
        let option = TcpOption::FastOpen(u32::from(most));
        bench
            .host
            .with(|engine, cx| engine.set_option(cx, listener, option))
            .expect("a listener takes it");
        Self {
            bench,
            most: usize::from(most),
            backlog: usize::from(backlog),
            open: BTreeMap::new(),
            waiting: BTreeSet::new(),
            held: Vec::new(),
        }
    }

    fn is_known(&self, peer: u8) -> bool {
        self.open.contains_key(&peer)
            || self.waiting.contains(&peer)
            || self.held.iter().any(|(held, _)| *held == peer)
    }

    /// True if the data was taken.
    fn syn(&mut self, peer: u8) -> bool {
        let syn = TcpRepr {
            seq: ISN,
            flags: TcpFlags::SYN,
            window: 65_535,
            options: TcpOptions {
                mss: Some(1460),
                ..TcpOptions::default()
            },
            ..TcpRepr::default()
        };
        let answer = self.bench.send(peer, syn, DATA);
        let taken = answer.filter(|answer| answer.ack == ISN + 1 + DATA.len() as u32);
        let Some(syn_ack) = taken else {
            // It has a half-open record, or nothing: that is not what this is about.
            let rst = self.segment(TcpFlags::RST, 1, 0);
            self.bench.send(peer, rst, &[]);
            return false;
        };
        self.open.insert(peer, syn_ack.seq);
        self.waiting.insert(peer);
        true
    }

    fn segment(&self, flags: TcpFlags, after_isn: u32, ack: u32) -> TcpRepr {
        TcpRepr {
            seq: ISN + after_isn,
            ack,
            flags,
            window: 1000,
            ..TcpRepr::default()
        }
    }

    fn ack(&mut self, peer: u8) {
        if let Some(iss) = self.open.remove(&peer) {
            let ack = self.segment(TcpFlags::ACK, 1 + DATA.len() as u32, iss + 1);
            assert_eq!(self.bench.send(peer, ack, &[]), None);
        }
    }

    fn rst(&mut self, peer: u8) {
        let rst = self.segment(TcpFlags::RST, 1 + DATA.len() as u32, 0);
        self.bench.send(peer, rst, &[]);
        self.open.remove(&peer);
        self.held.retain(|(held, _)| *held != peer);
    }

    fn accept(&mut self) {
        if let Ok((id, address)) = self.bench.accept() {
            let peer = (0..PEERS).find(|peer| Bench::peer(*peer) == address);
            let peer = peer.expect("one of ours");
            self.waiting.remove(&peer);
            self.held.push((peer, id));
        }
    }

    fn close(&mut self) {
        if let Some((peer, id)) = self.held.pop() {
            self.bench
                .host
                .with(|engine, cx| engine.close(cx, id))
                .expect("it was open");
            // Its data was not read: it is reset.
            self.open.remove(&peer);
        }
    }

    fn check(&mut self) {
        assert!(self.open.len() <= self.most);
        let waiting = self.bench.info().unacked as usize;
        assert!(waiting <= self.backlog + 1, "row 12");
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Syn(u8),
    Ack(u8),
    Rst(u8),
    Accept,
    Close,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..PEERS).prop_map(Event::Syn),
        3 => (0..PEERS).prop_map(Event::Ack),
        1 => (0..PEERS).prop_map(Event::Rst),
        3 => Just(Event::Accept),
        1 => Just(Event::Close),
        1 => (0..400_u64).prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn no_queue_takes_more_than_it_may(
        most in 1_u8..5,
        backlog in 0_u8..4,
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new(most, backlog);
        for event in events {
            match event {
                Event::Syn(peer) if world.is_known(peer) => {}
                Event::Syn(peer) => drop(world.syn(peer)),
                Event::Ack(peer) => world.ack(peer),
                Event::Rst(peer) => world.rst(peer),
                Event::Accept => world.accept(),
                Event::Close => world.close(),
                Event::Pass(ms) => world.bench.host.advance(Duration::from_millis(ms)),
            }
            world.check();
        }
        // All leave; a minute later every place is free.
        for peer in 0..PEERS {
            world.rst(peer);
        }
        while world.bench.info().unacked > 0 {
            world.accept();
        }
        world.held.clear();
        world.bench.host.advance(Duration::from_secs(61));
        let free = usize::from(most).min(usize::from(backlog) + 1);
        let taken = (100..100 + free as u8).filter(|peer| world.syn(*peer)).count();
        prop_assert_eq!(taken, free);
    }
}
