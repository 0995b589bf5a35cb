//! Vectored I/O of the host straight into and out of guest memory.
#![allow(unsafe_code)] // raw I/O vectors, as `mm::io` hands them out, go to the host here and nowhere else

use std::os::fd::{AsRawFd, BorrowedFd};

use sentry_abi::{Errno, SYS_FCHMODAT2};

fn result(count: isize) -> Result<usize, Errno> {
    usize::try_from(count).map_err(|_| Errno::from_io(&std::io::Error::last_os_error()))
}

/// preadv at `offset`, or readv without one. The vectors come from an `IoDst`, which keeps their memory
/// alive and writable during the call.
pub(super) fn read(
    fd: BorrowedFd<'_>,
    iovs: &[libc::iovec],
    offset: Option<u64>,
) -> Result<usize, Errno> {
    let (fd, count) = (fd.as_raw_fd(), iovs.len() as i32);
    // SAFETY: `iovs` is a valid slice of vectors; what they point to is memory of the guest or a buffer
    // that its IoDst lends for the duration of the call (see above). The kernel checks the addresses.
    result(unsafe {
        match offset {
            Some(offset) => libc::preadv(fd, iovs.as_ptr(), count, offset as i64),
            None => libc::readv(fd, iovs.as_ptr(), count),
        }
    })
}

/// pwritev at `offset`, or writev without one. The vectors come from an `IoSrc`.
pub(super) fn write(
    fd: BorrowedFd<'_>,
    iovs: &[libc::iovec],
    offset: Option<u64>,
) -> Result<usize, Errno> {
    let (fd, count) = (fd.as_raw_fd(), iovs.len() as i32);
    // SAFETY: as in `read`; the kernel only reads what the vectors point to.
    result(unsafe {
        match offset {
            Some(offset) => libc::pwritev(fd, iovs.as_ptr(), count, offset as i64),
            None => libc::writev(fd, iovs.as_ptr(), count),
        }
    })
}

/// chmod of what `name` in `dir` is, also if that is a FIFO or a socket; never through a link. The C
/// library's own way (chmod of a path in /proc) is not open to the Sentry.
///
/// # Errors
/// The host's; EOPNOTSUPP before Linux 6.6.
pub(super) fn chmod_no_follow(dir: BorrowedFd<'_>, name: &[u8], perm: u32) -> Result<(), Errno> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?;
    let (nr, flags) = (SYS_FCHMODAT2, libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let status = unsafe { libc::syscall(nr, dir.as_raw_fd(), name.as_ptr(), perm, flags) };
    match result(status as isize) {
        Err(Errno::ENOSYS) => Err(Errno::EOPNOTSUPP),
        answer => answer.map(drop),
    }
}

/// ioctl with a pointer to `value`, which the host reads and writes.
pub(super) fn ioctl<T: zerocopy::FromBytes + zerocopy::IntoBytes>(
    fd: BorrowedFd<'_>,
    request: u32,
    value: &mut T,
) -> Result<(), Errno> {
    // SAFETY: callers pass requests whose argument is exactly a `T` (struct winsize, struct termios, int).
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), std::ptr::from_mut(value)) };
    result(status as isize).map(drop)
}
