//! Random interleavings at a listener, against a model of its two queues that fits on a page.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::listen::{Bench, Reply};
use crate::time::Duration;
use proptest::prelude::*;

const PEERS: u8 = 12;

/// Microseconds.
type Time = u64;

#[derive(Clone, Copy, Debug)]
struct Record {
    timeouts: u32,
    deadline: Time,
    answered: Option<Time>,
}

/// The two queues of a listener, as LISTEN says they behave.
#[derive(Debug, Default)]
struct Model {
    bound: usize,
    cookies: bool,
    abort: bool,
    now: Time,
    half_open: BTreeMap<u8, Record>,
    accept: VecDeque<u8>,
    overflow: Option<Time>,
}

impl Model {
    /// True: a SYN-ACK answers.
    fn syn(&mut self, peer: u8) -> bool {
        let now = self.now;
        if let Some(record) = self.half_open.get_mut(&peer) {
            if record.answered.is_some_and(|at| now - at < 500_000) {
                return false;
            }
            record.answered = Some(now);
            record.deadline = now + (1_000_000 << record.timeouts);
            return true;
        }
        let crowded = self.half_open.len() > self.bound;
        if (crowded && !self.cookies) || self.accept.len() > self.bound {
            return false;
        }
        if crowded {
            self.overflow = Some(now);
        } else {
            self.half_open.insert(
                peer,
                Record {
                    timeouts: 0,
                    deadline: now + 1_000_000,
                    answered: None,
                },
            );
        }
        true
    }

    /// The final ACK. True: a reset answers. `cookie`: when the SYN-ACK was made, if it was a cookie.
    fn ack(&mut self, peer: u8, cookie: Option<Time>) -> bool {
        let full = self.accept.len() > self.bound;
        if self.half_open.contains_key(&peer) {
            if !full || self.abort {
                self.half_open.remove(&peer);
            }
            if !full {
                self.accept.push_back(peer);
            }
            return full && self.abort;
        }
        let recent = self.overflow.is_some_and(|at| self.now - at <= 120_000_000);
        let tick = |time: Time| time / 60_000_000;
        let good = cookie.is_some_and(|made| tick(self.now) - tick(made) <= 1);
        if self.cookies && recent && good && !full {
            self.accept.push_back(peer);
        }
        !(self.cookies && recent && good)
    }

    /// How many SYN-ACKs are repeated until `end`.
    fn advance(&mut self, end: Time) -> usize {
        let mut repeated = 0;
        while let Some((peer, at)) = self
            .half_open
            .iter()
            .map(|(peer, record)| (*peer, record.deadline))
            .min_by_key(|(_, at)| *at)
            && at <= end
        {
            let len = self.half_open.len();
            let mut young = 2 * self
                .half_open
                .values()
                .filter(|record| record.timeouts == 0)
                .count();
            let mut retries = 5;
            while 2 * len > self.bound.max(8) && retries > 2 && len >= young {
                (retries, young) = (retries - 1, young * 2);
            }
            let record = self.half_open.get_mut(&peer).expect("just found");
            if record.timeouts >= retries {
                self.half_open.remove(&peer);
            } else {
                record.timeouts += 1;
                record.deadline = at + (1_000_000 << record.timeouts);
                repeated += 1;
            }
        }
        self.now = end;
        repeated
    }
}

#[derive(Clone, Debug)]
enum Step {
    Syn(u8),
    Ack(u8),
    Reset(u8),
    Accept,
    Relisten(i32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..PEERS).prop_map(Step::Syn),
        5 => (0..PEERS).prop_map(Step::Ack),
        1 => (0..PEERS).prop_map(Step::Reset),
        2 => Just(Step::Accept),
        1 => (0..6).prop_map(Step::Relisten),
        3 => prop_oneof![1u64..600, 600u64..5000, 5000u64..70_000].prop_map(Step::Wait),
    ]
}

/// What a peer knows: the number of the last SYN-ACK, and when it was made if it was a cookie.
type Known = BTreeMap<u8, (u32, Option<Time>)>;

/// Runs one step on both and compares.
fn compare(
    bench: &mut Bench,
    model: &mut Model,
    known: &mut Known,
    gone: &mut BTreeSet<u8>,
    step: &Step,
) {
    match *step {
        Step::Syn(peer) if !gone.contains(&peer) => {
            let cookies = bench.host.stats.syncookies_sent;
            let expected = model.syn(peer);
            match bench.syn(peer) {
                Reply::SynAck(iss) => {
                    assert!(expected, "an answer to {peer}");
                    let is_cookie = bench.host.stats.syncookies_sent > cookies;
                    known.insert(peer, (iss, is_cookie.then_some(model.now)));
                }
                other => assert_eq!((other, expected), (Reply::Nothing, false)),
            }
        }
        Step::Ack(peer) if !gone.contains(&peer) => {
            let (iss, cookie) = known.get(&peer).copied().unwrap_or((1, None));
            let waiting = model.accept.len();
            let expected = if model.ack(peer, cookie) {
                Reply::Reset
            } else {
                Reply::Nothing
            };
            assert_eq!(bench.ack(peer, iss), expected);
            if model.accept.len() > waiting {
                gone.insert(peer);
            }
        }
        Step::Reset(peer) if !gone.contains(&peer) => {
            model.half_open.remove(&peer);
            assert_eq!(bench.rst(peer), Reply::Nothing);
        }
        Step::Accept => {
            let expected = model.accept.pop_front();
            let got = bench.accept().ok();
            assert_eq!(got.map(|(_, peer)| peer), expected.map(Bench::peer));
            if let (Some((id, _)), Some(peer)) = (got, expected) {
                bench
                    .host
                    .with(|engine, cx| engine.abort(cx, id))
                    .expect("just accepted");
                gone.remove(&peer);
            }
        }
        Step::Relisten(backlog) => {
            let listener = bench.listener;
            bench
                .host
                .with(|engine, cx| engine.listen(cx, listener, backlog))
                .expect("row 13");
            model.bound = backlog as usize;
        }
        Step::Wait(ms) => {
            bench.host.take();
            bench.host.advance(Duration::from_millis(ms));
            assert_eq!(
                bench.host.take().len(),
                model.advance(model.now + ms * 1000)
            );
        }
        _ => {}
    }
    assert_eq!(bench.host.engine.half_open_len(), model.half_open.len());
    assert_eq!(bench.info().unacked as usize, model.accept.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_queues_behave_as_the_model(
        backlog in 0i32..5,
        cookies: bool,
        abort: bool,
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut bench = Bench::new(backlog, u32::from(cookies));
        bench.host.config.tcp_abort_on_overflow = u32::from(abort);
        let now = bench.host.now.as_micros();
        let mut model = Model { bound: backlog as usize, cookies, abort, now, ..Model::default() };
        let (mut known, mut gone) = (Known::new(), BTreeSet::new());
        for step in &steps {
            // No two things at the same microsecond: the order of equal deadlines is nobody's promise.
            bench.host.advance(Duration::from_micros(1));
            model.advance(model.now + 1);
            compare(&mut bench, &mut model, &mut known, &mut gone, step);
        }
    }
}
