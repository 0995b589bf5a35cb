//! One connection against a peer made by hand: timers, probes, attacks, and the ways to end.

use std::net::SocketAddr;

use super::harness::{Host, Packet};
use crate::error::SocketError;
use crate::socket::tcp::{SendHow, ShutdownHow, TcpInfo, TcpOption, TcpState};
use crate::socket::{Readiness, SocketId};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{TcpFlags, TcpOptions, TcpRepr, Timestamps};

/// The peer's first byte after its SYN.
const START: u32 = 9001;

/// An established connection of a host, and its peer.
pub(super) struct Pair {
    pub(super) host: Host,
    id: SocketId,
    local: SocketAddr,
    peer: SocketAddr,
    /// Our first byte.
    base: u32,
    /// Echoed when timestamps are on.
    tsval: Option<u32>,
}

fn offered(timestamps: bool) -> TcpOptions {
    TcpOptions {
        mss: Some(1000),
        sack_permitted: true,
        window_scale: Some(0),
        timestamps: timestamps.then_some(Timestamps { val: 100, ecr: 0 }),
        ..TcpOptions::default()
    }
}

impl Pair {
    /// The host connects; the peer answers 10 ms later.
    pub(super) fn active(timestamps: bool) -> Self {
        let mut host = Host::new([10, 0, 0, 1], 11);
        host.config.tcp_timestamps = u32::from(timestamps);
        let peer = SocketAddr::from(([10, 0, 0, 9], 7777));
        let id = host.with(|engine, cx| {
            let id = engine.socket(cx);
            assert_eq!(engine.connect(cx, id, peer), Err(SocketError::InProgress));
            id
        });
        let syn = host.take().remove(0).repr();
        let local = host.engine.local_name(id).expect("chosen");
        let mut pair = Self {
            host,
            id,
            local,
            peer,
            base: syn.seq.wrapping_add(1),
            tsval: None,
        };
        pair.host.advance(Duration::from_millis(10));
        let mut options = offered(timestamps);
        if let (Some(ours), Some(theirs)) = (syn.options.timestamps, &mut options.timestamps) {
            theirs.ecr = ours.val;
            pair.tsval = Some(ours.val);
        }
        let answer = TcpRepr {
            seq: START - 1,
            ack: pair.base,
            flags: TcpFlags::SYN | TcpFlags::ACK,
            window: 20_000,
            options,
            ..TcpRepr::default()
        };
        let acks = pair.give(answer, &[]);
        assert_eq!(acks.len(), 1);
        assert_eq!(acks[0].flags, TcpFlags::ACK);
        pair
    }

    fn sent(&mut self) -> Vec<TcpRepr> {
        self.host.take().iter().map(Packet::repr).collect()
    }

    pub(super) fn give(&mut self, repr: TcpRepr, payload: &[u8]) -> Vec<TcpRepr> {
        self.host.take();
        self.host
            .receive(&Packet::new(self.peer, self.local, repr, payload));
        self.sent()
    }

    /// A segment `at` bytes into the peer's stream that acknowledges `acked` of ours.
    pub(super) fn segment(&self, at: u32, acked: u32) -> TcpRepr {
        TcpRepr {
            seq: START.wrapping_add(at),
            ack: self.base.wrapping_add(acked),
            flags: TcpFlags::ACK,
            window: 20_000,
            ..TcpRepr::default()
        }
    }

    pub(super) fn write(&mut self, len: usize) -> Vec<TcpRepr> {
        self.host.take();
        let id = self.id;
        let done = self
            .host
            .with(|engine, cx| engine.send(cx, id, &vec![7; len], SendHow::default()));
        assert_eq!(done, Ok(len));
        self.sent()
    }

    fn read(&mut self) -> Result<usize, SocketError> {
        let id = self.id;
        self.host
            .with(|engine, cx| engine.recv(cx, id, &mut [0; 100_000], false))
    }

    fn set(&mut self, option: TcpOption) {
        let id = self.id;
        self.host
            .with(|engine, cx| engine.set_option(cx, id, option))
            .expect("a good value");
    }

    pub(super) fn info(&mut self) -> TcpInfo {
        let id = self.id;
        self.host
            .with(|engine, cx| engine.info(cx, id))
            .expect("open")
    }

    fn state(&self) -> TcpState {
        self.host.engine.state(self.id).expect("open")
    }

    fn close(&mut self) -> Vec<TcpRepr> {
        self.host.take();
        let id = self.id;
        self.host
            .with(|engine, cx| engine.close(cx, id))
            .expect("open");
        self.sent()
    }

    /// When packets leave during `time`, in milliseconds from now, and what they are.
    fn watch(&mut self, time: Duration) -> Vec<(u64, TcpRepr)> {
        let start = self.host.now;
        let end = start + time;
        let mut seen = Vec::new();
        while let Some(at) = self.host.engine.poll_timeout().filter(|at| *at <= end) {
            let wait = at.since(self.host.now);
            self.host.advance(wait);
            let ms = self.host.now.since(start).as_millis() as u64;
            seen.extend(self.sent().into_iter().map(|repr| (ms, repr)));
        }
        let rest = end.since(self.host.now);
        self.host.advance(rest);
        seen
    }
}

#[test]
fn the_retransmission_timeout_doubles() {
    let mut pair = Pair::active(false);
    pair.host.config.tcp_early_retrans = 0;
    assert_eq!(pair.write(500).len(), 1);
    let times: Vec<u64> = pair
        .watch(Duration::from_secs(7))
        .iter()
        .map(|(ms, _)| *ms)
        .collect();
    // RTT 10 ms: the timeout is its floor of 200 ms above that.
    assert_eq!(times, [210, 630, 1470, 3150, 6510]);
    let info = pair.info();
    assert_eq!((info.ca_state, info.snd_cwnd, info.backoff), (4, 1, 5));
    pair.give(pair.segment(0, 500), &[]);
    assert_eq!(pair.info().ca_state, 0);
    assert_eq!(pair.info().backoff, 0);
}

#[test]
fn a_silent_peer_is_given_up_after_tcp_retries2() {
    let mut pair = Pair::active(false);
    pair.write(500);
    pair.watch(Duration::from_secs(2000));
    assert_eq!(pair.state(), TcpState::Closed);
    assert_eq!(pair.read(), Err(SocketError::TimedOut));
    assert_eq!(pair.read(), Ok(0));
}

#[test]
fn user_timeout_gives_up_early() {
    let mut pair = Pair::active(false);
    pair.set(TcpOption::UserTimeout(3000));
    pair.write(500);
    pair.watch(Duration::from_millis(2900));
    assert_eq!(pair.state(), TcpState::Established);
    pair.watch(Duration::from_millis(400));
    assert_eq!(pair.state(), TcpState::Closed);
}

#[test]
fn a_tail_loss_probe_comes_before_the_timeout() {
    let mut pair = Pair::active(false);
    pair.write(3000);
    let seen = pair.watch(Duration::from_millis(100));
    // Two round trips and a little.
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].0, 22);
    assert_eq!(seen[0].1.seq, pair.base + 2000);
}

#[test]
fn three_selective_acknowledgements_start_recovery() {
    let mut pair = Pair::active(false);
    assert_eq!(pair.write(10_000).len(), 10);
    pair.host.advance(Duration::from_millis(10));
    let mut again = Vec::new();
    for blocks in 1..=3 {
        let mut repr = pair.segment(0, 0);
        repr.options
            .sack
            .push((pair.base + 1000, pair.base + 1000 + blocks * 1000));
        again.extend(pair.give(repr, &[]));
    }
    assert_eq!(again.iter().filter(|repr| repr.seq == pair.base).count(), 1);
    let info = pair.info();
    assert_eq!((info.ca_state, info.lost, info.retrans), (3, 1, 1));
    assert_eq!(info.snd_ssthresh, 7, "CUBIC keeps 0.7 of 10");
    pair.give(pair.segment(0, 10_000), &[]);
    let info = pair.info();
    assert_eq!(info.ca_state, 0);
    assert!((7..=8).contains(&info.snd_cwnd), "{}", info.snd_cwnd);
}

#[test]
fn an_acknowledgement_with_its_first_block_is_no_reordering() {
    let mut pair = Pair::active(false);
    pair.write(10_000);
    pair.host.advance(Duration::from_millis(10));
    let mut again = 0;
    for blocks in 1..=3 {
        let mut repr = pair.segment(0, 1000);
        let low = pair.base + 2000;
        repr.options.sack.push((low, low + blocks * 1000));
        let hole = pair.base + 1000;
        again += pair
            .give(repr, &[])
            .iter()
            .filter(|repr| repr.seq == hole)
            .count();
    }
    assert_eq!((again, pair.info().reord_seen), (1, 0));
}

#[test]
fn duplicates_without_blocks_mean_nothing_to_a_sack_peer() {
    let mut pair = Pair::active(false);
    pair.write(10_000);
    pair.host.advance(Duration::from_millis(10));
    let sent: usize = (0..5)
        .map(|_| pair.give(pair.segment(0, 0), &[]).len())
        .sum();
    assert_eq!(sent, 0, "a peer that agreed on SACK has to use it");
}

#[test]
fn a_shut_window_is_probed_until_it_opens() {
    let mut pair = Pair::active(false);
    let shut = TcpRepr {
        window: 0,
        ..pair.segment(0, 0)
    };
    pair.give(shut.clone(), &[]);
    assert!(pair.write(500).is_empty());
    let probes = pair.watch(Duration::from_secs(2));
    let times: Vec<u64> = probes.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [210, 630, 1470]);
    assert!(probes.iter().all(|(_, repr)| repr.seq == pair.base - 1));
    let more = pair.give(pair.segment(0, 0), &[]);
    assert_eq!(more.len(), 1);
    assert_eq!(more[0].seq, pair.base);
}

#[test]
fn our_window_shuts_and_reopens_when_the_application_reads() {
    let mut pair = Pair::active(false);
    let mut at = 0;
    let mut window = u32::MAX;
    for _ in 0..200 {
        let acks = pair.give(pair.segment(at, 0), &[1; 1000]);
        at += 1000;
        if let Some(last) = acks.last() {
            window = u32::from(last.window) << 7;
        }
    }
    assert!(window < 1000, "{window}");
    assert!(pair.read().is_ok());
    let update = pair.sent();
    assert_eq!(update.len(), 1, "the peer is told at once");
    assert!(u32::from(update[0].window) << 7 > 30_000);
}

#[test]
fn keepalive_probes_and_gives_up() {
    let mut pair = Pair::active(false);
    pair.set(TcpOption::KeepIdle(10));
    pair.set(TcpOption::KeepInterval(2));
    pair.set(TcpOption::KeepCount(3));
    pair.set(TcpOption::KeepAlive(true));
    let seen = pair.watch(Duration::from_secs(11));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].1.seq, pair.base - 1);
    pair.give(pair.segment(0, 0), &[]);
    let seen = pair.watch(Duration::from_secs(30));
    assert_eq!(seen.len(), 4, "three probes, then a reset: {seen:?}");
    assert!(seen[3].1.flags.contains(TcpFlags::RST));
    assert_eq!(pair.read(), Err(SocketError::TimedOut));
}

#[test]
fn nagle_holds_a_second_small_segment_and_cork_the_first() {
    let mut pair = Pair::active(false);
    assert_eq!(pair.write(10).len(), 1);
    assert_eq!(pair.write(10).len(), 0);
    assert_eq!(pair.give(pair.segment(0, 10), &[]).len(), 1);
    pair.set(TcpOption::NoDelay(true));
    assert_eq!(pair.write(10).len(), 1);
    pair.give(pair.segment(0, 30), &[]);
    pair.set(TcpOption::Cork(true));
    assert_eq!(pair.write(10).len(), 0);
    pair.set(TcpOption::Cork(false));
    assert_eq!(pair.sent().len(), 1);
}

#[test]
fn acknowledgements_are_quick_at_first_and_then_delayed() {
    let mut pair = Pair::active(false);
    assert_eq!(pair.give(pair.segment(0, 0), &[1; 100]).len(), 1);
    // The application answers: from now on it is interactive.
    pair.write(10);
    assert_eq!(pair.give(pair.segment(100, 10), &[1; 100]).len(), 0);
    let seen = pair.watch(Duration::from_millis(300));
    assert_eq!(seen.len(), 1);
    assert!((40..=200).contains(&seen[0].0), "{}", seen[0].0);
}

#[test]
fn blind_attacks_are_challenged() {
    let mut pair = Pair::active(false);
    let rst = TcpRepr {
        flags: TcpFlags::RST,
        ..pair.segment(10, 0)
    };
    let answer = pair.give(rst, &[]);
    assert_eq!((answer.len(), answer[0].flags), (1, TcpFlags::ACK));
    let syn = TcpRepr {
        flags: TcpFlags::SYN,
        ..pair.segment(10, 0)
    };
    assert_eq!(pair.give(syn.clone(), &[]).len(), 0, "limited in rate");
    pair.host.advance(Duration::from_millis(501));
    assert_eq!(pair.give(syn, &[]).len(), 1);
    assert_eq!(pair.state(), TcpState::Established);
    let exact = TcpRepr {
        flags: TcpFlags::RST,
        ..pair.segment(0, 0)
    };
    assert_eq!(pair.give(exact, &[]).len(), 0);
    assert_eq!(pair.read(), Err(SocketError::Reset));
    assert!(pair.host.engine.readiness(pair.id).contains(Readiness::HUP));
}

#[test]
fn paws_refuses_old_timestamps() {
    let mut pair = Pair::active(true);
    let stamped = |pair: &Pair, at, val| {
        let mut repr = pair.segment(at, 0);
        repr.options.timestamps = Some(Timestamps {
            val,
            ecr: pair.tsval.unwrap_or(0),
        });
        repr
    };
    pair.give(stamped(&pair, 0, 200), &[1; 10]);
    let answer = pair.give(stamped(&pair, 10, 100), &[1; 10]);
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].ack, START + 10);
    assert_eq!(pair.read(), Ok(10));
    assert_eq!(pair.host.stats.paws_estab, 1);
}

#[test]
fn close_with_unread_data_resets() {
    let mut pair = Pair::active(false);
    pair.give(pair.segment(0, 0), b"unread");
    let sent = pair.close();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].flags.contains(TcpFlags::RST));
    assert_eq!(pair.host.engine.poll_timeout(), None);
    let mut pair = Pair::active(false);
    pair.set(TcpOption::Linger(Some(Duration::ZERO)));
    assert!(pair.close()[0].flags.contains(TcpFlags::RST));
}

#[test]
fn an_active_close_ends_in_time_wait() {
    let mut pair = Pair::active(false);
    let fin = pair.close();
    assert!(fin[0].flags.contains(TcpFlags::FIN));
    pair.give(pair.segment(0, 1), &[]);
    let theirs = TcpRepr {
        flags: TcpFlags::FIN | TcpFlags::ACK,
        ..pair.segment(0, 1)
    };
    assert_eq!(pair.give(theirs.clone(), &[])[0].ack, START + 1);
    assert_eq!(pair.host.engine.time_wait_len(), 1);
    assert_eq!(
        pair.give(theirs, &[]).len(),
        1,
        "a repeated FIN is acknowledged again"
    );
    pair.watch(Duration::from_secs(61));
    assert_eq!(pair.host.engine.time_wait_len(), 0);
}

#[test]
fn both_can_close_at_once() {
    let mut pair = Pair::active(false);
    let id = pair.id;
    pair.host
        .with(|engine, cx| engine.shutdown(cx, id, ShutdownHow::Send))
        .expect("open");
    let theirs = TcpRepr {
        flags: TcpFlags::FIN | TcpFlags::ACK,
        ..pair.segment(0, 0)
    };
    pair.give(theirs, &[]);
    assert_eq!(pair.state(), TcpState::Closing);
    pair.give(pair.segment(1, 1), &[]);
    assert_eq!(pair.host.engine.time_wait_len(), 1);
    assert_eq!(pair.read(), Ok(0));
}

#[test]
fn both_can_open_at_once() {
    let mut host = Host::new([10, 0, 0, 1], 11);
    let peer = SocketAddr::from(([10, 0, 0, 9], 7777));
    let id = host.with(|engine, cx| {
        let id = engine.socket(cx);
        assert_eq!(engine.connect(cx, id, peer), Err(SocketError::InProgress));
        id
    });
    let ours = host.take().remove(0).repr();
    let local = host.engine.local_name(id).expect("chosen");
    let syn = TcpRepr {
        seq: 500,
        flags: TcpFlags::SYN,
        window: 1000,
        options: offered(false),
        ..TcpRepr::default()
    };
    host.receive(&Packet::new(peer, local, syn, &[]));
    let answer = host.take().remove(0).repr();
    assert_eq!(answer.flags, TcpFlags::SYN | TcpFlags::ACK);
    assert_eq!((answer.seq, answer.ack), (ours.seq, 501));
    assert_eq!(host.engine.state(id), Ok(TcpState::SynReceived));
    assert_eq!(host.engine.peer_name(id), Err(SocketError::NotConnected));
    let theirs = TcpRepr {
        seq: 500,
        ack: ours.seq.wrapping_add(1),
        flags: TcpFlags::SYN | TcpFlags::ACK,
        window: 1000,
        options: offered(false),
        ..TcpRepr::default()
    };
    host.receive(&Packet::new(peer, local, theirs, &[]));
    assert_eq!(host.engine.state(id), Ok(TcpState::Established));
}

#[test]
fn an_orphan_leaves_fin_wait_2_after_a_while() {
    let mut pair = Pair::active(false);
    pair.close();
    pair.give(pair.segment(0, 1), &[]);
    pair.watch(Duration::from_secs(61));
    assert_eq!(pair.host.engine.poll_timeout(), None);
    // Nobody is there any more.
    assert!(
        pair.give(pair.segment(0, 1), &[])[0]
            .flags
            .contains(TcpFlags::RST)
    );
}

#[test]
fn data_for_a_closed_reader_is_answered_by_a_reset() {
    let mut pair = Pair::active(false);
    pair.close();
    pair.give(pair.segment(0, 1), &[]);
    let sent = pair.give(pair.segment(0, 1), b"anybody?");
    assert!(sent[0].flags.contains(TcpFlags::RST));
}

#[test]
fn a_syn_is_repeated_first_evenly_then_doubling() {
    let mut host = Host::new([10, 0, 0, 1], 1);
    let start = host.now;
    let id = host.with(|engine, cx| {
        let id = engine.socket(cx);
        let _ = engine.connect(cx, id, SocketAddr::from(([10, 0, 0, 9], 1)));
        id
    });
    host.take();
    let mut times = Vec::new();
    while let Some(at) = host.engine.poll_timeout() {
        host.now = at;
        host.with(|engine, cx| engine.handle_timeout(cx));
        if !host.take().is_empty() {
            times.push(at.since(start).as_secs());
        }
    }
    assert_eq!(times, [1, 2, 3, 4, 5, 7, 11, 19, 35, 67]);
    assert_eq!(
        host.with(|engine, cx| engine.take_error(cx, id)),
        Ok(Some(SocketError::TimedOut))
    );
    assert!(host.now > Instant::from_millis(1000));
}

#[test]
fn an_idle_connection_is_small() {
    use crate::transport::tcp::{slot::Socket, state::Connection};
    let size = size_of::<Connection>() + size_of::<Socket>();
    assert!(size <= 2048, "{size} bytes");
}
