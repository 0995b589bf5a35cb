//! Reading a packet straight into the uninitialised tail of a buffer.

// readv into spare capacity cannot be expressed with slices of initialised bytes, and zeroing
// 64 KiB before each packet would cost more than the packet.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::buf::BytesMut;

/// Reads one packet: its first bytes into `header` (may be empty), the rest into the room behind
/// what `buffer` holds, which grows by that much. Returns the whole length.
pub(crate) fn read_packet(
    fd: BorrowedFd<'_>,
    header: &mut [u8],
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    let room = buffer.spare_capacity_mut();
    let parts = [
        libc::iovec {
            iov_base: header.as_mut_ptr().cast(),
            iov_len: header.len(),
        },
        libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        },
    ];
    // SAFETY: both parts point to memory that `header` and `buffer` borrow mutably for the whole
    // call, with their true lengths; the kernel writes at most that much.
    let got = unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), parts.len() as i32) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let body = got.saturating_sub(header.len());
    // SAFETY: readv fills the parts in order, so the first `body` bytes of the room behind the
    // present length are initialised, and `body` is at most the length of that room.
    unsafe { buffer.set_len(buffer.len() + body) };
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn header_and_body_are_parted() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.write_all(b"headbody").unwrap();
        let mut header = [0; 4];
        let mut buffer = BytesMut::with_capacity(64);
        buffer.extend_from_slice(b"kept ");
        let got = read_packet(ours.as_fd(), &mut header, &mut buffer).unwrap();
        assert_eq!((got, &header, &buffer[..]), (8, b"head", &b"kept body"[..]));
    }

    #[test]
    fn shorter_than_the_header_leaves_the_buffer_alone() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.write_all(b"he").unwrap();
        let mut buffer = BytesMut::with_capacity(64);
        let got = read_packet(ours.as_fd(), &mut [0; 4], &mut buffer).unwrap();
        assert_eq!((got, buffer.len()), (2, 0));
    }
}
