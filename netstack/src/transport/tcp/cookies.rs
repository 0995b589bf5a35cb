//! SYN cookies: the half-open record encoded in our sequence number and timestamp (RFC 4987, 3.6).
//!
//! The 32 bits are: parity of the 60 s tick, 3 bits of MSS index, 28 bits of a MAC over the flow,
//! the peer's ISN, the tick and the index; all of it masked by a keyed hash of the flow. The MAC key
//! is drawn afresh for each tick, and a key is kept for one tick after its own.

use super::flow::FlowKey;
use super::seq::Seq;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Length of a tick; a cookie is good in its own and the following one.
const TICK_SECS: u64 = 60;
/// How long after the last overflow cookies are believed (Linux `TCP_SYNCOOKIE_VALID`).
pub(super) const VALID_AFTER_OVERFLOW: Duration = Duration::from_secs(2 * TICK_SECS);
/// MSS values that a cookie can carry, ascending.
const MSS_TABLE: [u16; 8] = [216, 536, 1024, 1300, 1380, 1440, 1460, 8960];
const MAC_BITS: u32 = 28;

/// The keys of the present and the previous tick.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    mask: [u64; 2],
    keys: [Option<(u64, [u64; 2])>; 2],
}

impl Cookies {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            mask: rng.key(),
            keys: [None; 2],
        }
    }

    /// The cookie for a SYN of `key` with ISN `irs`, and the MSS that it stands for (the largest of
    /// the table that is not above `mss`).
    pub(super) fn make(
        &mut self,
        rng: &mut Rng,
        key: &FlowKey,
        irs: Seq,
        mss: u16,
        now: Instant,
    ) -> (Seq, u16) {
        let tick = now.as_secs() / TICK_SECS;
        let slot = &mut self.keys[(tick & 1) as usize];
        let secret = match *slot {
            Some((of, secret)) if of == tick => secret,
            _ => slot.insert((tick, rng.key())).1,
        };
        let index = MSS_TABLE
            .iter()
            .rposition(|entry| *entry <= mss)
            .unwrap_or(0);
        let plain = (tick as u32 & 1) << 31
            | (index as u32) << MAC_BITS
            | mac(secret, key, irs, tick, index);
        (Seq(plain.wrapping_add(self.mask_of(key))), MSS_TABLE[index])
    }

    /// The MSS in the cookie that an ACK carries, if the cookie is ours and fresh. `cookie` is the
    /// acknowledgement number less one, `irs` the segment's sequence number less one.
    pub(super) fn check(&self, key: &FlowKey, irs: Seq, cookie: Seq, now: Instant) -> Option<u16> {
        let plain = cookie.0.wrapping_sub(self.mask_of(key));
        let index = (plain >> MAC_BITS & 7) as usize;
        let (tick, secret) = self.keys[(plain >> 31) as usize]?;
        let age = (now.as_secs() / TICK_SECS).checked_sub(tick)?;
        let genuine = plain & ((1 << MAC_BITS) - 1) == mac(secret, key, irs, tick, index);
        (age <= 1 && genuine).then(|| MSS_TABLE[index])
    }

    fn mask_of(&self, key: &FlowKey) -> u32 {
        key.digest(self.mask, 0) as u32
    }
}

fn mac(secret: [u64; 2], key: &FlowKey, irs: Seq, tick: u64, index: usize) -> u32 {
    let extra = u64::from(irs.0) << 32 | (tick << 3 & 0xffff_fff8) | index as u64;
    key.digest(secret, extra) as u32 & ((1 << MAC_BITS) - 1)
}

/// The options that a cookie SYN-ACK hides in the low bits of its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HiddenOptions {
    /// The peer's window shift, if scaling was offered.
    pub(super) wscale: Option<u8>,
    /// SACK was offered.
    pub(super) sack: bool,
    /// ECN was offered.
    pub(super) ecn: bool,
}

const HIDDEN_BITS: u32 = 6;
const NO_WSCALE: u32 = 0xf;

impl HiddenOptions {
    /// A timestamp clock value at or below `clock` whose low bits carry the options.
    pub(super) fn hide(self, clock: u32) -> u32 {
        let bits = self
            .wscale
            .map_or(NO_WSCALE, |shift| u32::from(shift.min(14)))
            | u32::from(self.sack) << 4
            | u32::from(self.ecn) << 5;
        let value = clock >> HIDDEN_BITS << HIDDEN_BITS | bits;
        if value > clock {
            value.wrapping_sub(1 << HIDDEN_BITS)
        } else {
            value
        }
    }

    /// What an echoed clock value carries.
    pub(super) fn reveal(clock: u32) -> Self {
        let shift = clock & 0xf;
        Self {
            wscale: (shift != NO_WSCALE).then_some(shift as u8),
            sack: clock & 1 << 4 != 0,
            ecn: clock & 1 << 5 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn key() -> FlowKey {
        FlowKey {
            local: ([10, 0, 0, 1], 80).into(),
            remote: ([10, 0, 0, 2], 999).into(),
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    #[test]
    fn a_cookie_lives_for_its_tick_and_the_next() {
        let mut rng = Rng::from_seed([3; 16]);
        let mut cookies = Cookies::new(&mut rng);
        let (cookie, mss) = cookies.make(&mut rng, &key(), Seq(77), 1459, at(61));
        assert_eq!(mss, 1440);
        assert_eq!(cookies.check(&key(), Seq(77), cookie, at(61)), Some(1440));
        assert_eq!(cookies.check(&key(), Seq(77), cookie, at(179)), Some(1440));
        assert_eq!(cookies.check(&key(), Seq(77), cookie, at(180)), None);
        assert_eq!(cookies.check(&key(), Seq(78), cookie, at(61)), None);
        assert_eq!(cookies.check(&key(), Seq(77), cookie + 1, at(61)), None);
        // A new key in the same slot ends the old one.
        cookies.make(&mut rng, &key(), Seq(1), 1460, at(185));
        assert_eq!(cookies.check(&key(), Seq(77), cookie, at(61)), None);
    }

    proptest! {
        #[test]
        fn hidden_options_come_back(clock in 64u32.., wscale in proptest::option::of(0u8..15), sack: bool, ecn: bool) {
            let options = HiddenOptions { wscale, sack, ecn };
            let hidden = options.hide(clock);
            prop_assert!(hidden <= clock && clock - hidden < 128);
            prop_assert_eq!(HiddenOptions::reveal(hidden), options);
        }
    }
}
