//! Mapping new memory ahead of a guest that goes through it in order.
//!
//! The host's first touch of a page of a shared file costs 2.3 us; written by the Sentry in bulk, and
//! mapped in bulk, it costs 1.7. So large new memory is mapped a window at a time: a guest that arrives
//! exactly at a window's end is taken to go on, and gets a larger one whose pages are there already.
//! Any other touch maps all the rest, for the host to fill page by page.

use std::ops::Range;

use super::state::{Back, Order, Seg, State};

/// The first window: small, since most mappings are touched little.
const FIRST: u64 = 32 << 10;
/// Later windows double, within these bounds.
const GROWN: Range<u64> = (128 << 10)..(2 << 20);

/// Where the newest window ends, and how large the next one is to be.
#[derive(Clone, Copy, Default)]
pub(super) struct Ahead {
    end: u64,
    len: u64,
}

impl State {
    /// Makes the stub map a page that is backed, with as much around it as seems right. `first`: it
    /// has just been backed, and nothing of its segment is mapped.
    pub(super) fn map_around(&mut self, page: u64, first: bool) {
        let Some((range, seg)) = self.segs.find(page) else {
            return;
        };
        let own = seg.host.is_none() && !seg.cow && !seg.shared;
        let (true, Back::Memory(base)) = (own, &seg.back) else {
            return self.map_segs(range);
        };
        let offset = base + (page - range.start);
        if page == self.ahead.end {
            let end = range.end.min(page + self.ahead.len);
            self.ahead = Ahead {
                end,
                len: (self.ahead.len * 2).min(GROWN.end),
            };
            match self.memory.fill_untouched(offset, end - page) {
                true => self.map_filled(page..end),
                false => self.map_segs(page..end),
            }
        } else if first && range.end - page > FIRST {
            let end = page + FIRST;
            self.ahead = Ahead {
                end,
                len: GROWN.start,
            };
            self.map_segs(page..end);
        } else {
            self.map_segs(range);
        }
    }

    /// As [`State::map_segs`] for memory whose pages are there: the host is to map them at once.
    fn map_filled(&mut self, range: Range<u64>) {
        let orders = &mut self.orders;
        self.segs.update(range, |part, seg: &mut Seg| {
            seg.host = Some(seg.host_prot());
            orders.push(Order::MapFilled(part, seg.clone()));
        });
    }
}
