//! The SYN queue of a listener: how many half-open records it may have. The records themselves are
//! in the engine's table.

/// Counts of half-open records.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport::tcp) struct SynQueue {
    /// B.
    bound: u32,
    len: u32,
    /// Of these, those whose SYN-ACK has not been repeated yet.
    young: u32,
}

impl SynQueue {
    pub(super) fn new(bound: u32) -> Self {
        Self {
            bound,
            len: 0,
            young: 0,
        }
    }

    pub(super) fn set_bound(&mut self, bound: u32) {
        self.bound = bound;
    }

    /// The gate: full when it holds more than B (Linux `inet_csk_reqsk_queue_is_full`).
    pub(super) fn is_full(&self) -> bool {
        self.len > self.bound
    }

    /// With cookies off, the last quarter of `tcp_max_syn_backlog` is for peers that have proven
    /// themselves (Linux `tcp_conn_request`).
    pub(super) fn refuses_unproven(&self, max_syn_backlog: u32) -> bool {
        i64::from(max_syn_backlog) - i64::from(self.len) < i64::from(max_syn_backlog >> 2)
    }

    pub(super) fn entered(&mut self) {
        self.len += 1;
        self.young += 1;
    }

    pub(super) fn left(&mut self, young: bool) {
        self.len -= 1;
        self.young -= u32::from(young);
    }

    pub(super) fn aged(&mut self) {
        self.young -= 1;
    }

    /// How often a SYN-ACK may be repeated now: fewer times, but at least twice, while the queue is
    /// crowded with old records (Linux `reqsk_timer_handler`).
    pub(super) fn retries(&self, most: u8) -> u8 {
        if u64::from(self.len) * 2 <= u64::from(self.bound.max(8)) {
            return most;
        }
        let mut retries = most;
        let mut young = u64::from(self.young) * 2;
        while retries > 2 && u64::from(self.len) >= young {
            retries -= 1;
            young *= 2;
        }
        retries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_more_than_the_bound() {
        let mut queue = SynQueue::new(0);
        assert!(!queue.is_full());
        queue.entered();
        assert!(queue.is_full());
        queue.set_bound(1);
        assert!(!queue.is_full());
    }

    #[test]
    fn a_max_syn_backlog_of_16_admits_13() {
        let mut queue = SynQueue::new(100);
        let mut admitted = 0;
        while !queue.refuses_unproven(16) {
            queue.entered();
            admitted += 1;
        }
        assert_eq!(admitted, 13);
    }

    #[test]
    fn crowding_prunes_down_to_two_retries() {
        let mut queue = SynQueue::new(8);
        (0..4).for_each(|_| queue.entered());
        (0..4).for_each(|_| queue.aged());
        assert_eq!(queue.retries(5), 5, "twice the length is not above 8");
        queue.entered();
        // 5 records, 1 young: 2, 4 and 8 against 5.
        assert_eq!(queue.retries(5), 3);
        queue.aged();
        assert_eq!(queue.retries(5), 2);
    }
}
