//! Descriptors that come from another process: inherited by number, or passed over a socket.

// Owning a descriptor that arrives as a number is unsafe.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// A duplicate, closed on exec, of the descriptor that this process was started with as `number`.
///
/// # Errors
/// EBADF if no descriptor has the number.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes any number, and changes nothing that exists.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Passes a descriptor over a Unix socket, with one byte.
///
/// # Errors
/// The socket's.
pub fn send(over: &UnixStream, fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let byte = [IoSlice::new(b"d")];
    sendmsg::<()>(
        over.as_raw_fd(),
        &byte,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Takes a descriptor that was passed over a Unix socket.
///
/// # Errors
/// `UnexpectedEof` if the other end has closed, `InvalidData` if what came was no single descriptor.
pub fn receive(over: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let fd = over.as_fd().as_raw_fd();
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), flags)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut owned = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has installed it for this message, and nobody else knows it.
                owned.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    match <[OwnedFd; 1]>::try_from(owned) {
        Ok([fd]) => Ok(fd),
        Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_descriptor_is_passed_and_one_is_inherited() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut inner, outer) = UnixStream::pair().unwrap();
        send(&a, outer.as_fd()).unwrap();
        drop(outer);
        let passed = receive(&b).unwrap();
        let mut copy = UnixStream::from(inherited(passed.as_raw_fd()).unwrap());
        copy.write_all(b"x").unwrap();
        inner.read_exact(&mut [0]).unwrap();
        drop(a);
        assert_eq!(
            receive(&b).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            inherited(1 << 20).unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
    }
}
