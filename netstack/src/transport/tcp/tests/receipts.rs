//! Receipts on the error queue: MSG_ZEROCOPY and SO_TIMESTAMPING.

use std::net::SocketAddr;

use super::harness::{Host, Packet};
use crate::error::SocketError;
use crate::socket::tcp::{SendHow, TcpOption, TxStamps};
use crate::socket::{ErrorReport, Readiness, ReportOrigin, SocketId, TxStage};
use crate::time::Duration;
use crate::wire::tcp::{TcpFlags, TcpOptions, TcpRepr};

const START: u32 = 9001;

/// An established connection, and its peer by hand.
struct Pair {
    host: Host,
    id: SocketId,
    local: SocketAddr,
    peer: SocketAddr,
    base: u32,
}

impl Pair {
    fn new() -> Self {
        let mut host = Host::new([10, 0, 0, 1], 11);
        host.config.tcp_timestamps = 0;
        let peer = SocketAddr::from(([10, 0, 0, 9], 7777));
        let id = host.with(|engine, cx| {
            let id = engine.socket(cx);
            assert_eq!(engine.connect(cx, id, peer), Err(SocketError::InProgress));
            id
        });
        let base = host.take().remove(0).repr().seq.wrapping_add(1);
        let local = host.engine.local_name(id).expect("chosen");
        let mut pair = Self {
            host,
            id,
            local,
            peer,
            base,
        };
        let options = TcpOptions {
            mss: Some(1000),
            ..TcpOptions::default()
        };
        pair.give(TcpFlags::SYN | TcpFlags::ACK, START - 1, 0, options);
        pair
    }

    fn give(&mut self, flags: TcpFlags, seq: u32, acked: u32, options: TcpOptions) {
        let repr = TcpRepr {
            seq,
            ack: self.base.wrapping_add(acked),
            flags,
            window: 20_000,
            options,
            ..TcpRepr::default()
        };
        let packet = Packet::new(self.peer, self.local, repr, &[]);
        self.host.receive(&packet);
    }

    fn acknowledge(&mut self, acked: u32) {
        self.give(TcpFlags::ACK, START, acked, TcpOptions::default());
    }

    fn write(&mut self, len: usize, zero_copy: bool) -> Result<usize, SocketError> {
        let how = SendHow {
            zero_copy,
            ..SendHow::default()
        };
        let id = self.id;
        self.host
            .with(|engine, cx| engine.send(cx, id, &vec![7; len], how))
    }

    fn set(&mut self, option: TcpOption) -> Result<(), SocketError> {
        let id = self.id;
        self.host
            .with(|engine, cx| engine.set_option(cx, id, option))
    }

    fn report(&mut self) -> Option<ErrorReport> {
        let id = self.id;
        self.host.with(|engine, cx| engine.take_report(cx, id))
    }

    fn has_report(&self) -> bool {
        let ready = self.host.engine.readiness(self.id);
        ready.contains(Readiness::ERROR)
    }
}

#[test]
fn zero_copy_is_told_when_acknowledged() {
    let mut pair = Pair::new();
    assert_eq!(pair.write(100, true), Ok(100));
    pair.acknowledge(100);
    assert!(pair.report().is_none(), "it was not asked for");
    pair.set(TcpOption::ZeroCopy(true)).expect("a flag");
    for _ in 0..3 {
        assert_eq!(pair.write(1000, true), Ok(1000));
    }
    assert_eq!(pair.write(1000, false), Ok(1000));
    pair.acknowledge(1100);
    assert!(pair.has_report());
    pair.acknowledge(3099);
    let first = pair.report().expect("two calls");
    assert_eq!((first.info, first.data), (0, 1));
    assert_eq!(first.origin, ReportOrigin::ZeroCopy { copied: true });
    assert!(pair.report().is_none() && !pair.has_report());
    pair.acknowledge(4100);
    let last = pair.report().expect("the third call");
    assert_eq!((last.info, last.data), (2, 2));
}

#[test]
fn a_reset_frees_what_was_not_acknowledged() {
    let mut pair = Pair::new();
    pair.set(TcpOption::ZeroCopy(true)).expect("a flag");
    assert_eq!(pair.write(1000, true), Ok(1000));
    pair.give(TcpFlags::RST, START, 0, TcpOptions::default());
    let report = pair.report().expect("the buffer is free");
    assert_eq!((report.info, report.data), (0, 0));
    assert!(pair.has_report(), "the reset itself waits still");
}

#[test]
fn receipts_are_bounded() {
    let mut pair = Pair::new();
    pair.set(TcpOption::ZeroCopy(true)).expect("a flag");
    pair.set(TcpOption::NoDelay(true)).expect("a flag");
    let taken = (0..2000).take_while(|_| pair.write(1, true).is_ok());
    assert_eq!(taken.count(), 1024);
    assert_eq!(pair.write(1, true), Err(SocketError::NoBuffers));
    assert_eq!(pair.write(1, false), Ok(1));
}

#[test]
fn stages_are_stamped_in_order() {
    let mut pair = Pair::new();
    let all = TxStamps::STAGES | TxStamps::NUMBERED;
    assert_eq!(pair.write(500, false), Ok(500));
    pair.acknowledge(200);
    pair.set(TcpOption::TxStamps(all)).expect("connected");
    pair.acknowledge(500);
    let started = pair.host.now;
    assert_eq!(pair.write(1500, false), Ok(1500));
    let stage = |report: ErrorReport| match report.origin {
        ReportOrigin::Timestamp(stage) => (stage, report.data, report.at.since(started)),
        other => panic!("{other:?}"),
    };
    let at_once = Duration::ZERO;
    // Counted from what was acknowledged when it began: the last byte is 1,799 after that.
    assert_eq!(
        pair.report().map(stage),
        Some((TxStage::Scheduled, 1799, at_once))
    );
    assert_eq!(
        pair.report().map(stage),
        Some((TxStage::Sent, 1799, at_once))
    );
    pair.host.advance(Duration::from_millis(30));
    pair.acknowledge(1500);
    assert!(pair.report().is_none(), "not all of it");
    pair.acknowledge(2000);
    let later = Duration::from_millis(30);
    assert_eq!(
        pair.report().map(stage),
        Some((TxStage::Acknowledged, 1799, later))
    );
}

#[test]
fn numbers_need_a_connection() {
    let mut pair = Pair::new();
    let idle = pair.host.with(super::super::engine::TcpEngine::socket);
    let option = TcpOption::TxStamps(TxStamps::SENT | TxStamps::NUMBERED);
    let set = pair
        .host
        .with(|engine, cx| engine.set_option(cx, idle, option));
    assert_eq!(set, Err(SocketError::Invalid));
}
