//! mmap, munmap, mprotect and brk.

use std::ops::Range;
use std::sync::Arc;

use sentry_abi::Errno;

use super::fault::STACK_GUARD;
use super::manager::{MemLimit, MemoryManager};
use super::memory_file::page_up;
use super::shared::SharedMemory;
use super::state::State;
use super::vma::{MmapRequest, PROT_ALL, Purpose, Vma, VmaFlags};
use super::{Mappable, PAGE_SIZE};
use crate::platform::Access;

/// What is mapped, from which offset.
type FileAt = (Arc<dyn Mappable>, u64);

/// Mappings that an address space may have (Linux's vm.max_map_count).
const MAX_VMAS: usize = 65_530;
/// New mappings remembered for the next fault.
const MAX_PENDING: usize = 16;
/// MAP_32BIT places below this.
const LOW_END: u64 = 1 << 31;

/// The page-aligned range of a call; `align` is what an unaligned address gives.
pub(super) fn call_range(addr: u64, len: u64) -> Result<Range<u64>, Errno> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let end = addr.checked_add(page_up(len)?).ok_or(Errno::ENOMEM)?;
    Ok(addr..end)
}

impl MemoryManager {
    /// mmap(2); the address of the new mapping.
    ///
    /// # Errors
    /// As mmap(2): EINVAL, ENOMEM, EEXIST, EPERM.
    pub fn mmap(&self, req: &MmapRequest) -> Result<u64, Errno> {
        if req.len == 0 {
            return Err(Errno::EINVAL);
        }
        let shared = match req.flags & libc::MAP_TYPE {
            libc::MAP_PRIVATE => false,
            libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => true,
            _ => return Err(Errno::EINVAL),
        };
        let len = page_up(req.len)?;
        if let Some((_, offset)) = &req.file {
            if !offset.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            offset
                .checked_add(len)
                .filter(|&end| end <= i64::MAX as u64)
                .ok_or(Errno::EOVERFLOW)?;
        }
        let prot = req.prot & PROT_ALL;
        if prot & !req.max_prot != 0 {
            return Err(Errno::EACCES);
        }
        let file = self.mapped_file(req, shared, len)?;
        let vma = Vma {
            prot,
            max_prot: req.max_prot,
            flags: VmaFlags {
                shared,
                grows_down: req.flags & libc::MAP_GROWSDOWN != 0,
                locked: req.flags & libc::MAP_LOCKED != 0,
                no_reserve: req.flags & libc::MAP_NORESERVE != 0,
                ..VmaFlags::default()
            },
            file,
            purpose: req.purpose,
            path: req.path.clone(),
        };
        let mut state = self.state.write();
        let addr = self.place(&state, req, len)?;
        let range = addr..addr + len;
        self.check_limits(&state, &range, &vma)?;
        state.unmap(range.clone());
        state.add_vma(range.clone(), vma);
        if state.pending.len() < MAX_PENDING {
            state.pending.push(addr);
        }
        if req.flags & (libc::MAP_POPULATE | libc::MAP_LOCKED) != 0 {
            self.populate_range(&mut state, range, prot & libc::PROT_WRITE != 0);
        }
        self.commit(&mut state)?;
        Ok(addr)
    }

    /// What a mapping maps: the file, or shared memory of its own.
    fn mapped_file(
        &self,
        req: &MmapRequest,
        shared: bool,
        len: u64,
    ) -> Result<Option<FileAt>, Errno> {
        if req.file.is_some() || !shared {
            if let Some((file, _)) = &req.file {
                self.announce(file);
            }
            return Ok(req.file.clone());
        }
        let memory: Arc<dyn Mappable> = SharedMemory::new(&self.memory, len)?;
        Ok(Some((memory, 0)))
    }

    /// Backs and maps a range as far as it goes.
    pub(super) fn populate_range(&self, state: &mut State, range: Range<u64>, write: bool) {
        let access = if write { Access::Write } else { Access::Read };
        let mut at = range.start;
        while at < range.end {
            if state.guest_fault(at, access, 0).is_err() {
                break;
            }
            at = state.segs.find(at).map_or(range.end, |(seg, _)| seg.end);
        }
    }

    /// Where a mapping goes.
    fn place(&self, state: &State, req: &MmapRequest, len: u64) -> Result<u64, Errno> {
        let fixed = req.flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
        if len > self.range.end - self.range.start {
            return Err(Errno::ENOMEM);
        }
        if fixed {
            let range = call_range(req.addr, len)?;
            if range.start < self.range.start {
                return Err(Errno::EPERM);
            }
            if range.end > self.range.end {
                return Err(Errno::ENOMEM);
            }
            let noreplace = req.flags & libc::MAP_FIXED_NOREPLACE != 0;
            if noreplace && !state.vmas.is_free(range.clone()) {
                return Err(Errno::EEXIST);
            }
            return Ok(range.start);
        }
        let hint = req.addr.checked_next_multiple_of(PAGE_SIZE).unwrap_or(0);
        if hint != 0 && self.fits(state, hint, len) {
            return Ok(hint);
        }
        let low = req.flags & libc::MAP_32BIT != 0;
        let top = if low { LOW_END } else { state.mmap_top };
        self.find_hole(state, len, top)
            .or_else(|| {
                // Nothing below the stack's room: above is better than nowhere.
                (!low).then(|| self.find_hole(state, len, self.range.end))?
            })
            .ok_or(Errno::ENOMEM)
    }

    /// True if `len` bytes at `addr` are free (the room below a stack is not).
    pub(super) fn fits(&self, state: &State, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len).filter(|&end| end <= self.range.end) else {
            return false;
        };
        if addr < self.range.start || !state.vmas.is_free(addr..end) {
            return false;
        }
        state
            .vmas
            .find_or_next(end)
            .is_none_or(|(above, vma)| !vma.flags.grows_down || above.start - end >= STACK_GUARD)
    }

    /// The highest hole of `len` bytes below `top`.
    pub(super) fn find_hole(&self, state: &State, len: u64, top: u64) -> Option<u64> {
        let mut end = top.min(self.range.end);
        let usual = top == state.mmap_top;
        if usual {
            end = end.min(state.packed());
        }
        let mut packed = usual;
        if let Some((range, vma)) = state.vmas.find_or_next(end)
            && vma.flags.grows_down
        {
            end = end.min(range.start.saturating_sub(STACK_GUARD));
        }
        for (range, vma) in state.vmas.iter_down(end) {
            if range.end < end && end - range.end >= len {
                return Some(end - len);
            }
            let guard = if vma.flags.grows_down { STACK_GUARD } else { 0 };
            packed &= range.end >= end && guard == 0;
            end = end.min(range.start.saturating_sub(guard));
            if packed {
                state.note_packed(end);
            }
        }
        (end.saturating_sub(self.range.start) >= len).then(|| end - len)
    }

    /// RLIMIT_AS, RLIMIT_DATA and the number of mappings.
    pub(super) fn check_limits(
        &self,
        state: &State,
        range: &Range<u64>,
        vma: &Vma,
    ) -> Result<(), Errno> {
        if state.vmas.len() >= MAX_VMAS {
            return Err(Errno::ENOMEM);
        }
        let len = range.end - range.start;
        let limit = self.limit(MemLimit::AddressSpace);
        if limit != u64::MAX {
            let replaced: u64 = state.covered(range.clone());
            if state.size - replaced + len > limit {
                return Err(Errno::ENOMEM);
            }
        }
        let limit = self.limit(MemLimit::Data);
        if limit != u64::MAX && vma.is_data() && state.data_size() + len > limit {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// munmap(2).
    ///
    /// # Errors
    /// EINVAL (unaligned, empty, outside the address space).
    pub fn munmap(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let range = call_range(addr, len).map_err(|_| Errno::EINVAL)?;
        if range.is_empty() || range.end > self.range.end {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.write();
        if state.vmas.len() >= MAX_VMAS {
            let splits = state
                .vmas
                .find(range.start)
                .is_some_and(|(vma, _)| vma.start < range.start && vma.end > range.end);
            if splits {
                return Err(Errno::ENOMEM);
            }
        }
        state.unmap(range);
        self.commit(&mut state)
    }

    /// mprotect(2).
    ///
    /// # Errors
    /// EINVAL (unaligned), ENOMEM (a hole in the range, too many mappings), EACCES (the file was not
    /// opened for that).
    pub fn mprotect(&self, addr: u64, len: u64, prot: i32) -> Result<(), Errno> {
        const GROWS: i32 = libc::PROT_GROWSDOWN | libc::PROT_GROWSUP;
        if prot & GROWS == GROWS || prot & !(PROT_ALL | GROWS | 0x8) != 0 {
            return Err(Errno::EINVAL);
        }
        let mut range = call_range(addr, len)?;
        if range.is_empty() {
            return Ok(());
        }
        let mut state = self.state.write();
        if prot & libc::PROT_GROWSDOWN != 0 {
            let (found, vma) = state.vmas.find(range.start).ok_or(Errno::ENOMEM)?;
            if !vma.flags.grows_down {
                return Err(Errno::EINVAL);
            }
            range.start = found.start;
        }
        if state.vmas.len() >= MAX_VMAS - 1 {
            return Err(Errno::ENOMEM);
        }
        let prot = prot & PROT_ALL;
        // Linux changes what comes before a refusal, and so do we.
        let (done, refusal) = state.protectable(range, prot);
        state.vmas.update(done.clone(), |_, vma| vma.prot = prot);
        state.segs.update(done.clone(), |_, seg| seg.prot = prot);
        state.reprotect(done);
        let committed = self.commit(&mut state);
        refusal.map_or(committed, Err)
    }

    /// Sets the start of the heap (exec).
    pub fn set_heap_start(&self, addr: u64) {
        let mut state = self.state.write();
        state.heap.start = addr;
        state.heap.end = addr;
    }

    /// brk(2): moves the end of the heap to `addr` if that can be; where it is then.
    pub fn brk(&self, addr: u64) -> u64 {
        let mut state = self.state.write();
        let heap = state.heap;
        let (Ok(old), Ok(new)) = (page_up(heap.end), page_up(addr)) else {
            return heap.end;
        };
        if addr < heap.start || new > self.range.end {
            return heap.end;
        }
        if addr - heap.start > self.limit(MemLimit::Data) {
            return heap.end;
        }
        if new < old {
            state.unmap(new..old);
        } else if new > old && self.grow_heap(&mut state, old..new).is_err() {
            return heap.end;
        }
        state.heap.end = addr;
        // The stub is gone if this fails; the task learns it when it runs again.
        let _ = self.commit(&mut state);
        addr
    }

    fn grow_heap(&self, state: &mut State, range: Range<u64>) -> Result<(), Errno> {
        let vma = Vma {
            prot: libc::PROT_READ | libc::PROT_WRITE,
            max_prot: PROT_ALL,
            flags: VmaFlags::default(),
            file: None,
            purpose: Purpose::Heap,
            path: None,
        };
        if !self.fits(state, range.start, range.end - range.start) {
            return Err(Errno::ENOMEM);
        }
        self.check_limits(state, &range, &vma)?;
        state.add_vma(range, vma);
        Ok(())
    }
}

impl State {
    /// Bytes of `range` that VMAs cover.
    pub(super) fn covered(&self, range: Range<u64>) -> u64 {
        self.vmas
            .iter_in(range.clone())
            .map(|(r, _)| r.end.min(range.end) - r.start.max(range.start))
            .sum()
    }

    /// Bytes that RLIMIT_DATA counts.
    pub(super) fn data_size(&self) -> u64 {
        self.vmas
            .iter()
            .filter(|(_, vma)| vma.is_data())
            .map(|(r, _)| r.end - r.start)
            .sum()
    }

    /// How far `range` can get `prot`, and why not further.
    fn protectable(&self, range: Range<u64>, prot: i32) -> (Range<u64>, Option<Errno>) {
        let mut at = range.start;
        for (found, vma) in self.vmas.iter_in(range.clone()) {
            if found.start > at {
                break;
            }
            if prot & !vma.max_prot != 0 {
                return (range.start..at, Some(Errno::EACCES));
            }
            at = found.end.min(range.end);
        }
        let refusal = (at < range.end).then_some(Errno::ENOMEM);
        (range.start..at, refusal)
    }
}
