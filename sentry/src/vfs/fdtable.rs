//! Descriptor tables.

use std::sync::{Arc, LazyLock};

use nix::sys::resource::{Resource, getrlimit};
use parking_lot::RwLock;
use sentry_abi::Errno;

use crate::vfs::locks;
use crate::vfs::open::OpenFile;

/// The descriptors of a process; shared between tasks made with CLONE_FILES.
pub struct FdTable {
    inner: RwLock<Inner>,
    /// Unique, never reused: names the owner of POSIX locks (Linux's `files_struct`).
    id: u64,
}

#[derive(Clone, Default)]
struct Inner {
    slots: Vec<Option<Slot>>,
    /// A bit per descriptor in use; a clear bit below `slots.len()` is free.
    used: Vec<u64>,
}

#[derive(Clone)]
struct Slot {
    file: Arc<OpenFile>,
    cloexec: bool,
}

/// Descriptors that a process can have, whatever its limit says (fs.nr_open).
pub const MAX_FDS: u64 = 1 << 20;

/// The same, as far as the host goes along: half of what the sandbox itself may have, so that no
/// process leaves the others without.
fn most() -> u64 {
    static MOST: LazyLock<u64> = LazyLock::new(|| {
        let own = getrlimit(Resource::RLIMIT_NOFILE).map_or(MAX_FDS, |(soft, _)| soft);
        (own / 2).min(MAX_FDS)
    });
    *MOST
}

impl Inner {
    fn lowest_free(&self, min: usize) -> usize {
        let mut word = min / 64;
        let mut skip = (1u64 << (min % 64)) - 1;
        while let Some(bits) = self.used.get(word) {
            let taken = bits | skip;
            if taken != u64::MAX {
                return word * 64 + taken.trailing_ones() as usize;
            }
            skip = 0;
            word += 1;
        }
        (word * 64).max(min)
    }

    fn put(&mut self, fd: usize, slot: Slot) -> Option<Slot> {
        if fd >= self.slots.len() {
            self.slots.resize(fd + 1, None);
            self.used.resize(fd / 64 + 1, 0);
        }
        self.used[fd / 64] |= 1 << (fd % 64);
        self.slots[fd].replace(slot)
    }

    fn take(&mut self, fd: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(fd)?.take()?;
        self.used[fd / 64] &= !(1 << (fd % 64));
        Some(slot)
    }

    fn slot(&self, fd: i32) -> Result<&Slot, Errno> {
        usize::try_from(fd)
            .ok()
            .and_then(|fd| self.slots.get(fd)?.as_ref())
            .ok_or(Errno::EBADF)
    }
}

impl FdTable {
    /// An empty table.
    pub fn new() -> Arc<Self> {
        Self::with(Inner::default())
    }

    fn with(inner: Inner) -> Arc<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            inner: RwLock::new(inner),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Identity of this table among all that ever were.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A copy of its own, for clone without CLONE_FILES.
    pub fn fork(&self) -> Arc<Self> {
        Self::with(self.inner.read().clone())
    }

    /// The file that `fd` refers to, O_PATH ones included.
    ///
    /// # Errors
    /// EBADF.
    pub fn get_any(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        Ok(Arc::clone(&self.inner.read().slot(fd)?.file))
    }

    /// The file that `fd` refers to.
    ///
    /// # Errors
    /// EBADF, also if it was opened with O_PATH.
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        let file = self.get_any(fd)?;
        if file.is_path() {
            return Err(Errno::EBADF);
        }
        Ok(file)
    }

    /// Gives `file` the lowest free descriptor from `min` on. `limit` is RLIMIT_NOFILE.
    ///
    /// # Errors
    /// EMFILE; EINVAL if `min` is beyond the limit.
    pub fn install(
        &self,
        file: Arc<OpenFile>,
        cloexec: bool,
        min: i32,
        limit: u64,
    ) -> Result<i32, Errno> {
        let limit = limit.min(most()) as usize;
        let min = usize::try_from(min).map_err(|_| Errno::EINVAL)?;
        if min > 0 && min >= limit {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.write();
        let fd = inner.lowest_free(min);
        if fd >= limit {
            return Err(Errno::EMFILE);
        }
        inner.put(fd, Slot { file, cloexec });
        Ok(fd as i32)
    }

    /// Makes `fd` refer to `file`, closing what it referred to (dup2).
    ///
    /// # Errors
    /// EBADF if `fd` is negative or beyond the limit.
    pub fn install_at(
        &self,
        file: Arc<OpenFile>,
        cloexec: bool,
        fd: i32,
        limit: u64,
    ) -> Result<(), Errno> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if at >= limit.min(most()) as usize {
            return Err(Errno::EBADF);
        }
        let old = self.inner.write().put(at, Slot { file, cloexec });
        if let Some(old) = old {
            self.closed(&old.file);
        }
        Ok(())
    }

    /// Closes `fd`.
    ///
    /// # Errors
    /// EBADF.
    pub fn close(&self, fd: i32) -> Result<(), Errno> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let slot = self.inner.write().take(at).ok_or(Errno::EBADF)?;
        self.closed(&slot.file);
        Ok(())
    }

    /// Closing any descriptor of a file drops the process's POSIX locks on it, as Linux has it.
    fn closed(&self, file: &OpenFile) {
        if !file.is_path() {
            locks::release_process(file, self.id);
            file.ops().flush();
        }
    }

    /// Closes (or, with `cloexec`, marks) descriptors `first..=last`.
    pub fn close_range(&self, first: u32, last: u32, cloexec: bool) {
        let mut closed = Vec::new();
        {
            let mut inner = self.inner.write();
            let end = inner.slots.len().min((last as usize).saturating_add(1));
            for fd in first as usize..end {
                if !cloexec {
                    closed.extend(inner.take(fd));
                } else if let Some(slot) = &mut inner.slots[fd] {
                    slot.cloexec = true;
                }
            }
        }
        for slot in closed {
            self.closed(&slot.file);
        }
    }

    /// Closes everything marked close-on-exec.
    pub fn close_on_exec(&self) {
        let mut closed = Vec::new();
        {
            let mut inner = self.inner.write();
            for fd in 0..inner.slots.len() {
                if inner.slots[fd].as_ref().is_some_and(|slot| slot.cloexec) {
                    closed.extend(inner.take(fd));
                }
            }
        }
        for slot in closed {
            self.closed(&slot.file);
        }
    }

    /// Whether `fd` is marked close-on-exec.
    ///
    /// # Errors
    /// EBADF.
    pub fn cloexec(&self, fd: i32) -> Result<bool, Errno> {
        Ok(self.inner.read().slot(fd)?.cloexec)
    }

    /// Marks `fd` close-on-exec or not.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_cloexec(&self, fd: i32, cloexec: bool) -> Result<(), Errno> {
        let mut inner = self.inner.write();
        inner.slot(fd)?;
        if let Some(Some(slot)) = inner.slots.get_mut(fd as usize) {
            slot.cloexec = cloexec;
        }
        Ok(())
    }

    /// The descriptors in use, in order, with their files.
    pub fn list(&self) -> Vec<(i32, Arc<OpenFile>)> {
        let inner = self.inner.read();
        let files = inner.slots.iter().enumerate();
        files
            .filter_map(|(fd, slot)| Some((fd as i32, Arc::clone(&slot.as_ref()?.file))))
            .collect()
    }

    /// One more than the highest descriptor that was ever used (FDSize of /proc/PID/status).
    pub fn capacity(&self) -> usize {
        self.inner.read().slots.len()
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        let slots = std::mem::take(&mut self.inner.get_mut().slots);
        for slot in slots.into_iter().flatten() {
            self.closed(&slot.file);
        }
    }
}
