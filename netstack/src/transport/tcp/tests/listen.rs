//! The rules of a listener, one by one. Peers are made by hand, so that they can do anything.

use std::net::SocketAddr;

use super::harness::{Host, Packet};
use crate::error::SocketError;
use crate::socket::tcp::{ShutdownHow, TcpInfo, TcpOption, TcpState};
use crate::socket::{Readiness, SocketId};
use crate::time::Duration;
use crate::wire::tcp::{TcpFlags, TcpOptions, TcpRepr, Timestamps};

pub(super) const PORT: u16 = 80;
const ISN: u32 = 5000;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    /// SYN-ACK with this sequence number.
    SynAck(u32),
    Ack,
    Reset,
}

/// A host with a listener, and peers by number.
pub(super) struct Bench {
    pub(super) host: Host,
    pub(super) listener: SocketId,
}

impl Bench {
    pub(super) fn new(backlog: i32, cookies: u32) -> Self {
        let mut host = Host::new([10, 0, 0, 1], 9);
        host.config.tcp_syncookies = cookies;
        let listener = host.listener(PORT, backlog);
        Self { host, listener }
    }

    pub(super) fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, n], 4000))
    }

    /// Delivers a segment of peer `n` and returns what the host answers to it.
    pub(super) fn send(&mut self, n: u8, repr: TcpRepr, payload: &[u8]) -> Option<TcpRepr> {
        self.host.take();
        let to = SocketAddr::new(self.host.out.addr, PORT);
        self.host
            .receive(&Packet::new(Self::peer(n), to, repr, payload));
        let sent = self.host.take();
        assert!(sent.len() <= 1, "one segment, at most one answer: {sent:?}");
        sent.first().map(Packet::repr)
    }

    pub(super) fn syn_with(&mut self, n: u8, options: TcpOptions) -> Option<TcpRepr> {
        let repr = TcpRepr {
            seq: ISN,
            flags: TcpFlags::SYN,
            window: 65_535,
            options,
            ..TcpRepr::default()
        };
        self.send(n, repr, &[])
    }

    pub(super) fn syn(&mut self, n: u8) -> Reply {
        let options = TcpOptions {
            mss: Some(1460),
            ..TcpOptions::default()
        };
        reply(self.syn_with(n, options))
    }

    pub(super) fn ack_repr(iss: u32) -> TcpRepr {
        TcpRepr {
            seq: ISN + 1,
            ack: iss.wrapping_add(1),
            flags: TcpFlags::ACK,
            window: 1000,
            ..TcpRepr::default()
        }
    }

    pub(super) fn ack(&mut self, n: u8, iss: u32) -> Reply {
        reply(self.send(n, Self::ack_repr(iss), &[]))
    }

    pub(super) fn rst(&mut self, n: u8) -> Reply {
        let repr = TcpRepr {
            seq: ISN + 1,
            flags: TcpFlags::RST,
            ..TcpRepr::default()
        };
        reply(self.send(n, repr, &[]))
    }

    pub(super) fn accept(&mut self) -> Result<(SocketId, SocketAddr), SocketError> {
        let listener = self.listener;
        self.host.with(|engine, cx| engine.accept(cx, listener))
    }

    pub(super) fn info(&mut self) -> TcpInfo {
        let listener = self.listener;
        self.host
            .with(|engine, cx| engine.info(cx, listener))
            .expect("it listens")
    }

    pub(super) fn syn_ack(&mut self, n: u8) -> u32 {
        match self.syn(n) {
            Reply::SynAck(iss) => iss,
            other => panic!("no SYN-ACK: {other:?}"),
        }
    }

    pub(super) fn connect(&mut self, n: u8) {
        let iss = self.syn_ack(n);
        assert_eq!(self.ack(n, iss), Reply::Nothing);
    }

    pub(super) fn option(&mut self, option: TcpOption) {
        let listener = self.listener;
        self.host
            .with(|engine, cx| engine.set_option(cx, listener, option))
            .expect("a good value");
    }

    fn advance_ms(&mut self, ms: u64) -> Vec<TcpRepr> {
        self.host.take();
        self.host.advance(Duration::from_millis(ms));
        self.host.take().iter().map(Packet::repr).collect()
    }
}

pub(super) fn reply(repr: Option<TcpRepr>) -> Reply {
    match repr {
        None => Reply::Nothing,
        Some(repr) if repr.flags.contains(TcpFlags::RST) => Reply::Reset,
        Some(repr) if repr.flags.contains(TcpFlags::SYN) => Reply::SynAck(repr.seq),
        Some(_) => Reply::Ack,
    }
}

#[test]
fn row_1_and_2_both_queues_take_one_more_than_the_backlog() {
    for (backlog, takes) in [(0, 1), (1, 2), (2, 3), (5, 6)] {
        let mut bench = Bench::new(backlog, 0);
        let answered = (0..10).filter(|n| bench.syn(*n) != Reply::Nothing).count();
        assert_eq!(answered, takes);
        assert_eq!(bench.host.engine.half_open_len(), takes);
        let mut bench = Bench::new(backlog, 1);
        let answered = (0..10).filter(|n| bench.syn(*n) != Reply::Nothing).count();
        assert_eq!(answered, 10);
        assert_eq!(bench.host.stats.syncookies_sent, 10 - takes as u64);
    }
    let mut bench = Bench::new(1, 1);
    bench.connect(1);
    bench.connect(2);
    assert_eq!(bench.info().unacked, 2);
    assert_eq!(
        bench.syn(3),
        Reply::Nothing,
        "row 3: nothing to gain by answering"
    );
}

#[test]
fn a_negative_backlog_is_a_large_one() {
    let mut bench = Bench::new(-1, 0);
    assert_eq!(bench.info().sacked, 4096);
    assert_ne!(bench.syn(1), Reply::Nothing);
}

#[test]
fn row_5_a_full_accept_queue_keeps_the_record() {
    let mut bench = Bench::new(0, 0);
    let first = bench.syn_ack(1);
    // The SYN queue takes one record only: the second peer comes when the first has completed.
    assert_eq!(bench.ack(1, first), Reply::Nothing);
    assert_eq!(bench.syn(2), Reply::Nothing);
    assert!(bench.accept().is_ok());
    let second = bench.syn_ack(2);
    bench.option(TcpOption::ReuseAddr(true));
    // Fill the accept queue behind its back: relisten with a larger backlog, and shrink again.
    let listener = bench.listener;
    bench
        .host
        .with(|engine, cx| engine.listen(cx, listener, 5))
        .expect("row 13");
    bench.connect(3);
    bench
        .host
        .with(|engine, cx| engine.listen(cx, listener, 0))
        .expect("row 13");
    assert_eq!(bench.ack(2, second), Reply::Nothing);
    assert_eq!(
        bench.host.engine.half_open_len(),
        1,
        "the record stays half-open"
    );
    assert_eq!(bench.info().unacked, 1);
    // Its timer goes on: 1, 2, 4, 8, 16 s, then silent expiry... unless there is room before.
    let again = bench.advance_ms(1000);
    assert_eq!(again.len(), 1);
    assert!(again[0].flags.contains(TcpFlags::SYN | TcpFlags::ACK));
    assert_eq!(bench.accept().map(|(_, peer)| peer), Ok(Bench::peer(3)));
    // Row 9: data completes it as well, and is kept.
    assert_eq!(
        reply(bench.send(2, Bench::ack_repr(second), b"hello")),
        Reply::Ack
    );
    let (id, peer) = bench.accept().expect("completed");
    assert_eq!(peer, Bench::peer(2));
    assert_eq!(bench.host.engine.readable_bytes(id), 5);
}

#[test]
fn a_record_expires_silently_after_five_retries() {
    let mut bench = Bench::new(100, 0);
    bench.syn_ack(1);
    let sent: Vec<usize> = [1000, 2000, 4000, 8000, 16_000, 32_000]
        .map(|ms| bench.advance_ms(ms).len())
        .to_vec();
    assert_eq!(sent, [1, 1, 1, 1, 1, 0]);
    assert_eq!(bench.host.engine.half_open_len(), 0);
    assert_eq!(bench.host.engine.poll_timeout(), None);
}

#[test]
fn rows_6_to_8_cookies() {
    let mut bench = Bench::new(0, 1);
    assert_eq!(
        bench.ack(9, 1234),
        Reply::Reset,
        "row 8: no recent overflow"
    );
    bench.syn_ack(1);
    let options = TcpOptions {
        mss: Some(1400),
        window_scale: Some(9),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 77, ecr: 0 }),
        ..TcpOptions::default()
    };
    let cookie = bench.syn_with(2, options).expect("a cookie");
    assert_eq!(bench.host.stats.syncookies_sent, 1);
    assert!(cookie.options.sack_permitted && cookie.options.window_scale.is_some());
    let echo = cookie.options.timestamps.expect("negotiated").val;
    let bare = bench.syn_with(
        3,
        TcpOptions {
            mss: Some(1400),
            sack_permitted: true,
            ..TcpOptions::default()
        },
    );
    let bare = bare.expect("a cookie");
    assert!(
        !bare.options.sack_permitted,
        "without timestamps only the MSS fits"
    );
    assert_eq!(
        bench.ack(4, cookie.seq),
        Reply::Reset,
        "row 8: somebody else's cookie"
    );
    // Row 6: the accept queue is full, nothing happens; row 7: with room, the connection is made.
    let timestamps = Some(Timestamps { val: 78, ecr: echo });
    let ack = TcpRepr {
        options: TcpOptions {
            timestamps,
            ..TcpOptions::default()
        },
        ..Bench::ack_repr(cookie.seq)
    };
    let third = bench.ack(3, bare.seq);
    assert_eq!(third, Reply::Nothing);
    assert_eq!(bench.info().unacked, 1);
    assert_eq!(reply(bench.send(2, ack.clone(), &[])), Reply::Nothing);
    assert_eq!(bench.info().unacked, 1);
    assert!(bench.accept().is_ok());
    assert_eq!(reply(bench.send(2, ack, &[])), Reply::Nothing);
    let (id, peer) = bench.accept().expect("made from the cookie");
    assert_eq!(peer, Bench::peer(2));
    let info = bench
        .host
        .with(|engine, cx| engine.info(cx, id))
        .expect("open");
    assert_eq!(
        (info.snd_wscale, info.options),
        (9, 7),
        "timestamps, SACK and scaling came back"
    );
    assert_eq!(info.snd_mss, 1380 - 12);
}

#[test]
fn a_stale_cookie_is_refused() {
    let mut bench = Bench::new(0, 2);
    let iss = bench.syn_ack(1);
    assert_eq!(
        bench.host.engine.half_open_len(),
        0,
        "cookies always: nothing is stored"
    );
    assert!(bench.advance_ms(59_000).is_empty(), "and nothing repeated");
    let stale = bench.syn_ack(2);
    assert_eq!(bench.ack(1, iss), Reply::Nothing);
    bench.advance_ms(121_000);
    bench.accept().expect("made in time");
    // The stamp is renewed by another cookie, but this one is two ticks old.
    bench.syn_ack(3);
    assert_eq!(bench.ack(2, stale), Reply::Reset);
}

#[test]
fn row_10_abort_on_overflow() {
    let mut bench = Bench::new(1, 0);
    bench.host.config.tcp_abort_on_overflow = 1;
    let isses: Vec<u32> = (0..2).map(|n| bench.syn_ack(n)).collect();
    let listener = bench.listener;
    bench.ack(0, isses[0]);
    bench
        .host
        .with(|engine, cx| engine.listen(cx, listener, 0))
        .expect("row 13");
    assert_eq!(bench.ack(1, isses[1]), Reply::Reset);
    assert_eq!(bench.host.engine.half_open_len(), 0);
}

#[test]
fn row_11_nothing_is_connected_before_its_handshake_is_complete() {
    let mut host = Host::new([10, 0, 0, 1], 3);
    let remote = Bench::peer(1);
    let id = host.with(|engine, cx| engine.socket(cx));
    assert_eq!(
        host.with(|engine, cx| engine.connect(cx, id, remote)),
        Err(SocketError::InProgress)
    );
    assert_eq!(host.engine.peer_name(id), Err(SocketError::NotConnected));
    assert!(!host.engine.readiness(id).contains(Readiness::WRITABLE));
    assert_eq!(
        host.with(|engine, cx| engine.connect(cx, id, remote)),
        Err(SocketError::Already)
    );
    let syn = host.take()[0].repr();
    assert_eq!(syn.flags, TcpFlags::SYN);
    let reset = TcpRepr {
        ack: syn.seq + 1,
        flags: TcpFlags::RST | TcpFlags::ACK,
        ..TcpRepr::default()
    };
    let local = host.engine.local_name(id).expect("bound");
    host.receive(&Packet::new(remote, local, reset, &[]));
    assert_eq!(
        host.with(|engine, cx| engine.take_error(cx, id)),
        Ok(Some(SocketError::Refused))
    );
    assert_eq!(host.engine.state(id), Ok(TcpState::Closed));
}

#[test]
fn row_14_a_closing_listener_takes_all_with_it() {
    let mut bench = Bench::new(5, 0);
    bench.connect(1);
    let iss = bench.syn_ack(2);
    let listener = bench.listener;
    bench
        .host
        .with(|engine, cx| engine.shutdown(cx, listener, ShutdownHow::Receive))
        .expect("it listens");
    let sent = bench.host.take();
    assert_eq!(
        sent.len(),
        1,
        "the waiting connection is reset, the record forgotten: {sent:?}"
    );
    assert!(sent[0].repr().flags.contains(TcpFlags::RST));
    assert_eq!(sent[0].dst, Bench::peer(1).ip());
    assert_eq!(bench.accept(), Err(SocketError::Invalid));
    assert_eq!(bench.ack(2, iss), Reply::Reset);
    assert_eq!(bench.syn(3), Reply::Reset, "the port is closed");
    bench
        .host
        .with(|engine, cx| engine.listen(cx, listener, 5))
        .expect("listen works again");
    bench.connect(4);
    assert!(bench.accept().is_ok());
    bench
        .host
        .with(|engine, cx| engine.close(cx, listener))
        .expect("open");
    assert_eq!(bench.syn(5), Reply::Reset);
}

#[test]
fn row_15_segments_to_a_half_open_record() {
    let mut bench = Bench::new(5, 0);
    let iss = bench.syn_ack(1);
    assert_eq!(bench.syn(1), Reply::SynAck(iss), "the same SYN again");
    assert_eq!(bench.syn(1), Reply::Nothing, "at most once in 500 ms");
    bench.advance_ms(501);
    assert_eq!(bench.syn(1), Reply::SynAck(iss));
    assert_eq!(
        bench.host.engine.half_open_len(),
        1,
        "the record is not doubled"
    );
    assert_eq!(
        bench.ack(1, iss + 1),
        Reply::Reset,
        "wrong acknowledgement number"
    );
    assert_eq!(bench.host.engine.half_open_len(), 1);
    bench.advance_ms(501);
    let outside = TcpRepr {
        seq: ISN - 100,
        ..Bench::ack_repr(iss)
    };
    assert_eq!(
        reply(bench.send(1, outside, &[])),
        Reply::Ack,
        "out of window"
    );
    assert_eq!(bench.host.engine.half_open_len(), 1);
    let other_syn = TcpRepr {
        seq: ISN + 100,
        flags: TcpFlags::SYN,
        window: 100,
        ..TcpRepr::default()
    };
    assert_eq!(
        reply(bench.send(1, other_syn, &[])),
        Reply::Reset,
        "another SYN in the window"
    );
    assert_eq!(bench.host.engine.half_open_len(), 0);
    bench.syn_ack(1);
    assert_eq!(bench.rst(1), Reply::Nothing);
    assert_eq!(
        bench.host.engine.half_open_len(),
        0,
        "a reset in the window"
    );
}

#[test]
fn row_15_timestamps_of_a_half_open_record() {
    let mut bench = Bench::new(5, 0);
    let options = TcpOptions {
        mss: Some(1460),
        timestamps: Some(Timestamps { val: 10, ecr: 0 }),
        ..TcpOptions::default()
    };
    let first = bench.syn_with(1, options.clone()).expect("a SYN-ACK");
    let second = bench.syn_with(2, options).expect("a SYN-ACK");
    let never_sent = second
        .options
        .timestamps
        .expect("negotiated")
        .val
        .wrapping_add(5000);
    let forged = TcpRepr {
        options: TcpOptions {
            timestamps: Some(Timestamps {
                val: 11,
                ecr: never_sent,
            }),
            ..TcpOptions::default()
        },
        ..Bench::ack_repr(second.seq)
    };
    assert_eq!(reply(bench.send(2, forged, &[])), Reply::Ack, "a challenge");
    assert_eq!(bench.info().unacked, 0);
    assert_eq!(
        bench.ack(1, first.seq),
        Reply::Nothing,
        "no timestamp although negotiated"
    );
    assert_eq!(bench.info().unacked, 1);
}

#[test]
fn row_17_defer_accept() {
    let mut bench = Bench::new(5, 0);
    // 5 s are 3 timeouts: 1 + 2 + 4.
    bench.option(TcpOption::DeferAccept(5));
    let iss = bench.syn_ack(1);
    assert_eq!(bench.ack(1, iss), Reply::Nothing);
    assert_eq!(bench.info().unacked, 0, "the bare ACK is noted and dropped");
    assert_eq!(
        reply(bench.send(1, Bench::ack_repr(iss), b"GET")),
        Reply::Ack
    );
    assert_eq!(bench.info().unacked, 1, "data completes it");
    let iss = bench.syn_ack(2);
    bench.ack(2, iss);
    assert!(
        bench.advance_ms(2900).is_empty(),
        "no SYN-ACK while it waits"
    );
    assert_eq!(
        bench.advance_ms(4200).len(),
        1,
        "at the end of its time the SYN-ACK again"
    );
    assert_eq!(bench.ack(2, iss), Reply::Nothing);
    assert_eq!(
        bench.info().unacked,
        2,
        "and the ACK that answers completes it"
    );
}

#[test]
fn a_syn_recycles_a_time_wait_record_past_a_full_syn_queue() {
    let mut bench = Bench::new(0, 0);
    let iss = bench.syn_ack(1);
    bench.ack(1, iss);
    let (id, _) = bench.accept().expect("connected");
    bench
        .host
        .with(|engine, cx| engine.shutdown(cx, id, ShutdownHow::Send))
        .expect("open");
    let fin = TcpRepr {
        ack: iss + 2,
        flags: TcpFlags::FIN | TcpFlags::ACK,
        ..Bench::ack_repr(iss)
    };
    assert_eq!(reply(bench.send(1, fin, &[])), Reply::Ack);
    assert_eq!(bench.host.engine.time_wait_len(), 1);
    bench.syn_ack(2);
    assert_eq!(bench.syn(3), Reply::Nothing, "the SYN queue is full");
    let again = TcpRepr {
        seq: ISN + 1000,
        flags: TcpFlags::SYN,
        window: 1000,
        ..TcpRepr::default()
    };
    assert!(
        matches!(reply(bench.send(1, again, &[])), Reply::SynAck(new) if new == iss + 2 + 65_537)
    );
    assert_eq!(bench.host.engine.time_wait_len(), 0);
}

#[test]
fn a_restarted_server_gets_its_port_back_with_reuse_addr() {
    for reuse in [false, true] {
        let mut bench = Bench::new(5, 0);
        bench.option(TcpOption::ReuseAddr(reuse));
        bench.connect(1);
        let (child, _) = bench.accept().expect("connected");
        let old = bench.listener;
        bench
            .host
            .with(|engine, cx| engine.close(cx, old))
            .expect("open");
        let addr = SocketAddr::new(bench.host.out.addr, PORT);
        let got = bench.host.with(|engine, cx| {
            let id = engine.socket(cx);
            engine
                .set_option(cx, id, TcpOption::ReuseAddr(reuse))
                .expect("a flag");
            engine.bind(cx, id, addr)?;
            engine.listen(cx, id, 5)?;
            // A second listener is one too many in any case.
            let other = engine.socket(cx);
            engine
                .set_option(cx, other, TcpOption::ReuseAddr(reuse))
                .expect("a flag");
            assert_eq!(engine.bind(cx, other, addr), Err(SocketError::AddrInUse));
            Ok(())
        });
        assert_eq!(
            got,
            if reuse {
                Ok(())
            } else {
                Err(SocketError::AddrInUse)
            }
        );
        bench
            .host
            .with(|engine, cx| engine.abort(cx, child))
            .expect("open");
    }
}
