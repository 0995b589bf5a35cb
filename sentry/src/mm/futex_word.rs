//! Atomic access to words of guest memory, and what identifies them.

use sentry_abi::Errno;

use super::copy::Located;
use super::manager::MemoryManager;
use super::{MapBacking, PAGE_SIZE, guest_copy, sys};

/// What two futexes have in common if they are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FutexKey {
    /// An address of one address space.
    Private {
        /// Which one.
        mm: u64,
        /// The address.
        addr: u64,
    },
    /// A word of the sandbox's memory, wherever it is mapped.
    Memory {
        /// Its offset.
        offset: u64,
    },
    /// A word of a file.
    File {
        /// Device.
        dev: u64,
        /// Inode.
        ino: u64,
        /// Its offset.
        offset: u64,
    },
}

impl MemoryManager {
    /// Loads a word.
    ///
    /// # Errors
    /// EFAULT; EINVAL if it is not aligned.
    pub fn atomic_u32_load(&self, addr: u64) -> Result<u32, Errno> {
        self.with_word(addr, false, |map| match map {
            Word::Memory(offset) => self.memory.load32(offset),
            Word::Mapped(map, at) => guest_copy::load32(map, at),
        })
    }

    /// Compares and exchanges a word; the value that was there.
    ///
    /// # Errors
    /// EFAULT; EINVAL if it is not aligned.
    pub fn atomic_u32_cmpxchg(&self, addr: u64, expected: u32, new: u32) -> Result<u32, Errno> {
        self.with_word(addr, true, |map| match map {
            Word::Memory(offset) => self.memory.cas32(offset, expected, new),
            Word::Mapped(map, at) => guest_copy::cas32(map, at, expected, new),
        })
    }

    /// Replaces a word by `op` of it; the value that was there.
    ///
    /// # Errors
    /// EFAULT; EINVAL if it is not aligned; EAGAIN if others keep changing it.
    pub fn atomic_u32_fetch_op(&self, addr: u64, op: impl Fn(u32) -> u32) -> Result<u32, Errno> {
        // A guest can contend for ever: the Sentry gives up after a while.
        const ATTEMPTS: usize = 10_000;
        let mut seen = self.atomic_u32_load(addr)?;
        for _ in 0..ATTEMPTS {
            let was = self.atomic_u32_cmpxchg(addr, seen, op(seen))?;
            if was == seen {
                return Ok(was);
            }
            seen = was;
        }
        Err(Errno::EAGAIN)
    }

    fn with_word(
        &self,
        addr: u64,
        write: bool,
        mut access: impl FnMut(Word<'_>) -> Option<u32>,
    ) -> Result<u32, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        loop {
            let state = self.state.read_recursive();
            let done = match state.locate(addr, write) {
                Located::Memory { offset, .. } => access(Word::Memory(offset)),
                Located::File { file, offset, .. } => {
                    let page = offset / PAGE_SIZE * PAGE_SIZE;
                    match file.backing(page, PAGE_SIZE)? {
                        MapBacking::Memory { offset: base, .. } => {
                            access(Word::Memory(base + (offset - page)))
                        }
                        MapBacking::Host { fd, offset: base } => {
                            let map = sys::Mapping::new(fd, base, PAGE_SIZE as usize, write)?;
                            access(Word::Mapped(&map, offset - page))
                        }
                    }
                }
                Located::Absent => {
                    drop(state);
                    self.fault_in(addr, write)?;
                    continue;
                }
            };
            return done.ok_or(Errno::EFAULT);
        }
    }

    /// What identifies the futex at `addr`; `shared`: FUTEX_PRIVATE_FLAG is not set.
    ///
    /// # Errors
    /// EINVAL if it is not aligned; EFAULT.
    pub fn futex_key(&self, addr: u64, shared: bool) -> Result<FutexKey, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if addr >= self.range.end {
            return Err(Errno::EFAULT);
        }
        let private = FutexKey::Private { mm: self.id, addr };
        if !shared {
            return Ok(private);
        }
        loop {
            let state = self.state.read_recursive();
            let (_, vma) = state.vmas.find(addr).ok_or(Errno::EFAULT)?;
            if !vma.flags.shared {
                // Linux pins the page for writing: one that can't change is no futex.
                if vma.prot & libc::PROT_WRITE == 0 {
                    return Err(Errno::EFAULT);
                }
                return Ok(private);
            }
            match state.locate(addr, false) {
                Located::Memory { offset, .. } => return Ok(FutexKey::Memory { offset }),
                Located::File { file, offset, .. } => {
                    let (dev, ino, _) = file.map_identity();
                    return Ok(FutexKey::File { dev, ino, offset });
                }
                Located::Absent => {
                    drop(state);
                    self.fault_in(addr, false)?;
                }
            }
        }
    }
}

/// Where a word is.
enum Word<'a> {
    Memory(u64),
    Mapped(&'a sys::Mapping, u64),
}
