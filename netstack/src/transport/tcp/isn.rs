//! Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323, section 5.4).

use super::flow::FlowKey;
use super::seq::Seq;
use crate::rng::Rng;
use crate::time::Instant;

/// The secrets behind both.
#[derive(Clone, Debug)]
pub(super) struct Secrets {
    isn: [u64; 2],
    timestamp: [u64; 2],
    /// Chooses among SO_REUSEPORT listeners.
    pub(super) select: [u64; 2],
}

impl Secrets {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            isn: rng.key(),
            timestamp: rng.key(),
            select: rng.key(),
        }
    }

    /// ISN = clock + keyed hash of the flow; the clock ticks every 64 ns, so that a later
    /// incarnation of a flow starts above the earlier one.
    pub(super) fn isn(&self, key: &FlowKey, now: Instant) -> Seq {
        let hash = key.digest(self.isn, 0) as u32;
        Seq(hash.wrapping_add((now.as_nanos() >> 6) as u32))
    }

    /// The offset of the flow's timestamp clock: the same for all connections between two hosts,
    /// so that PAWS and TIME-WAIT recycling work across them. `tcp_timestamps` 2 means none.
    pub(super) fn timestamp_offset(&self, key: &FlowKey, setting: u32) -> u32 {
        if setting != 1 {
            return 0;
        }
        let mut hosts = *key;
        hosts.local.set_port(0);
        hosts.remote.set_port(0);
        hosts.digest(self.timestamp, 0) as u32
    }
}

/// The millisecond clock behind TSval, before the offset is added.
pub(super) fn timestamp_clock(now: Instant) -> u32 {
    now.as_millis() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> FlowKey {
        FlowKey {
            local: ([10, 0, 0, 1], 80).into(),
            remote: ([10, 0, 0, 2], port).into(),
        }
    }

    #[test]
    fn isn_advances_with_the_clock_and_differs_between_flows() {
        let secrets = Secrets::new(&mut Rng::from_seed([1; 16]));
        let early = secrets.isn(&key(1), Instant::from_millis(1000));
        let late = secrets.isn(&key(1), Instant::from_millis(1001));
        assert_eq!(late - early, 1_000_000 / 64);
        assert_ne!(early, secrets.isn(&key(2), Instant::from_millis(1000)));
    }

    #[test]
    fn timestamp_offset_is_per_host_pair() {
        let secrets = Secrets::new(&mut Rng::from_seed([1; 16]));
        assert_eq!(
            secrets.timestamp_offset(&key(1), 1),
            secrets.timestamp_offset(&key(2), 1)
        );
        assert_eq!(secrets.timestamp_offset(&key(1), 2), 0);
    }
}
