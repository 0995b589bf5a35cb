//! Peers that lie about what they have: each lie moves its counter and nothing else.

use proptest::prelude::*;

use super::connection::Pair;
use crate::time::Duration;
use crate::wire::tcp::TcpRepr;

/// An acknowledgement of `acked` bytes with SACK blocks, counted from our first byte.
fn ack(pair: &Pair, acked: u32, blocks: &[(u32, u32)]) -> TcpRepr {
    let mut repr = pair.segment(0, acked);
    let from = pair.segment(0, 0).ack;
    let moved = blocks
        .iter()
        .map(|(low, high)| (from.wrapping_add(*low), from.wrapping_add(*high)));
    repr.options.sack = moved.collect();
    repr
}

#[test]
fn an_optimistic_acknowledgement_wins_nothing() {
    let mut pair = Pair::active(false);
    pair.write(3000);
    let before = pair.info();
    assert_eq!(pair.give(ack(&pair, 3001, &[]), &[]).len(), 1, "challenged");
    for more in 3001..4000 {
        // A flood of them is answered once in half a second.
        assert!(pair.give(ack(&pair, more, &[]), &[]).is_empty());
    }
    let after = pair.info();
    assert_eq!(pair.host.stats.acks_of_unsent, 1000);
    assert_eq!(pair.host.stats.challenge_acks, 1);
    assert_eq!(
        (after.unacked, after.snd_cwnd),
        (before.unacked, before.snd_cwnd)
    );
}

#[test]
fn an_ancient_acknowledgement_is_counted() {
    let mut pair = Pair::active(false);
    pair.write(3000);
    pair.give(ack(&pair, 3000, &[]), &[]);
    pair.give(ack(&pair, 3000_u32.wrapping_sub(30_000), &[]), &[]);
    assert_eq!(pair.host.stats.acks_too_old, 1);
    assert_eq!(pair.info().ca_state, 0);
}

#[test]
fn blocks_of_what_is_not_in_flight_are_counted() {
    let mut pair = Pair::active(false);
    pair.write(3000);
    for lie in [(4000, 5000), (2000, 1000), (1000, 9000), (0, 3000)] {
        pair.give(ack(&pair, 0, &[lie]), &[]);
    }
    let info = pair.info();
    assert_eq!(pair.host.stats.sack_discard, 4);
    assert_eq!((info.sacked, info.lost, info.total_retrans), (0, 0, 0));
}

#[test]
fn duplicates_of_what_was_never_sent_twice_are_dubious() {
    let mut pair = Pair::active(false);
    pair.write(3000);
    pair.give(ack(&pair, 3000, &[]), &[]);
    pair.give(ack(&pair, 3000, &[(0, 1000)]), &[]);
    assert_eq!(pair.host.stats.dsack_ignored_dubious, 1);
    assert_eq!(pair.host.stats.dsack_undo, 0);
}

proptest! {
    /// Whatever a peer says, the window stays within what it can have earned, and nothing panics.
    #[test]
    fn no_lie_earns_a_window(
        lies in proptest::collection::vec((0u32..12_000, 0u32..12_000, 0u32..4000, 0u64..400), 1..60),
    ) {
        let mut pair = Pair::active(false);
        pair.write(10_000);
        for (acked, low, len, ms) in lies {
            let forged = ack(&pair, acked, &[(low, low.wrapping_add(len))]);
            pair.give(forged, &[]);
            pair.host.advance(Duration::from_millis(ms));
            let info = pair.info();
            prop_assert!(info.snd_cwnd >= 1 && info.snd_cwnd <= 10 + info.delivered);
            prop_assert!(info.sacked + info.lost <= info.unacked);
            prop_assert!(info.bytes_acked <= 10_000);
        }
    }
}
