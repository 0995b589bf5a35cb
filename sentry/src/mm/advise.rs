//! madvise, msync, mincore and the mlock family.

use std::ops::Range;

use sentry_abi::Errno;

use super::manager::{MemLimit, MemoryManager};
use super::map::call_range;
use super::state::{Back, State, intersect};
use super::vma::VmaFlags;
use super::{MapBacking, PAGE_SIZE};

/// Least memory that is given back by punching it out where it is, instead of unmapping it.
const PUNCH_MIN: u64 = 64 << 10;
const MADV_POPULATE_READ: i32 = 22;
const MADV_POPULATE_WRITE: i32 = 23;
const MADV_DONTNEED_LOCKED: i32 = 24;
const MADV_COLLAPSE: i32 = 25;

impl MemoryManager {
    /// madvise(2).
    ///
    /// # Errors
    /// EINVAL (unaligned, unknown advice, not for that mapping), ENOMEM (a hole in the range: what is
    /// mapped has been advised).
    pub fn madvise(&self, addr: u64, len: u64, advice: i32) -> Result<(), Errno> {
        let range = call_range(addr, len).map_err(|_| Errno::EINVAL)?;
        if range.is_empty() {
            return check_advice(advice);
        }
        let mut state = self.state.write();
        let parts: Vec<_> = state
            .vmas
            .iter_in(range.clone())
            .map(|(part, vma)| (intersect(&part, &range), vma.clone()))
            .collect();
        let holes = !state.vmas.holes(range.clone()).is_empty();
        let flag = |state: &mut State, change: fn(&mut VmaFlags)| {
            state
                .vmas
                .update(range.clone(), |_, vma| change(&mut vma.flags));
        };
        match advice {
            libc::MADV_DONTNEED | MADV_DONTNEED_LOCKED | libc::MADV_FREE => {
                let force = advice == MADV_DONTNEED_LOCKED;
                for (part, vma) in &parts {
                    let anonymous_only = advice == libc::MADV_FREE;
                    if (vma.flags.locked && !force) || (anonymous_only && !vma.is_own_memory()) {
                        self.commit(&mut state)?;
                        return Err(Errno::EINVAL);
                    }
                    if !vma.flags.shared {
                        state.discard(part.clone());
                    }
                }
            }
            libc::MADV_REMOVE => {
                for (part, vma) in &parts {
                    if !vma.flags.shared || vma.max_prot & libc::PROT_WRITE == 0 {
                        return Err(Errno::EINVAL);
                    }
                    state.remove_shared(part.clone())?;
                }
            }
            MADV_POPULATE_READ | MADV_POPULATE_WRITE => {
                let write = advice == MADV_POPULATE_WRITE;
                for (part, _) in parts {
                    self.populate_range(&mut state, part, write);
                }
            }
            libc::MADV_DONTFORK => flag(&mut state, |flags| flags.dont_fork = true),
            libc::MADV_DOFORK => flag(&mut state, |flags| flags.dont_fork = false),
            libc::MADV_DONTDUMP => flag(&mut state, |flags| flags.dont_dump = true),
            libc::MADV_DODUMP => flag(&mut state, |flags| flags.dont_dump = false),
            libc::MADV_WIPEONFORK => {
                if !parts.iter().all(|(_, vma)| vma.is_own_memory()) {
                    return Err(Errno::EINVAL);
                }
                flag(&mut state, |flags| flags.wipe_on_fork = true);
            }
            libc::MADV_KEEPONFORK => flag(&mut state, |flags| flags.wipe_on_fork = false),
            other => check_advice(other)?,
        }
        self.commit(&mut state)?;
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// msync(2).
    ///
    /// # Errors
    /// EINVAL (unaligned, unknown flags), ENOMEM (a hole in the range), EBUSY (MS_INVALIDATE of locked
    /// memory), EIO.
    pub fn msync(&self, addr: u64, len: u64, flags: i32) -> Result<(), Errno> {
        let known = libc::MS_ASYNC | libc::MS_SYNC | libc::MS_INVALIDATE;
        let both = libc::MS_ASYNC | libc::MS_SYNC;
        if flags & !known != 0 || flags & both == both {
            return Err(Errno::EINVAL);
        }
        // A length within a page of 2^64 is 0 once it is aligned: nothing to do.
        let aligned = len.wrapping_add(PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
        let range = call_range(addr, aligned)?;
        if range.is_empty() {
            return Ok(());
        }
        let mut files = Vec::new();
        {
            let state = self.state.read_recursive();
            if !state.vmas.holes(range.clone()).is_empty() {
                return Err(Errno::ENOMEM);
            }
            for (part, vma) in state.vmas.iter_in(range.clone()) {
                if vma.flags.locked && flags & libc::MS_INVALIDATE != 0 {
                    return Err(Errno::EBUSY);
                }
                if let Some((file, offset)) = vma.file.as_ref().filter(|_| vma.flags.shared) {
                    files.push((std::sync::Arc::clone(file), *offset, part.end - part.start));
                }
            }
        }
        if flags & libc::MS_SYNC != 0 {
            for (file, offset, len) in files {
                if let Ok(MapBacking::Host { fd, .. }) = file.backing(offset, len) {
                    nix::unistd::fdatasync(fd).map_err(|error| Errno(error as i32))?;
                }
            }
        }
        Ok(())
    }

    /// mincore(2): one byte a page, bit 0 set if it is in memory.
    ///
    /// # Errors
    /// EINVAL (unaligned), ENOMEM (a hole in the range).
    pub fn mincore(&self, addr: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let range = call_range(addr, len)?;
        if range.end > self.range.end {
            return Err(Errno::ENOMEM);
        }
        let state = self.state.read_recursive();
        if !state.vmas.holes(range.clone()).is_empty() {
            return Err(Errno::ENOMEM);
        }
        let mut pages = vec![0; ((range.end - range.start) / PAGE_SIZE) as usize];
        for (part, seg) in state.segs.iter_in(range.clone()) {
            let clipped = intersect(&part, &range);
            let index = |at: u64| ((at - range.start) / PAGE_SIZE) as usize;
            match seg.back {
                Back::File(..) => pages[index(clipped.start)..index(clipped.end)].fill(1),
                Back::Memory(base) => {
                    let offset = |at: u64| base + (at - part.start);
                    let wanted = offset(clipped.start)..offset(clipped.end);
                    for run in self.memory.resident_runs(wanted) {
                        let at = part.start + (run.start - base);
                        let end = at + (run.end - run.start);
                        pages[index(at)..index(end)].fill(1);
                    }
                }
            }
        }
        Ok(pages)
    }

    /// mlock(2), mlock2(2): guest memory is never swapped by us; the pages are made present unless
    /// `on_fault`.
    ///
    /// # Errors
    /// ENOMEM (a hole in the range, over RLIMIT_MEMLOCK), EPERM (RLIMIT_MEMLOCK is 0).
    pub fn mlock(
        &self,
        addr: u64,
        len: u64,
        on_fault: bool,
        privileged: bool,
    ) -> Result<(), Errno> {
        let Some(range) = lock_range(addr, len) else {
            // Beyond any limit, before it is looked at whether it wraps.
            return Err(if privileged {
                Errno::EINVAL
            } else {
                Errno::ENOMEM
            });
        };
        let (start, end) = (range.start, range.end);
        let mut state = self.state.write();
        let limit = self.limit(MemLimit::Locked);
        if !privileged {
            if limit == 0 {
                return Err(Errno::EPERM);
            }
            let already: u64 = state
                .vmas
                .iter_in(range.clone())
                .filter(|(_, vma)| vma.flags.locked)
                .map(|(part, _)| {
                    let part = intersect(&part, &range);
                    part.end - part.start
                })
                .sum();
            if state.locked_size() - already + (end - start) > limit {
                return Err(Errno::ENOMEM);
            }
        }
        let holes = !state.vmas.holes(range.clone()).is_empty();
        state
            .vmas
            .update(range.clone(), |_, vma| vma.flags.locked = true);
        if !on_fault {
            let parts: Vec<_> = state
                .vmas
                .iter_in(range.clone())
                .map(|(part, vma)| (intersect(&part, &range), vma.prot & libc::PROT_WRITE != 0))
                .collect();
            for (part, write) in parts {
                self.populate_range(&mut state, part, write);
            }
        }
        self.commit(&mut state)?;
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// munlock(2).
    ///
    /// # Errors
    /// ENOMEM (a hole in the range).
    pub fn munlock(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let range = lock_range(addr, len).ok_or(Errno::EINVAL)?;
        let mut state = self.state.write();
        state
            .vmas
            .update(range.clone(), |_, vma| vma.flags.locked = false);
        let holes = !state.vmas.holes(range).is_empty();
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// munlockall(2), and mlockall(2) of what is mapped.
    ///
    /// # Errors
    /// ENOMEM if it would exceed RLIMIT_MEMLOCK.
    pub fn lock_all(&self, lock: bool, privileged: bool) -> Result<(), Errno> {
        let mut state = self.state.write();
        if lock && !privileged && state.size > self.limit(MemLimit::Locked) {
            return Err(Errno::ENOMEM);
        }
        let all = self.range.clone();
        state.vmas.update(all, |_, vma| vma.flags.locked = lock);
        Ok(())
    }
}

/// The pages that mlock and munlock mean; `None` if they wrap. As in Linux, a length that
/// page-aligning makes 0 means none (`do_mlock`).
fn lock_range(addr: u64, len: u64) -> Option<Range<u64>> {
    let start = addr / PAGE_SIZE * PAGE_SIZE;
    let len = len.wrapping_add(addr - start).wrapping_add(PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    Some(start..start.checked_add(len)?)
}

/// Advice that changes nothing here.
fn check_advice(advice: i32) -> Result<(), Errno> {
    match advice {
        libc::MADV_NORMAL
        | libc::MADV_RANDOM
        | libc::MADV_SEQUENTIAL
        | libc::MADV_WILLNEED
        | libc::MADV_DONTNEED
        | libc::MADV_FREE
        | libc::MADV_REMOVE
        | libc::MADV_DONTFORK
        | libc::MADV_DOFORK
        | libc::MADV_MERGEABLE
        | libc::MADV_UNMERGEABLE
        | libc::MADV_HUGEPAGE
        | libc::MADV_NOHUGEPAGE
        | libc::MADV_DONTDUMP
        | libc::MADV_DODUMP
        | libc::MADV_WIPEONFORK
        | libc::MADV_KEEPONFORK
        | libc::MADV_COLD
        | libc::MADV_PAGEOUT
        | MADV_POPULATE_READ
        | MADV_POPULATE_WRITE
        | MADV_DONTNEED_LOCKED
        | MADV_COLLAPSE => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

impl State {
    /// Private pages start over. Large pieces of memory that nobody shares are emptied where they
    /// are: the stub keeps its mapping, and no order is needed.
    fn discard(&mut self, range: Range<u64>) {
        let parts: Vec<_> = self
            .segs
            .iter_in(range.clone())
            .map(|(part, seg)| (part, seg.clone()))
            .collect();
        for (part, seg) in parts {
            let clipped = intersect(&part, &range);
            let len = clipped.end - clipped.start;
            if let Back::Memory(base) = seg.back
                && !self.is_from_file(clipped.start)
                && len >= PUNCH_MIN
            {
                let offset = base + (clipped.start - part.start);
                let sole = self.memory.sole_run(offset, offset..offset + len);
                if sole == Some(offset..offset + len) && self.memory.discard(offset, len).is_ok() {
                    continue;
                }
            }
            self.drop_segs(clipped);
        }
    }

    /// True if untouched pages at `addr` hold a file's contents.
    fn is_from_file(&self, addr: u64) -> bool {
        self.vmas
            .find(addr)
            .is_some_and(|(_, vma)| vma.file.is_some())
    }

    /// MADV_REMOVE: zeroes shared memory for all who map it.
    fn remove_shared(&mut self, range: Range<u64>) -> Result<(), Errno> {
        let Some((found, vma)) = self.vmas.find(range.start) else {
            return Err(Errno::ENOMEM);
        };
        let Some((file, offset)) = &vma.file else {
            return Err(Errno::EINVAL);
        };
        let offset = offset + (range.start - found.start);
        let len = range.end - range.start;
        match file.backing(offset, len)? {
            MapBacking::Memory { offset, len: have } if have >= len => {
                self.memory.discard(offset, len)
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}
