//! The sandbox's memory: one sparse memfd, mapped once, linearly, in the Sentry.
//!
//! Ranges of it are allocated (contiguous, page-aligned, zeroed) and counted; a range whose count
//! falls to zero is punched out, in batches, before it is handed out again. Offsets are plentiful
//! (the file is sparse), memory is what guests touch.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use super::extents::Extents;
use super::range_map::{Piece, RangeMap};
use super::shared::SharedMemory;
use super::{PAGE_SIZE, guest_copy, sys};

/// Sizes to try for the file, largest first (the host may limit the Sentry's address space).
const CAPACITIES: [u64; 3] = [1 << 42, 1 << 38, 1 << 34];
/// Freed bytes that may wait to be punched out.
const DIRTY_BYTES: u64 = 4 << 20;
/// Freed ranges that may wait to be punched out.
const DIRTY_RANGES: usize = 64;
/// Largest alignment that allocations get.
const HUGE: u64 = 2 << 20;

/// How often a range is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refs(u32);

impl Piece for Refs {
    fn tail(&self, _: u64) -> Self {
        *self
    }
    fn joins(&self, _: u64, next: &Self) -> bool {
        self == next
    }
}

struct Inner {
    refs: RangeMap<Refs>,
    extents: Extents,
    dirty: Vec<Range<u64>>,
    dirty_bytes: u64,
    allocated: u64,
}

/// The memory of all guests of a sandbox. Its lock is innermost in this module.
pub struct MemoryFile {
    fd: OwnedFd,
    map: sys::Mapping,
    inner: Mutex<Inner>,
    limit: AtomicU64,
    vdso: Mutex<Weak<SharedMemory>>,
}

impl MemoryFile {
    /// A new, empty memory file.
    ///
    /// # Errors
    /// The host's, if it gives no memfd or no address space.
    pub fn new() -> io::Result<Arc<Self>> {
        guest_copy::install_fault_handler();
        let mut last = io::Error::from(io::ErrorKind::OutOfMemory);
        for capacity in CAPACITIES {
            let made = sys::memory_file(capacity).and_then(|fd| {
                let map = sys::Mapping::new(fd.as_fd(), 0, capacity as usize, true)?;
                Ok((fd, map))
            });
            match made {
                Ok((fd, map)) => {
                    map.exclude_from_dumps();
                    return Ok(Arc::new(Self::with(fd, map, capacity)));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn with(fd: OwnedFd, map: sys::Mapping, capacity: u64) -> Self {
        Self {
            fd,
            map,
            inner: Mutex::new(Inner {
                refs: RangeMap::default(),
                extents: Extents::new(capacity),
                dirty: Vec::new(),
                dirty_bytes: 0,
                allocated: 0,
            }),
            limit: AtomicU64::new(u64::MAX),
            vdso: Mutex::new(Weak::new()),
        }
    }

    /// The descriptor, for the platform to map from.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The pages of the sandbox's vDSO, while a guest maps them (`loader::vdso`).
    pub(crate) fn vdso_slot(&self) -> parking_lot::MutexGuard<'_, Weak<SharedMemory>> {
        self.vdso.lock()
    }

    /// Bytes that may be resident before [`MemoryFile::allocate`] refuses. The host's memory cgroup
    /// is the exact limit; this one answers ENOMEM before the host kills.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Whether the limit is reached, also when what was freed has been given back.
    pub fn at_limit(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let reached = || limit != u64::MAX && self.resident() >= limit;
        reached() && {
            self.flush();
            reached()
        }
    }

    /// Allocates `len` bytes (rounded up to pages), zeroed, with a count of one; the offset.
    ///
    /// # Errors
    /// ENOMEM if the limit is reached or no range is left.
    pub fn allocate(&self, len: u64) -> Result<u64, Errno> {
        let len = page_up(len)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        if self.at_limit() {
            return Err(Errno::ENOMEM);
        }
        let align = if len >= HUGE { HUGE } else { PAGE_SIZE };
        let mut inner = self.inner.lock();
        let offset = inner.extents.take(len, align).ok_or(Errno::ENOMEM)?;
        inner.refs.insert(offset..offset + len, Refs(1));
        inner.allocated += len;
        Ok(offset)
    }

    /// Counts one more reference to an allocated range.
    pub fn incref(&self, offset: u64, len: u64) {
        let mut inner = self.inner.lock();
        inner
            .refs
            .update(offset..offset + len, |_, refs| refs.0 += 1);
    }

    /// [`MemoryFile::incref`] of several ranges (offset, length).
    pub(super) fn incref_all(&self, ranges: &[(u64, u64)]) {
        let mut inner = self.inner.lock();
        for &(offset, len) in ranges {
            inner
                .refs
                .update(offset..offset + len, |_, refs| refs.0 += 1);
        }
    }

    /// Takes a reference back. What nobody refers to any more is freed: no mapping of it may be left.
    pub fn decref(&self, offset: u64, len: u64) {
        self.drop_refs(offset..offset + len, true);
    }

    /// As [`MemoryFile::decref`], for a range that was never touched (it need not be punched out).
    pub(super) fn release_untouched(&self, offset: u64, len: u64) {
        self.drop_refs(offset..offset + len, false);
    }

    fn drop_refs(&self, range: Range<u64>, touched: bool) {
        let mut inner = self.inner.lock();
        let mut dead = Vec::new();
        inner.refs.update(range, |part, refs| {
            refs.0 = refs.0.saturating_sub(1);
            if refs.0 == 0 {
                dead.push(part);
            }
        });
        for part in dead {
            inner.refs.remove(part.clone());
            let len = part.end - part.start;
            inner.allocated -= len;
            if touched {
                inner.dirty_bytes += len;
                inner.dirty.push(part);
            } else {
                inner.extents.give(part);
            }
        }
        let full = inner.dirty_bytes > DIRTY_BYTES || inner.dirty.len() > DIRTY_RANGES;
        drop(inner);
        if full {
            self.flush();
        }
    }

    /// Punches out what has been freed, and makes it available again.
    pub fn flush(&self) {
        let mut dirty = {
            let mut inner = self.inner.lock();
            inner.dirty_bytes = 0;
            std::mem::take(&mut inner.dirty)
        };
        dirty.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(dirty.len());
        for range in dirty {
            match merged.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => merged.push(range),
            }
        }
        for range in merged {
            // A range that cannot be punched would hand out old contents: it is lost instead.
            if sys::punch(self.fd(), range.start, range.end - range.start).is_ok() {
                self.inner.lock().extents.give(range);
            }
        }
    }

    /// Zeroes a range of pages in place by giving their memory back; mappings of it stay.
    ///
    /// # Errors
    /// The host's.
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), Errno> {
        Ok(sys::punch(self.fd(), offset, len)?)
    }

    /// The largest part of `within` around `at` that has exactly one reference.
    pub(super) fn sole_run(&self, at: u64, within: Range<u64>) -> Option<Range<u64>> {
        let inner = self.inner.lock();
        let (found, refs) = inner.refs.find(at)?;
        (refs.0 == 1).then(|| found.start.max(within.start)..found.end.min(within.end))
    }

    /// Reads into `buffer`; how many bytes came.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        guest_copy::read(&self.map, offset, buffer)
    }

    /// Writes `bytes`; how many went in (short if the host has no memory).
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> usize {
        guest_copy::write(&self.map, offset, bytes)
    }

    /// Copies the resident pages of one range over another (holes stay holes: the target must read
    /// as zeros there).
    pub(super) fn copy_pages(&self, from: u64, to: u64, len: u64) -> Result<(), Errno> {
        for run in self.resident_runs(from..from + len) {
            let n = (run.end - run.start) as usize;
            let done = guest_copy::copy(&self.map, run.start, to + (run.start - from), n);
            if done < n {
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }

    /// Writes zeros over a range of nothing but holes, so that the host has its pages; false if it holds
    /// something, or there is no room. Nobody else may use the range meanwhile.
    pub(super) fn fill_untouched(&self, offset: u64, len: u64) -> bool {
        sys::is_hole(self.fd(), offset, len) && sys::write_zeros(self.fd(), offset, len).is_ok()
    }

    /// Reads a host file into a range; how many bytes there were.
    pub(super) fn read_file(
        &self,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        offset: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        Ok(sys::read_file(fd, file_offset, &self.map, offset, len as usize)? as u64)
    }

    /// The parts of a range that hold data. Asked of the file and not of the page tables: what the host
    /// has swapped out is data too.
    pub(super) fn resident_runs(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let mut at = range.start;
        while let Some(run) = sys::next_data(self.fd.as_fd(), at) {
            if run.start >= range.end {
                break;
            }
            let end = run.end.min(range.end);
            runs.push(run.start..end);
            at = end;
            if at >= range.end {
                break;
            }
        }
        runs
    }

    /// Loads an aligned word.
    pub(crate) fn load32(&self, offset: u64) -> Option<u32> {
        guest_copy::load32(&self.map, offset)
    }

    /// Compares and exchanges an aligned word; what was there.
    pub(crate) fn cas32(&self, offset: u64, expected: u32, new: u32) -> Option<u32> {
        guest_copy::cas32(&self.map, offset, expected, new)
    }

    /// The Sentry's address of a range, for host I/O; `None` outside the file.
    #[inline]
    pub(super) fn host_address(&self, offset: u64, len: usize) -> Option<*mut u8> {
        self.map.at(offset, len)
    }

    /// Bytes allocated (offsets, touched or not).
    pub fn allocated(&self) -> u64 {
        self.inner.lock().allocated
    }

    /// Bytes of host memory that the file holds now.
    pub fn resident(&self) -> u64 {
        nix::sys::stat::fstat(&self.fd).map_or(0, |stat| stat.st_blocks as u64 * 512)
    }
}

/// `len` rounded up to pages.
pub(super) fn page_up(len: u64) -> Result<u64, Errno> {
    len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_memory_comes_back_zeroed_and_counted() {
        let file = MemoryFile::new().unwrap();
        let a = file.allocate(1).unwrap();
        assert_eq!(file.write_at(a, b"secret"), 6);
        assert_eq!(file.allocated(), PAGE_SIZE);
        file.incref(a, PAGE_SIZE);
        assert_eq!(file.sole_run(a, 0..u64::MAX), None);
        file.decref(a, PAGE_SIZE);
        assert_eq!(file.sole_run(a, 0..u64::MAX), Some(a..a + PAGE_SIZE));
        file.decref(a, PAGE_SIZE);
        assert_eq!(file.allocated(), 0);
        file.flush();
        assert_eq!(file.resident(), 0);
        let b = file.allocate(PAGE_SIZE).unwrap();
        assert_eq!(b, a);
        let mut bytes = [1; 6];
        assert_eq!(file.read_at(b, &mut bytes), 6);
        assert_eq!(bytes, [0; 6]);
    }

    #[test]
    fn only_resident_pages_are_copied() {
        let file = MemoryFile::new().unwrap();
        let a = file.allocate(8 * PAGE_SIZE).unwrap();
        let b = file.allocate(8 * PAGE_SIZE).unwrap();
        file.write_at(a + 3 * PAGE_SIZE, b"x");
        file.copy_pages(a, b, 8 * PAGE_SIZE).unwrap();
        assert_eq!(file.resident(), 2 * PAGE_SIZE);
        let mut byte = [0];
        file.read_at(b + 3 * PAGE_SIZE, &mut byte);
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_limit_refuses_what_would_exceed_it() {
        let file = MemoryFile::new().unwrap();
        file.set_limit(2 * PAGE_SIZE);
        let a = file.allocate(4 * PAGE_SIZE).unwrap();
        file.write_at(a, &[1; 2 * 4096]);
        assert_eq!(file.allocate(1), Err(Errno::ENOMEM));
        file.decref(a, 4 * PAGE_SIZE);
        assert!(file.allocate(1).is_ok());
    }
}
