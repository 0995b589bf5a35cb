//! A line may expect more data in one packet than the target puts into one: segments that belong
//! together are put together first, unless the script says `--strict_segments`.

use super::target::Sent;
use super::wire::{Datagram, Segment, Transport};
use super::{Outcome, Runner};
use crate::ast::{Flags, Micros};

/// Flags that only the last segment of a burst carries, or only the first.
const LOOSE: u16 = Flags::FIN | Flags::PSH | Flags::CWR;

impl Runner<'_> {
    /// Appends to `first` the segments that continue it, until it holds `len` bytes of data. What does
    /// not continue it stays in the queue.
    pub(super) fn aggregate(
        &mut self,
        first: &mut Datagram,
        len: usize,
        deadline: Micros,
    ) -> Outcome {
        let step = match &first.transport {
            Transport::Tcp(segment) if !self.config.strict_segments => segment.payload.len(),
            _ => return Ok(()),
        };
        if step == 0 {
            return Ok(());
        }
        while let Transport::Tcp(segment) = &mut first.transport
            && segment.payload.len() < len
        {
            self.pump()?;
            match self.sent.front() {
                Some(next) => match continuation(segment, next, step, len) {
                    Some(next) => {
                        let first = segment.flags.0 & Flags::CWR;
                        segment.flags.0 = first | next.flags.0 & !Flags::CWR;
                        segment.payload.extend_from_slice(&next.payload);
                        self.sent.pop_front();
                    }
                    None => return Ok(()),
                },
                None if self.target.now() >= deadline => return Ok(()),
                None => self.advance(deadline)?,
            }
        }
        Ok(())
    }
}

/// The segment in `next`, if it goes on where `segment` ends and is otherwise like it.
fn continuation(segment: &Segment, next: &Sent, step: usize, len: usize) -> Option<Segment> {
    let datagram = Datagram::decode(&next.bytes, next.checksummed).ok()?;
    let Transport::Tcp(next) = datagram.transport else {
        return None;
    };
    let end = segment.seq.wrapping_add(segment.payload.len() as u32);
    let total = segment.payload.len() + next.payload.len();
    let alike = next.seq == end
        && next.flags.0 & !LOOSE == segment.flags.0 & !LOOSE
        && !segment.flags.has(Flags::FIN)
        && next.ack == segment.ack
        && next.options == segment.options;
    let fits = total == len || (total < len && next.payload.len() == step);
    (alike && fits).then_some(next)
}
