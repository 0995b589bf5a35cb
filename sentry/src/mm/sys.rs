//! The host calls of the memory manager: the memory file and its one linear mapping.
//!
//! Unsafe because mapping memory is; nothing here reads or writes mapped memory (`guest_copy` does).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// A mapping of a file into the Sentry, unmapped when dropped.
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range; every access goes through `guest_copy`, which makes no
// assumption about who else reads or writes there.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset`, shared, without reserving memory.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        write: bool,
    ) -> io::Result<Self> {
        let prot = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address that the kernel chooses aliases nothing of Rust's.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                prot,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// Leaves the mapping out of core dumps of the Sentry.
    pub(super) fn exclude_from_dumps(&self) {
        // SAFETY: advice about our own mapping changes no contents. Failing is harmless.
        unsafe {
            libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_DONTDUMP);
        }
    }

    /// The address of byte `offset`, if `len` bytes from there lie in the mapping.
    #[inline]
    pub(super) fn at(&self, offset: u64, len: usize) -> Option<*mut u8> {
        let end = offset.checked_add(len as u64)?;
        if end > self.len as u64 {
            return None;
        }
        Some(self.base.as_ptr().wrapping_add(offset as usize))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `new` mapped, and no pointer into it outlives `self`
        // (they are handed out only for the time of one copy).
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.len);
        }
    }
}

/// The next run of data at or after `offset` of a memory file; `None` if there is none. What is not
/// known for sure counts as data.
pub(super) fn next_data(fd: BorrowedFd<'_>, offset: u64) -> Option<std::ops::Range<u64>> {
    use nix::unistd::{Whence, lseek64};
    let start = match lseek64(fd, offset as i64, Whence::SeekData) {
        Ok(start) => start as u64,
        Err(nix::errno::Errno::ENXIO) => return None,
        Err(_) => offset,
    };
    let end = lseek64(fd, start as i64, Whence::SeekHole).map_or(u64::MAX, |end| end as u64);
    Some(start..end)
}

/// Makes an anonymous memory file of `len` bytes, all holes.
pub(super) fn memory_file(len: u64) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string; the call returns a new descriptor, which we own.
    let fd = unsafe {
        let fd = libc::memfd_create(c"guest-memory".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    nix::unistd::ftruncate(&fd, len as libc::off_t)?;
    Ok(fd)
}

/// Gives a page-aligned range of a file back to the host; it reads as zeros afterwards.
pub(super) fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    Ok(fallocate(
        fd,
        flags,
        offset as libc::off_t,
        len as libc::off_t,
    )?)
}

/// True if a file has no page in a range, neither in memory nor in swap.
pub(super) fn is_hole(fd: BorrowedFd<'_>, offset: u64, len: u64) -> bool {
    use nix::errno::Errno;
    use nix::unistd::{Whence, lseek};
    match lseek(fd, offset as libc::off_t, Whence::SeekData) {
        Ok(data) => data.cast_unsigned() >= offset + len,
        Err(errno) => errno == Errno::ENXIO,
    }
}

/// Writes zeros to a file.
pub(super) fn write_zeros(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let end = offset + len;
    let mut at = offset;
    while at < end {
        let n = ZEROS.len().min((end - at) as usize);
        match nix::sys::uio::pwrite(fd, &ZEROS[..n], at as libc::off_t) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => at += n as u64,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Reads a host file into a mapping; how many bytes came (short at the end of the file).
pub(super) fn read_file(
    fd: BorrowedFd<'_>,
    file_offset: u64,
    map: &Mapping,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    let mut done = 0;
    while done < len {
        let to = map
            .at(offset + done as u64, len - done)
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the kernel writes to our own mapping, and says EFAULT where it cannot.
        let n = unsafe {
            libc::pread(
                fd.as_raw_fd(),
                to.cast(),
                len - done,
                (file_offset + done as u64) as libc::off_t,
            )
        };
        match n {
            0 => break,
            n if n > 0 => done += n as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(done)
}

/// Reads from a file into host vectors, as a file system does.
#[cfg(test)]
pub(super) fn preadv(
    fd: BorrowedFd<'_>,
    vectors: &[libc::iovec],
    offset: i64,
) -> Result<usize, sentry_abi::Errno> {
    // SAFETY: the vectors are those that `fill_with` handed out: the linear mapping, for the call.
    let n = unsafe {
        libc::preadv(
            fd.as_raw_fd(),
            vectors.as_ptr(),
            vectors.len() as i32,
            offset,
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error().into())
}

/// Fills `buffer` with random bytes from the host.
pub(crate) fn random(buffer: &mut [u8]) {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        // SAFETY: the kernel writes at most `rest.len()` bytes to `rest`.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n > 0 {
            done += n as usize;
        }
    }
}

/// An entry of the Sentry's own auxiliary vector, 0 if it has none.
pub(crate) fn auxval(entry: u64) -> u64 {
    // SAFETY: reads the process's auxiliary vector.
    unsafe { libc::getauxval(entry) }
}

/// Installs `handler` for `signo`, on the alternate stack; returns what was installed.
pub(super) fn set_signal_handler(
    signo: i32,
    handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void),
) -> libc::sigaction {
    // SAFETY: both structures are plain data that the kernel reads or fills; the handler is
    // async-signal-safe (guest_copy's touches nothing but the saved registers).
    unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = handler as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&mut new.sa_mask);
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signo, &new, &mut old);
        old
    }
}
