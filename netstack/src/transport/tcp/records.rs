//! Where the writes of an application end, as far as segments show it: the end of a write is pushed
//! (RFC 9293, 3.9.1.2), and MSG_EOR ends a record, past which no segment reaches.

use std::collections::VecDeque;

use super::seq::Seq;

/// The end of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    at: Seq,
    /// MSG_EOR.
    eor: bool,
}

/// Ends of writes that are not acknowledged, in order. Those of writes that leave in one segment are
/// one, so that there are no more than segments.
#[derive(Debug, Default)]
pub(super) struct Records(VecDeque<Mark>);

impl Records {
    /// The memory of the marks: filled before there are any, and taken when none are left.
    pub(super) fn memory_mut(&mut self) -> &mut VecDeque<Mark> {
        &mut self.0
    }

    /// A write ends at `end`, or goes on (`more`). `run`: what lies before it has been sent, or leaves
    /// by itself.
    pub(super) fn wrote(&mut self, end: Seq, run: Seq, more: bool, eor: bool) {
        match self.0.back_mut() {
            // It joins what waits already, and that was to be pushed (Linux keeps the flag with the
            // buffer that both writes are in).
            Some(last) if last.at.after(run) && !last.eor => {
                *last = Mark { at: end, eor };
            }
            _ if !more || eor => self.0.push_back(Mark { at: end, eor }),
            _ => {}
        }
    }

    /// What ends at `end`, amid the data of a write or not, is to be pushed.
    pub(super) fn push_at(&mut self, end: Seq) {
        let at = self.0.partition_point(|mark| mark.at.before(end));
        if self.0.get(at).is_none_or(|mark| mark.at != end) {
            let eor = false;
            self.0.insert(at, Mark { at: end, eor });
        }
    }

    /// Everything before `una` is acknowledged.
    pub(super) fn advance(&mut self, una: Seq) {
        while self.0.front().is_some_and(|mark| mark.at.at_or_before(una)) {
            self.0.pop_front();
        }
    }

    /// True if a write ends at `end`.
    pub(super) fn ends_at(&self, end: Seq) -> bool {
        let at = self.0.partition_point(|mark| mark.at.before(end));
        self.0.get(at).is_some_and(|mark| mark.at == end)
    }

    /// True if an application has ended a record at `end`.
    pub(super) fn record_ends_at(&self, end: Seq) -> bool {
        self.0.back().is_some_and(|last| last.eor && last.at == end)
    }

    /// The end of the record in which `seq` lies, if an application has ended it.
    pub(super) fn record_end(&self, seq: Seq) -> Option<Seq> {
        let from = self.0.partition_point(|mark| mark.at.at_or_before(seq));
        let mut later = self.0.range(from..);
        later.find(|mark| mark.eor).map(|mark| mark.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_wait_together_end_together() {
        let mut records = Records::default();
        records.wrote(Seq(10), Seq(0), false, false);
        records.wrote(Seq(20), Seq(0), true, false);
        assert!(!records.ends_at(Seq(10)) && records.ends_at(Seq(20)));
        // All of it has been sent.
        records.wrote(Seq(30), Seq(20), true, false);
        assert!(!records.ends_at(Seq(30)), "more was to follow");
        records.wrote(Seq(40), Seq(20), false, false);
        assert!(records.ends_at(Seq(20)) && records.ends_at(Seq(40)));
        records.advance(Seq(20));
        assert!(!records.ends_at(Seq(20)) && records.ends_at(Seq(40)));
    }

    #[test]
    fn a_record_is_not_joined() {
        let mut records = Records::default();
        records.wrote(Seq(10), Seq(0), false, true);
        records.wrote(Seq(20), Seq(0), false, false);
        assert!(records.ends_at(Seq(10)) && records.ends_at(Seq(20)));
        assert_eq!(records.record_end(Seq(0)), Some(Seq(10)));
        assert_eq!(records.record_end(Seq(10)), None);
        records.wrote(Seq(25), Seq(0), false, true);
        assert_eq!(records.record_end(Seq(10)), Some(Seq(25)));
    }
}
