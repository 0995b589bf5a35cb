//! mremap.

use std::ops::Range;

use sentry_abi::Errno;

use super::manager::{MemLimit, MemoryManager};
use super::map::call_range;
use super::memory_file::page_up;
use super::range_map::Piece;
use super::state::{Order, State};
use super::vma::Vma;

impl MemoryManager {
    /// mremap(2); where the mapping is then.
    ///
    /// # Errors
    /// As mremap(2): EINVAL, EFAULT, ENOMEM.
    pub fn mremap(
        &self,
        old_addr: u64,
        old_len: u64,
        new_len: u64,
        flags: i32,
        new_addr: u64,
    ) -> Result<u64, Errno> {
        const KNOWN: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
        let may_move = flags & libc::MREMAP_MAYMOVE != 0;
        let fixed = flags & libc::MREMAP_FIXED != 0;
        let keep = flags & libc::MREMAP_DONTUNMAP != 0;
        let old = call_range(old_addr, old_len).map_err(|_| Errno::EINVAL)?;
        let old_len = old.end - old.start;
        let new_len = page_up(new_len).map_err(|_| Errno::EINVAL)?;
        if flags & !KNOWN != 0
            || new_len == 0
            || ((fixed || keep) && !may_move)
            || (keep && old_len != new_len)
        {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.write();
        let (range, vma) = state.vmas.find(old.start).ok_or(Errno::EFAULT)?;
        let (range, vma) = (range, vma.clone());
        let target = match fixed {
            true => Some(self.fixed_target(&old, new_addr, new_len)?),
            false => None,
        };
        if old_len == 0 {
            // A second mapping of the same shared memory.
            if !vma.flags.shared || !may_move {
                return Err(Errno::EINVAL);
            }
            return self.duplicate(&mut state, old.start - range.start, &vma, new_len, target);
        }
        if target.is_none() && !keep && new_len <= old_len {
            state.unmap(old.start + new_len..old.end);
            self.commit(&mut state)?;
            return Ok(old.start);
        }
        if old.end > range.end {
            return Err(Errno::EFAULT);
        }
        if new_len > old_len {
            self.check_growth(&state, &old, new_len, &vma)?;
        }
        if target.is_none() && !keep && self.grow_in_place(&mut state, &old, &range, new_len, &vma)
        {
            self.commit(&mut state)?;
            return Ok(old.start);
        }
        if !may_move {
            return Err(Errno::ENOMEM);
        }
        let top = state.mmap_top;
        let to = match target {
            Some(to) => to,
            None => self.find_hole(&state, new_len, top).ok_or(Errno::ENOMEM)?,
        };
        state.unmap(to..to + new_len);
        state.move_range(old.clone(), &range, to, new_len, vma, keep);
        self.commit(&mut state)?;
        Ok(to)
    }

    fn fixed_target(&self, old: &Range<u64>, addr: u64, len: u64) -> Result<u64, Errno> {
        let new = call_range(addr, len).map_err(|_| Errno::EINVAL)?;
        let overlaps = new.start < old.end && old.start < new.end;
        if overlaps || new.start < self.range.start || new.end > self.range.end {
            return Err(Errno::EINVAL);
        }
        Ok(new.start)
    }

    fn duplicate(
        &self,
        state: &mut State,
        delta: u64,
        vma: &Vma,
        len: u64,
        target: Option<u64>,
    ) -> Result<u64, Errno> {
        let top = state.mmap_top;
        let to = match target {
            Some(to) => to,
            None => self.find_hole(state, len, top).ok_or(Errno::ENOMEM)?,
        };
        let copy = vma.tail(delta);
        self.check_limits(state, &(to..to + len), &copy)?;
        state.unmap(to..to + len);
        state.add_vma(to..to + len, copy);
        self.commit(state)?;
        Ok(to)
    }

    fn check_growth(
        &self,
        state: &State,
        old: &Range<u64>,
        new_len: u64,
        vma: &Vma,
    ) -> Result<(), Errno> {
        let grown = old.end..old.start + new_len;
        self.check_limits(state, &grown, vma)?;
        let len = grown.end - grown.start;
        let locked = self.limit(MemLimit::Locked);
        if vma.flags.locked && state.locked_size() + len > locked {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// Extends a mapping whose end the caller names, if what follows is free.
    fn grow_in_place(
        &self,
        state: &mut State,
        old: &Range<u64>,
        range: &Range<u64>,
        new_len: u64,
        vma: &Vma,
    ) -> bool {
        let Some(end) = old.start.checked_add(new_len) else {
            return false;
        };
        if old.end != range.end || !self.fits(state, old.end, end - old.end) {
            return false;
        }
        let tail = vma.tail(old.end - range.start);
        state.add_vma(old.end..end, tail);
        true
    }
}

impl State {
    /// Moves a part of a VMA with what backs it; `to..to + new_len` is free. `keep`: the old mapping
    /// stays, empty.
    fn move_range(
        &mut self,
        old: Range<u64>,
        range: &Range<u64>,
        to: u64,
        new_len: u64,
        vma: Vma,
        keep: bool,
    ) {
        let moved = vma.tail(old.start - range.start);
        let kept = old.start..old.end.min(old.start + new_len);
        let mut mapped: Option<Range<u64>> = None;
        let segs = self.segs.remove(kept.clone());
        for (part, seg) in &segs {
            if seg.host.is_some() {
                let start = mapped.as_ref().map_or(part.start, |m| m.start);
                mapped = Some(start..part.end);
            }
        }
        if let Some(range) = mapped {
            self.orders.push(Order::Unmap(range));
        }
        match keep {
            true => self.drop_segs(old),
            false => self.unmap(old),
        }
        self.add_vma(to..to + new_len, moved);
        for (part, mut seg) in segs {
            let was_mapped = seg.host.take().is_some();
            let at = to + (part.start - kept.start)..to + (part.end - kept.start);
            self.segs.insert(at.clone(), seg);
            if was_mapped {
                self.map_segs(at);
            }
        }
    }

    /// Bytes that mlock holds.
    pub(super) fn locked_size(&self) -> u64 {
        self.vmas
            .iter()
            .filter(|(_, vma)| vma.flags.locked)
            .map(|(range, _)| range.end - range.start)
            .sum()
    }
}
