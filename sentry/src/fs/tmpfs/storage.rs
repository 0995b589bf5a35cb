//! Where file contents are kept.

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
