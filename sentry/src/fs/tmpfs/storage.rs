//! Where file contents are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sentry_abi::Errno;

use crate::mm::MemoryFile;

/// Page ranges with contents, counted by reference: the sandbox's memory file. Fresh ranges read as zero.
pub trait Storage: Send + Sync {
    /// A fresh range of `len` bytes (whole pages), with one reference.
    ///
    /// # Errors
    /// ENOMEM.
    fn allocate(&self, len: u64) -> Result<u64, Errno>;

    /// Gives one reference to a range back (whole pages); the last frees it.
    fn release(&self, offset: u64, len: u64);

    /// Reads bytes of an allocated range.
    ///
    /// # Errors
    /// EIO.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno>;

    /// Writes bytes of an allocated range.
    ///
    /// # Errors
    /// EIO, ENOMEM.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;
}

impl Storage for MemoryFile {
    fn allocate(&self, len: u64) -> Result<u64, Errno> {
        Self::allocate(self, len)
    }

    fn release(&self, offset: u64, len: u64) {
        self.decref(offset, len);
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let wanted = bytes.len();
        (self.read_at(offset, bytes) == wanted)
            .then_some(())
            .ok_or(Errno::EIO)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        (self.write_at(offset, bytes) == bytes.len())
            .then_some(())
            .ok_or(Errno::ENOMEM)
    }
}

/// Storage of which no more than so much may be taken: what the `size` of a mount says.
pub(super) struct Quota {
    inner: Arc<dyn Storage>,
    max: u64,
    used: AtomicU64,
}

impl Quota {
    pub(super) fn new(inner: Arc<dyn Storage>, max: u64) -> Self {
        Self {
            inner,
            max,
            used: AtomicU64::new(0),
        }
    }

    /// Bytes that can still be taken.
    pub(super) fn free(&self) -> u64 {
        self.max.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

impl Storage for Quota {
    fn allocate(&self, len: u64) -> Result<u64, Errno> {
        let within = |used: u64| used.checked_add(len).filter(|sum| *sum <= self.max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .map_err(|_| Errno::ENOSPC)?;
        self.inner.allocate(len).inspect_err(|_| {
            self.used.fetch_sub(len, Ordering::Relaxed);
        })
    }

    fn release(&self, offset: u64, len: u64) {
        self.inner.release(offset, len);
        self.used.fetch_sub(len, Ordering::Relaxed);
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.inner.read(offset, bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.inner.write(offset, bytes)
    }
}
