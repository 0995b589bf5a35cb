//! The system calls that no safe wrapper offers with raw arguments: scripts pass any number.
#![allow(unsafe_code)] // raw sockopt, listen and ioctl: nix types their arguments too narrowly

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// socket(2), non-blocking and closed on exec.
pub(super) fn socket(domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain integers go in; the result is a descriptor that nobody else owns.
    let fd = Errno::result(unsafe { libc::socket(domain, kind, protocol) })?;
    // SAFETY: as above: just opened, owned here alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// listen(2) with any backlog.
pub(super) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    // SAFETY: plain integers, and a descriptor that is open for the length of the call.
    Errno::result(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// setsockopt(2) with raw bytes.
pub(super) fn set_option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    // SAFETY: the pointer and length describe `value`, which outlives the call and is only read.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// getsockopt(2) into a buffer of `len` bytes.
pub(super) fn get_option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    len: usize,
) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; len];
    let mut size = len as libc::socklen_t;
    // SAFETY: the pointer and `size` describe `value`, which the kernel fills at most up to `size`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    Errno::result(result)?;
    value.truncate(size as usize);
    Ok(value)
}

/// What recvmsg(2) gives.
pub(super) struct Message {
    /// The bytes, as many as there is room for.
    pub(super) data: Vec<u8>,
    /// What the call returned.
    pub(super) len: usize,
    /// MSG_ flags.
    pub(super) flags: i32,
    /// Level, type and bytes of each control message.
    pub(super) control: Vec<(i32, i32, Vec<u8>)>,
}

/// recvmsg(2) into a buffer of `len` bytes.
pub(super) fn receive(fd: BorrowedFd<'_>, len: usize, flags: i32) -> Result<Message, Errno> {
    /// Room for control messages, in words so that they are aligned.
    const CONTROL_WORDS: usize = 128;
    let mut data = vec![0_u8; len];
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the header describes `data` and `control`, which outlive the call.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let count = Errno::result(count)? as usize;
    data.truncate(count);
    let mut found = Vec::new();
    // SAFETY: the kernel has filled the header; it lies in `control`.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: not null, so a header that the macros have found within the length that the kernel set.
    while let Some(header) = unsafe { next.as_ref() } {
        // SAFETY: computes an offset only.
        let head = unsafe { libc::CMSG_LEN(0) } as usize;
        let len = header.cmsg_len.saturating_sub(head);
        // SAFETY: the data of a message that the kernel wrote: `len` bytes behind its header.
        let bytes = unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(next), len) };
        found.push((header.cmsg_level, header.cmsg_type, bytes.to_vec()));
        // SAFETY: as above; null behind the last.
        next = unsafe { libc::CMSG_NXTHDR(&raw const message, next) };
    }
    Ok(Message {
        data,
        len: count,
        flags: message.msg_flags,
        control: found,
    })
}

/// What a socket is ready for now, POLLRDHUP included.
pub(super) fn poll_now(fd: BorrowedFd<'_>) -> i16 {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN | libc::POLLPRI | libc::POLLOUT | libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one valid entry, for the length of a call that does not wait.
    let count = unsafe { libc::poll(&raw mut entry, 1, 0) };
    if count > 0 { entry.revents } else { 0 }
}

/// ioctl(2) that fills an integer.
pub(super) fn ioctl_int(fd: BorrowedFd<'_>, request: u64) -> Result<i32, Errno> {
    const SIOCINQ: u64 = 0x541b;
    const SIOCOUTQ: u64 = 0x5411;
    const SIOCATMARK: u64 = 0x8905;
    const SIOCOUTQNSD: u64 = 0x894b;
    if ![SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCOUTQNSD].contains(&request) {
        return Err(Errno::ENOTTY);
    }
    let mut value: libc::c_int = 0;
    // SAFETY: these requests write one int through the pointer, which is valid for it.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut value) };
    Errno::result(result).map(|_| value)
}

/// Lets a TUN device carry super-packets, as the script language expects of it, or none.
pub(super) fn set_offload(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    let all = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let flags = if on { all } else { 0 };
    // SAFETY: the request takes its flags by value.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, flags) };
    Errno::result(result).map(drop)
}

/// A descriptor that `owner` keeps open.
pub(super) fn borrow<T>(fd: std::os::fd::RawFd, _owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the owner holds the descriptor open, and the borrow ends before the owner does.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Takes ownership of a descriptor that a call has just returned.
pub(super) fn own(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the caller got it from accept4 and passes it here at once: nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
