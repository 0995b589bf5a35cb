//! Backing pages on demand, and copy-on-write.

use std::ops::Range;
use std::sync::Arc;

use sentry_abi::Errno;

use super::range_map::Piece;
use super::state::{Back, Seg, State, around, intersect, page_of};
use super::vma::Vma;
use super::{MapBacking, Mappable, PAGE_SIZE};
use crate::platform::Access;

/// How much a write to a shared page breaks off at once.
const CHUNK: u64 = 64 << 10;
/// Private writable file mappings up to this size are broken at the first touch of any kind: their
/// next touch is a write.
const EAGER_FILE: u64 = 256 << 10;
/// Largest new anonymous mapping that a neighbouring fault maps along.
const ALONG: u64 = 1 << 20;
/// How many segments the first fault after a fork maps.
const FRESH_SEGMENTS: usize = 128;
/// Room kept free below a growing stack.
pub(super) const STACK_GUARD: u64 = 256 * PAGE_SIZE;
/// Least that a stack grows by.
const STACK_STEP: u64 = 128 << 10;

/// `si_code` of a SIGSEGV: nothing is mapped there.
const SEGV_MAPERR: i32 = 1;
/// `si_code` of a SIGSEGV: the mapping does not allow it.
const SEGV_ACCERR: i32 = 2;
/// `si_code` of a SIGBUS: past the end of the file.
const BUS_ADRERR: i32 = 2;

/// The signal that a bad access raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultSignal {
    /// SIGSEGV, SIGBUS, or SIGKILL (no memory, or the address space is gone).
    pub signo: i32,
    /// `si_code`
    pub code: i32,
    /// `si_addr`
    pub addr: u64,
}

/// Why a page cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotMapped,
    NotAllowed,
    PastEnd,
    NoMemory,
}

impl Refusal {
    pub(super) fn signal(self, addr: u64) -> FaultSignal {
        let (signo, code) = match self {
            Self::NotMapped => (libc::SIGSEGV, SEGV_MAPERR),
            Self::NotAllowed => (libc::SIGSEGV, SEGV_ACCERR),
            Self::PastEnd => (libc::SIGBUS, BUS_ADRERR),
            Self::NoMemory => (libc::SIGKILL, 0),
        };
        FaultSignal { signo, code, addr }
    }
}

impl From<Errno> for Refusal {
    fn from(_: Errno) -> Self {
        Self::NoMemory
    }
}

/// The access bit that an access needs (on x86 any protection allows reading).
fn allows(prot: i32, access: Access) -> bool {
    match access {
        Access::Read => prot != libc::PROT_NONE,
        Access::Write => prot & libc::PROT_WRITE != 0,
        Access::Execute => prot & libc::PROT_EXEC != 0,
    }
}

impl State {
    /// Backs the page at `addr` for `access`; the segment that then holds it (by its page).
    /// `stack_limit` bounds the growth of a stack.
    pub(super) fn back_page(
        &mut self,
        addr: u64,
        access: Access,
        stack_limit: u64,
    ) -> Result<(), Refusal> {
        let page = page_of(addr);
        let (range, vma) = self.vma_for(page, stack_limit)?;
        if !allows(vma.prot, access) {
            return Err(Refusal::NotAllowed);
        }
        let write = access == Access::Write;
        match self.segs.find(page) {
            None => self.populate(page, range, &vma, write),
            Some((_, seg)) if write && seg.cow => self.break_page(page),
            Some(_) => Ok(()),
        }
    }

    /// A guest's fault: backs the page and makes the stub map it, with what is likely touched next.
    pub(super) fn guest_fault(
        &mut self,
        addr: u64,
        access: Access,
        stack_limit: u64,
    ) -> Result<(), Refusal> {
        let page = page_of(addr);
        let first = self.segs.find(page).is_none();
        self.back_page(addr, access, stack_limit)?;
        if self.segs.find(page).is_some() {
            // A page that is mapped as it should be is ordered again: another thread's fault on it
            // was served first, or the stub lost it; either way the order is harmless.
            let ordered = self
                .orders
                .list
                .iter()
                .any(|order| order_covers(order, page));
            if !ordered {
                self.map_around(page, first);
            }
        }
        self.map_along();
        Ok(())
    }

    /// The VMA of a page, grown down to it if it is a stack.
    fn vma_for(&mut self, page: u64, stack_limit: u64) -> Result<(Range<u64>, Vma), Refusal> {
        let (range, vma) = self.vmas.find_or_next(page).ok_or(Refusal::NotMapped)?;
        if range.contains(&page) {
            return Ok((range, vma.clone()));
        }
        if !vma.flags.grows_down {
            return Err(Refusal::NotMapped);
        }
        let below = self.vmas.before(page).map_or(0, |(r, v)| {
            let guarded = v.prot != libc::PROT_NONE && !v.flags.grows_down;
            r.end + if guarded { STACK_GUARD } else { 0 }
        });
        let limit = range.end.saturating_sub(stack_limit);
        if page < below || page < limit {
            return Err(Refusal::NotMapped);
        }
        let lower = page
            .min(range.start.saturating_sub(STACK_STEP))
            .max(below)
            .max(limit.next_multiple_of(PAGE_SIZE))
            .min(page);
        let vma = vma.clone();
        self.size += range.start - lower;
        self.peak = self.peak.max(self.size);
        self.vmas.extend_down(range.start, lower);
        Ok((lower..range.end, vma))
    }

    /// First touch of a page.
    fn populate(
        &mut self,
        page: u64,
        range: Range<u64>,
        vma: &Vma,
        write: bool,
    ) -> Result<(), Refusal> {
        let hole = self
            .segs
            .hole(page, range.clone())
            .ok_or(Refusal::NoMemory)?;
        let Some((file, file_offset)) = &vma.file else {
            let (piece, offset) = self.take_memory(page, hole)?;
            self.add_own_seg(piece, offset, vma.prot);
            return Ok(());
        };
        let offset_of = |at: u64| file_offset + (at - range.start);
        if !vma.flags.shared {
            let small = range.end - range.start <= EAGER_FILE;
            if write || (small && vma.prot & libc::PROT_WRITE != 0) {
                let chunk = intersect(&hole, &around(page, CHUNK));
                let offset = offset_of(chunk.start);
                return self.break_file(page, chunk, file, offset, vma.prot, None);
            }
        }
        // The whole hole if the file has it in one piece, else what follows the page.
        for start in [hole.start, page] {
            let len = hole.end - start;
            let backing = file
                .backing(offset_of(start), len)
                .map_err(|_| Refusal::PastEnd)?;
            match backing {
                MapBacking::Host { .. } => {
                    let back = Back::File(Arc::clone(file), offset_of(start));
                    self.add_file_seg(start..hole.end, back, vma.prot, vma.flags.shared);
                    return Ok(());
                }
                MapBacking::Memory { offset, len: have } => {
                    let have = have.min(len) / PAGE_SIZE * PAGE_SIZE;
                    if start + have > page {
                        self.memory.incref(offset, have);
                        let back = Back::Memory(offset);
                        self.add_file_seg(start..start + have, back, vma.prot, vma.flags.shared);
                        return Ok(());
                    }
                }
            }
        }
        Err(Refusal::PastEnd)
    }

    /// Adds a segment of a file's pages, which a private mapping must not write to.
    fn add_file_seg(&mut self, range: Range<u64>, back: Back, prot: i32, shared: bool) {
        let seg = Seg {
            back,
            prot,
            cow: !shared,
            shared,
            host: None,
        };
        self.segs.insert(range, seg);
    }

    /// Adds a segment of the address space's own memory.
    fn add_own_seg(&mut self, range: Range<u64>, offset: u64, prot: i32) {
        let seg = Seg {
            back: Back::Memory(offset),
            prot,
            cow: false,
            shared: false,
            host: None,
        };
        self.segs.insert(range, seg);
    }

    /// A write to a page that others may see: takes it back if nobody does, else copies a chunk.
    pub(super) fn break_page(&mut self, page: u64) -> Result<(), Refusal> {
        let Some((range, seg)) = self.segs.find(page) else {
            return Ok(());
        };
        let seg = seg.clone();
        match &seg.back {
            Back::File(file, offset) => {
                let chunk = intersect(&range, &around(page, CHUNK));
                let offset = offset + (chunk.start - range.start);
                self.segs.remove(chunk.clone());
                let result = self.break_file(page, chunk.clone(), file, offset, seg.prot, seg.host);
                // What was not broken (past the end, no memory) is the file's still.
                for hole in self.segs.holes(chunk.clone()) {
                    let rest = seg.tail(hole.start - range.start);
                    self.segs.insert(hole, rest);
                }
                result
            }
            Back::Memory(base) => self.break_memory(page, range, *base, &seg),
        }
    }

    fn break_memory(
        &mut self,
        page: u64,
        range: Range<u64>,
        base: u64,
        seg: &Seg,
    ) -> Result<(), Refusal> {
        let offset_of = |at: u64| base + (at - range.start);
        let whole = base..offset_of(range.end);
        if let Some(sole) = self.memory.sole_run(offset_of(page), whole) {
            let own = range.start + (sole.start - base)..range.start + (sole.end - base);
            self.segs.update(own.clone(), |_, seg| seg.cow = false);
            self.reprotect(own);
            return Ok(());
        }
        let chunk = intersect(&range, &around(page, CHUNK));
        let (piece, new) = self.take_memory(page, chunk)?;
        let len = piece.end - piece.start;
        let old = offset_of(piece.start);
        if let Err(error) = self.memory.copy_pages(old, new, len) {
            self.memory.decref(new, len);
            return Err(error.into());
        }
        self.segs.remove(piece.clone());
        self.orders.frees.push((old, len));
        self.add_own_seg(piece.clone(), new, seg.prot);
        if seg.host.is_some() {
            self.map_segs(piece);
        }
        Ok(())
    }

    /// Copies a chunk of a privately mapped file into memory. `chunk` is free of segments; `host` is
    /// what the stub maps there.
    fn break_file(
        &mut self,
        page: u64,
        chunk: Range<u64>,
        file: &Arc<dyn Mappable>,
        offset: u64,
        prot: i32,
        host: Option<i32>,
    ) -> Result<(), Refusal> {
        let (piece, memory) = self.take_memory(page, chunk.clone())?;
        let len = piece.end - piece.start;
        let filled = self.fill_from_file(file, offset + (piece.start - chunk.start), memory, len);
        let valid = match filled {
            Ok(bytes) => bytes.next_multiple_of(PAGE_SIZE).min(len),
            Err(_) => 0,
        };
        if valid < len {
            self.memory.decref(memory + valid, len - valid);
        }
        if valid > 0 {
            let got = piece.start..piece.start + valid;
            self.add_own_seg(got.clone(), memory, prot);
            if host.is_some() {
                self.map_segs(got);
            }
        }
        if page < piece.start + valid {
            Ok(())
        } else {
            Err(Refusal::PastEnd)
        }
    }

    /// Reads `len` bytes of a file into the memory file; how many there were.
    fn fill_from_file(
        &self,
        file: &Arc<dyn Mappable>,
        offset: u64,
        memory: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        let mut done = 0;
        // A file in memory may be in many pieces.
        while done < len {
            match file.backing(offset + done, len - done) {
                Ok(MapBacking::Host { fd, offset }) => {
                    let left = len - done;
                    return Ok(done + self.memory.read_file(fd, offset, memory + done, left)?);
                }
                Ok(MapBacking::Memory { offset, len: have }) => {
                    let have = have.min(len - done) / PAGE_SIZE * PAGE_SIZE;
                    if have == 0 {
                        break;
                    }
                    self.memory.copy_pages(offset, memory + done, have)?;
                    done += have;
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Maps what is likely touched next: everything after a fork, or the newest mappings.
    fn map_along(&mut self) {
        if std::mem::take(&mut self.fresh) {
            let unmapped: Vec<Range<u64>> = self
                .segs
                .iter()
                .filter(|(_, seg)| seg.host.is_none() && seg.readable())
                .map(|(range, _)| range)
                .take(FRESH_SEGMENTS)
                .collect();
            unmapped.into_iter().for_each(|range| self.map_segs(range));
        }
        for start in std::mem::take(&mut self.pending) {
            let Some((range, vma)) = self.vmas.find(start) else {
                continue;
            };
            let wanted = vma.prot != libc::PROT_NONE
                && range.start == start
                && (vma.file.is_some() || range.end - start <= ALONG);
            if !wanted || self.segs.find(start).is_some() {
                continue;
            }
            let vma = vma.clone();
            if self.populate(start, range, &vma, false).is_ok()
                && let Some((range, _)) = self.segs.find(start)
            {
                self.map_segs(range);
            }
        }
    }
}

/// True if an order makes the stub map `page` anew.
fn order_covers(order: &super::state::Order, page: u64) -> bool {
    use super::state::Order;
    match order {
        Order::Map(range, _) | Order::MapFilled(range, _) | Order::Protect(range, _) => {
            range.contains(&page)
        }
        Order::Unmap(_) => false,
    }
}
