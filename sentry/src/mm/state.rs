//! What an address space consists of, behind the manager's lock.
//!
//! Three maps over guest addresses:
//! - `vmas`: what the guest asked for;
//! - `segs`: what backs the pages so far. A page of a VMA without a segment has never been touched;
//! - `reserves`: ranges of the memory file kept for guest addresses near others, so that what is
//!   contiguous for the guest is contiguous in the file, and the host merges its mappings.
//!
//! Invariants: every segment lies within VMAs and carries their protection; the stub maps exactly the
//! segments whose `host` is set, with that protection, never with write access where `cow` is set.
//! Changes to the stub's mappings collect in `orders` and take effect when the manager commits them,
//! still under its lock; memory is given back after that.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sentry_abi::Errno;
use smallvec::SmallVec;

use super::ahead::Ahead;
use super::memory_file::MemoryFile;
use super::range_map::{Piece, RangeMap};
use super::vma::Vma;
use super::{Mappable, PAGE_SIZE};

/// Granule of reservations in the memory file.
const WINDOW: u64 = 2 << 20;
/// Most memory that one touch backs (and one order maps).
const PIECE: u64 = 64 << 20;
/// Reservations kept before all are given up.
const MAX_RESERVES: usize = 1024;

/// What a segment's pages are.
#[derive(Clone)]
pub(super) enum Back {
    /// A range of the memory file; the segment holds a reference to it.
    Memory(u64),
    /// A file's pages, where the file says they are now.
    File(Arc<dyn Mappable>, u64),
}

/// Backed pages.
#[derive(Clone)]
pub(super) struct Seg {
    pub(super) back: Back,
    /// The VMA's protection.
    pub(super) prot: i32,
    /// A write must not reach these pages: break first.
    pub(super) cow: bool,
    /// Of a shared mapping: fork leaves them shared.
    pub(super) shared: bool,
    /// The stub maps them, with this protection.
    pub(super) host: Option<i32>,
}

impl Seg {
    /// The protection that the stub may have.
    pub(super) fn host_prot(&self) -> i32 {
        match self.cow {
            true => self.prot & !libc::PROT_WRITE,
            false => self.prot,
        }
    }

    pub(super) fn readable(&self) -> bool {
        self.prot != libc::PROT_NONE
    }

    /// Writes may go straight to the pages.
    pub(super) fn writable(&self) -> bool {
        self.prot & libc::PROT_WRITE != 0 && !self.cow
    }
}

impl Piece for Seg {
    fn tail(&self, delta: u64) -> Self {
        let mut tail = self.clone();
        match &mut tail.back {
            Back::Memory(offset) | Back::File(_, offset) => *offset += delta,
        }
        tail
    }

    fn joins(&self, len: u64, next: &Self) -> bool {
        let linear = match (&self.back, &next.back) {
            (Back::Memory(a), Back::Memory(b)) => a + len == *b,
            (Back::File(f, a), Back::File(g, b)) => Arc::ptr_eq(f, g) && a + len == *b,
            _ => false,
        };
        linear
            && self.prot == next.prot
            && self.cow == next.cow
            && self.shared == next.shared
            && self.host == next.host
    }
}

/// A range of the memory file kept for a range of addresses.
#[derive(Clone, Copy)]
pub(super) struct Reserve(u64);

impl Piece for Reserve {
    fn tail(&self, delta: u64) -> Self {
        Self(self.0 + delta)
    }
    fn joins(&self, len: u64, next: &Self) -> bool {
        self.0 + len == next.0
    }
}

/// One change to be made to the stub's mappings.
pub(super) enum Order {
    Map(Range<u64>, Seg),
    /// Memory whose pages are there.
    MapFilled(Range<u64>, Seg),
    Unmap(Range<u64>),
    Protect(Range<u64>, i32),
}

/// Changes not committed yet.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) list: SmallVec<[Order; 4]>,
    /// Ranges of the memory file to give back once the orders have taken effect.
    pub(super) frees: Vec<(u64, u64)>,
}

impl Orders {
    /// Adds an order, joined with the last one if they are one.
    pub(super) fn push(&mut self, order: Order) {
        match (self.list.last_mut(), &order) {
            (Some(Order::Protect(last, a)), Order::Protect(range, b))
                if last.end == range.start && a == b =>
            {
                last.end = range.end;
            }
            (Some(Order::Map(last, a)), Order::Map(range, b))
                if last.end == range.start && a.joins(last.end - last.start, b) =>
            {
                last.end = range.end;
            }
            _ => self.list.push(order),
        }
    }
}

/// The heap.
#[derive(Clone, Copy, Default)]
pub(super) struct Heap {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// An address space.
pub(super) struct State {
    pub(super) memory: Arc<MemoryFile>,
    pub(super) vmas: RangeMap<Vma>,
    pub(super) segs: RangeMap<Seg>,
    reserves: RangeMap<Reserve>,
    pub(super) heap: Heap,
    /// Mappings without an address are placed below this.
    pub(super) mmap_top: u64,
    /// No page is free between here and `mmap_top`: the search for a place begins here.
    packed: AtomicU64,
    /// Bytes in VMAs, and the most there ever were.
    pub(super) size: u64,
    pub(super) peak: u64,
    /// Just forked: the stub maps nothing yet; the first fault maps what there is.
    pub(super) fresh: bool,
    /// Starts of new mappings that the next fault maps along with its own page.
    pub(super) pending: SmallVec<[u64; 16]>,
    pub(super) ahead: Ahead,
    pub(super) orders: Orders,
}

impl State {
    pub(super) fn new(memory: Arc<MemoryFile>, mmap_top: u64) -> Self {
        Self {
            memory,
            vmas: RangeMap::default(),
            segs: RangeMap::default(),
            reserves: RangeMap::default(),
            heap: Heap::default(),
            mmap_top,
            packed: AtomicU64::new(mmap_top),
            size: 0,
            peak: 0,
            fresh: false,
            pending: SmallVec::new(),
            ahead: Ahead::default(),
            orders: Orders::default(),
        }
    }

    /// Mappings without an address are placed below `top` from now on.
    pub(super) fn set_mmap_top(&mut self, top: u64) {
        self.mmap_top = top;
        self.packed = AtomicU64::new(top);
    }

    /// Where to begin to look for a hole below `mmap_top`.
    pub(super) fn packed(&self) -> u64 {
        self.packed.load(Relaxed)
    }

    /// A search has found no free page from `addr` to `mmap_top`.
    pub(super) fn note_packed(&self, addr: u64) {
        self.packed.fetch_min(addr, Relaxed);
    }

    /// Adds a VMA over a free range.
    pub(super) fn add_vma(&mut self, range: Range<u64>, vma: Vma) {
        self.size += range.end - range.start;
        self.peak = self.peak.max(self.size);
        self.vmas.insert(range, vma);
    }

    /// Removes all VMAs in `range` with what backs them.
    pub(super) fn unmap(&mut self, range: Range<u64>) {
        let hole_ends = range.end.min(self.mmap_top);
        self.packed.fetch_max(hole_ends, Relaxed);
        for (part, _) in self.vmas.remove(range.clone()) {
            self.size -= part.end - part.start;
        }
        self.drop_segs(range);
    }

    /// Forgets what backs the pages of `range`: the next touch starts over.
    pub(super) fn drop_segs(&mut self, range: Range<u64>) {
        let mut mapped: Option<Range<u64>> = None;
        for (part, seg) in self.segs.remove(range) {
            if seg.host.is_some() {
                let start = mapped.as_ref().map_or(part.start, |m| m.start);
                mapped = Some(start..part.end);
            }
            if let Back::Memory(offset) = seg.back {
                self.orders.frees.push((offset, part.end - part.start));
            }
        }
        if let Some(range) = mapped {
            self.orders.push(Order::Unmap(range));
        }
    }

    /// Makes the stub map the segments of `range` that it does not map as they are.
    pub(super) fn map_segs(&mut self, range: Range<u64>) {
        let orders = &mut self.orders;
        self.segs.update(range, |part, seg| {
            let prot = seg.host_prot();
            seg.host = Some(prot);
            orders.push(Order::Map(part, seg.clone()));
        });
    }

    /// Gives the stub the protections that the segments of `range` have now, where it maps them.
    pub(super) fn reprotect(&mut self, range: Range<u64>) {
        let orders = &mut self.orders;
        self.segs.update(range, |part, seg| {
            let prot = seg.host_prot();
            if seg.host.is_some_and(|host| host != prot) {
                seg.host = Some(prot);
                orders.push(Order::Protect(part, prot));
            }
        });
    }

    /// Takes memory (zeroed) for a part of `hole` around `at`; the part and its offset.
    pub(super) fn take_memory(
        &mut self,
        at: u64,
        hole: Range<u64>,
    ) -> Result<(Range<u64>, u64), Errno> {
        if let Some((found, reserve)) = self.reserves.find(at) {
            let piece = intersect(&found, &hole);
            let offset = reserve.0 + (piece.start - found.start);
            self.reserves.remove(piece.clone());
            return Ok((piece, offset));
        }
        if self.reserves.len() > MAX_RESERVES {
            self.release_reserves();
        }
        let hole = self.reserves.hole(at, hole).ok_or(Errno::ENOMEM)?;
        let piece = intersect(&hole, &around(at, PIECE));
        let outer = piece.start / WINDOW * WINDOW..piece.end.next_multiple_of(WINDOW);
        let base = self.memory.allocate(outer.end - outer.start)?;
        for side in [outer.start..piece.start, piece.end..outer.end] {
            self.keep_reserve(side, base, outer.start);
        }
        let offset = base + (piece.start - outer.start);
        Ok((piece, offset))
    }

    /// Keeps the parts of `side` that have no reserve yet; gives the others back. `base` is the
    /// offset of address `origin`.
    fn keep_reserve(&mut self, side: Range<u64>, base: u64, origin: u64) {
        let holes = self.reserves.holes(side.clone());
        let mut at = side.start;
        for hole in &holes {
            if at < hole.start {
                self.memory
                    .release_untouched(base + (at - origin), hole.start - at);
            }
            at = hole.end;
        }
        if at < side.end {
            self.memory
                .release_untouched(base + (at - origin), side.end - at);
        }
        for hole in holes {
            let reserve = Reserve(base + (hole.start - origin));
            self.reserves.insert(hole, reserve);
        }
    }

    /// Gives all reservations back.
    pub(super) fn release_reserves(&mut self) {
        for (range, reserve) in std::mem::take(&mut self.reserves).iter() {
            self.memory
                .release_untouched(reserve.0, range.end - range.start);
        }
    }
}

impl Drop for State {
    /// The stub is gone or about to go with its address space; its memory goes back.
    fn drop(&mut self) {
        self.release_reserves();
        for (offset, len) in std::mem::take(&mut self.orders.frees) {
            self.memory.decref(offset, len);
        }
        for (range, seg) in self.segs.iter() {
            if let Back::Memory(offset) = seg.back {
                self.memory.decref(offset, range.end - range.start);
            }
        }
    }
}

/// What two ranges share (empty if nothing).
pub(super) fn intersect(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// The aligned range of `size` bytes (a power of two) that holds `at`.
pub(super) fn around(at: u64, size: u64) -> Range<u64> {
    let start = at & !(size - 1);
    start..start.saturating_add(size)
}

/// The page that holds `at`.
pub(super) fn page_of(at: u64) -> u64 {
    at & !(PAGE_SIZE - 1)
}
