//! Guest address spaces: VMAs, the memory file, demand faults, copy-on-write, and the copies between
//! guest memory and the Sentry.
//!
//! Guest memory is never a `&[u8]`: other guest threads change it at any time. Everything goes through
//! [`MemoryManager::read`], [`MemoryManager::write`] and what is built on them.
//!
//! # Concepts
//!
//! The sandbox's memory is one file ([`MemoryFile`]), mapped once, linearly, in the Sentry; guests map
//! pieces of it. A [`MemoryManager`] keeps what a guest asked for apart from what backs it so far
//! (`state`): a mapping costs nothing until it is touched, and is then backed in large pieces that one
//! order to the platform maps, so that the host resolves the single faults. Copy-on-write breaks in
//! chunks (`fault`).
//!
//! # Lock order
//!
//! `MemoryManager::state`, then a mapped file's own locks ([`Mappable::backing`] is called under
//! `state`: it must not touch guest memory), then the memory file's.

mod advise;
mod ahead;
mod copy;
mod extents;
mod fault;
mod futex_word;
mod guest_copy;
mod info;
pub mod io;
mod io_buffers;
mod manager;
mod map;
mod memory_file;
#[cfg(test)]
mod model_tests;
mod patch;
mod range_map;
mod remap;
mod shared;
mod state;
pub(crate) mod sys;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod truncate;
mod user_io;
mod vma;

use std::os::fd::BorrowedFd;

pub use fault::FaultSignal;
pub use futex_word::FutexKey;
pub use io_buffers::{BufDst, BufSrc};
pub use manager::{Layout, MemLimit, MemoryManager};
pub use memory_file::MemoryFile;
pub use shared::SharedMemory;
pub(crate) use sys::random;
pub use truncate::Mappers;
pub use user_io::{IoVec, IoVecs, UserDst, UserSrc};
pub use vma::{MemUsage, MmapRequest, Purpose, VmaInfo};

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

    /// Says who maps it, to be told when contents go away. Called without locks of either.
    fn mapped_by(&self, _mapper: &std::sync::Weak<MemoryManager>) {}
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
