//! Memory shared with a process that may write to it at any time: only atomics and copies.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A mapping of a whole shared file. Pages beyond the file's end must not be touched: the owner of
/// the file grows it before it uses offsets there.
pub(crate) struct Shared {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: all access goes through atomics.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps `len` bytes of the file (address space only: pages come with use).
    pub(crate) fn map(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base.cast()) {
            Some(base) if base.as_ptr() as isize != -1 => Ok(Self { base, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.len);
        // SAFETY: within the mapping, by the line above.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// The 32-bit word at this offset.
    pub(crate) fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: aligned and mapped (`at`) as long as `self` lives; shared memory is only ever
        // accessed atomically by this process.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    /// The 64-bit word at this offset.
    pub(crate) fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as for `u32`.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }

    fn u8(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: as for `u32`.
        unsafe { AtomicU8::from_ptr(self.at(offset)) }
    }

    /// Copies out, from an offset that is a multiple of 8.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) {
        let mut at = offset;
        let mut words = to.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.u64(at).load(Relaxed).to_ne_bytes());
            at += 8;
        }
        for byte in words.into_remainder() {
            *byte = self.u8(at).load(Relaxed);
            at += 1;
        }
    }

    /// Copies in, to an offset that is a multiple of 8.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) {
        let (words, rest) = from.as_chunks::<8>();
        let mut at = offset;
        for word in words {
            self.u64(at).store(u64::from_ne_bytes(*word), Relaxed);
            at += 8;
        }
        for byte in rest {
            self.u8(at).store(*byte, Relaxed);
            at += 1;
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's, and no reference outlives it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
