//! Guest address spaces: VMAs, the memory file, demand faults, copy-on-write, and the copies between
//! guest memory and the Sentry.
//!
//! Guest memory is never a `&[u8]`: other guest threads change it at any time. Everything goes through
//! [`MemoryManager::read`], [`MemoryManager::write`] and what is built on them.

pub mod io;

use std::os::fd::BorrowedFd;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// The host file behind a mapping of a guest file.
pub trait Mappable: Send + Sync {
    /// What a mapping of `offset..offset + len` refers to.
    ///
    /// # Errors
    /// ENODEV if the file cannot be mapped; EACCES.
    fn backing(&self, offset: u64, len: u64) -> Result<MapBacking<'_>, sentry_abi::Errno>;

    /// Identity of the file, for futex keys and /proc/PID/maps: (device, inode, path).
    fn map_identity(&self) -> (u64, u64, Vec<u8>);
}

/// What a [`Mappable`] is backed by.
pub enum MapBacking<'a> {
    /// A host file's descriptor at `offset`.
    Host {
        /// The file.
        fd: BorrowedFd<'a>,
        /// Offset within it of the first byte asked for.
        offset: u64,
    },
    /// Contents live in the sandbox's memory file (tmpfs, overlay upper, memfd): contiguous from here
    /// for `len` bytes; the range stays the file's.
    Memory {
        /// Offset in the memory file.
        offset: u64,
        /// How many bytes are contiguous.
        len: u64,
    },
}

/// One guest address space.
pub struct MemoryManager(());

/// The sandbox's memory file.
pub struct MemoryFile(());
