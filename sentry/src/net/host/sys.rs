//! The host's socket calls, on addresses and options in bytes as the guest has them.
#![allow(unsafe_code)] // addresses and options of any family go to the host as bytes here and nowhere else

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use sentry_abi::Errno;

use crate::net::SocketType;

/// Space for any address (`struct sockaddr_storage`).
const ADDR_MAX: usize = 128;

/// Control messages of one message that are received (a few fixed-size ones).
const CONTROL_MAX: usize = 512;

/// Aligned as `struct cmsghdr` asks for.
#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_MAX]);

fn count(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::from_io(&std::io::Error::last_os_error()))
}

fn done(result: i32) -> Result<(), Errno> {
    count(result as isize).map(drop)
}

fn own(fd: i32) -> Result<OwnedFd, Errno> {
    done(fd.min(0))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn socket(wanted: SocketType) -> Result<OwnedFd, Errno> {
    let kind = wanted.kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    own(unsafe { libc::socket(wanted.family, kind, wanted.protocol) })
}

pub(super) fn bind(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: address and length are one slice.
    done(unsafe { libc::bind(fd.as_raw_fd(), addr.as_ptr().cast(), addr.len() as u32) })
}

pub(super) fn connect(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<(), Errno> {
    // SAFETY: address and length are one slice.
    done(unsafe { libc::connect(fd.as_raw_fd(), addr.as_ptr().cast(), addr.len() as u32) })
}

pub(super) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    done(unsafe { libc::listen(fd.as_raw_fd(), backlog) })
}

pub(super) fn accept(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let none = std::ptr::null_mut();
    // SAFETY: the kernel writes no address where none is asked for.
    own(unsafe { libc::accept4(fd.as_raw_fd(), none, std::ptr::null_mut(), flags) })
}

pub(super) fn shutdown(fd: BorrowedFd<'_>, how: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    done(unsafe { libc::shutdown(fd.as_raw_fd(), how) })
}

/// getsockname(2), or getpeername(2).
pub(super) fn address(fd: BorrowedFd<'_>, peer: bool) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; ADDR_MAX];
    let mut len = ADDR_MAX as u32;
    let (fd, at) = (fd.as_raw_fd(), bytes.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most the `len` bytes that the buffer has.
    done(unsafe {
        if peer {
            libc::getpeername(fd, at, &mut len)
        } else {
            libc::getsockname(fd, at, &mut len)
        }
    })?;
    bytes.truncate(len as usize);
    Ok(bytes)
}

/// getsockopt(2) of a value of at most `max` bytes.
pub(super) fn option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    max: usize,
) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; max];
    let mut len = max as u32;
    // SAFETY: the kernel writes at most the `len` bytes that the buffer has.
    done(unsafe {
        let at = bytes.as_mut_ptr().cast();
        libc::getsockopt(fd.as_raw_fd(), level, name, at, &mut len)
    })?;
    bytes.truncate(len as usize);
    Ok(bytes)
}

pub(super) fn set_option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    // SAFETY: value and length are one slice; the options that pass `options` hold no pointers.
    done(unsafe {
        let at = value.as_ptr().cast();
        libc::setsockopt(fd.as_raw_fd(), level, name, at, value.len() as u32)
    })
}

/// An int that an ioctl on sockets answers (FIONREAD, TIOCOUTQ).
pub(super) fn queue_len(fd: BorrowedFd<'_>, request: u64) -> Result<i32, Errno> {
    let mut value = 0_i32;
    // SAFETY: both requests write one int.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), request, &mut value) })?;
    Ok(value)
}

/// poll(2)'s bits, without waiting.
pub(super) fn poll(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one entry, which the kernel writes to.
    done(unsafe { libc::poll(&raw mut entry, 1, 0) })?;
    Ok(u32::from(entry.revents as u16))
}

/// sendmsg(2) of one piece of memory. Never raises SIGPIPE in the Sentry, never waits.
pub(super) fn send(
    fd: BorrowedFd<'_>,
    data: &[u8],
    to: Option<&[u8]>,
    control: &[u8],
    flags: i32,
) -> Result<usize, Errno> {
    let mut piece = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // The kernel reads headers at aligned places.
    let mut aligned = ControlBuffer([0; CONTROL_MAX]);
    let room = aligned.0.get_mut(..control.len()).ok_or(Errno::ENOBUFS)?;
    room.copy_from_slice(control);
    // SAFETY: `msghdr` is plain data, for which zeros are a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    if let Some(to) = to {
        header.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_namelen = to.len() as u32;
    }
    if !control.is_empty() {
        header.msg_control = aligned.0.as_mut_ptr().cast();
        header.msg_controllen = control.len();
    }
    let flags = flags | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: everything that the header points to lives until the call returns, and is only read.
    count(unsafe { libc::sendmsg(fd.as_raw_fd(), &header, flags) })
}

/// What recvmsg(2) told.
pub(super) struct Message {
    /// Bytes, or with MSG_TRUNC those of the whole datagram.
    pub(super) len: usize,
    pub(super) from: Vec<u8>,
    pub(super) control: Vec<u8>,
    pub(super) flags: i32,
}

/// recvmsg(2) into one piece of memory. Never waits.
pub(super) fn receive(fd: BorrowedFd<'_>, into: &mut [u8], flags: i32) -> Result<Message, Errno> {
    let mut piece = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let mut from = vec![0; ADDR_MAX];
    let mut control = ControlBuffer([0; CONTROL_MAX]);
    // SAFETY: `msghdr` is plain data, for which zeros are a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_name = from.as_mut_ptr().cast();
    header.msg_namelen = ADDR_MAX as u32;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_MAX;
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: everything that the header points to is writable, of the length given, and lives until
    // the call returns.
    let len = count(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) })?;
    from.truncate(header.msg_namelen as usize);
    let control = control.0[..header.msg_controllen.min(CONTROL_MAX)].to_vec();
    Ok(Message {
        len,
        from,
        control,
        flags: header.msg_flags,
    })
}
