//! Messages between `runsc` and the sandbox's process: JSON behind a length, descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::sys;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Descriptors in one message (the kernel's SCM_MAX_FD).
const FDS_MAX: usize = 253;

/// A message longer than this is refused.
const MESSAGE_MAX: u32 = 64 << 20;

/// A descriptor within a message: its place among those that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FdIndex(pub(crate) usize);

/// Collects the descriptors of a message while it is being made.
#[derive(Default)]
pub(crate) struct Donation {
    fds: Vec<OwnedFd>,
}

impl Donation {
    /// Adds a descriptor and names its place.
    pub(crate) fn add(&mut self, fd: OwnedFd) -> FdIndex {
        self.fds.push(fd);
        FdIndex(self.fds.len() - 1)
    }

    /// Adds a duplicate of a descriptor that the caller keeps.
    ///
    /// # Errors
    /// EMFILE.
    pub(crate) fn add_copy(&mut self, fd: BorrowedFd<'_>) -> io::Result<FdIndex> {
        Ok(self.add(fd.try_clone_to_owned()?))
    }
}

/// The descriptors that came with a message, each taken once.
pub(crate) struct Received {
    fds: Vec<Option<OwnedFd>>,
}

impl Received {
    /// The descriptor at `index`, which stays here.
    pub(crate) fn get(&self, index: FdIndex) -> Option<BorrowedFd<'_>> {
        Some(self.fds.get(index.0)?.as_ref()?.as_fd())
    }

    /// The descriptor at `index`.
    ///
    /// # Errors
    /// InvalidData if it is not there or was taken already.
    pub(crate) fn take(&mut self, index: FdIndex) -> io::Result<OwnedFd> {
        self.fds
            .get_mut(index.0)
            .and_then(Option::take)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the message lacks a descriptor that it names",
                )
            })
    }
}

/// Sends `message` and the descriptors, which are closed here afterwards.
///
/// # Errors
/// The socket's; InvalidInput past [`FDS_MAX`] descriptors.
pub(crate) fn send<T: Serialize>(
    socket: &mut UnixStream,
    message: &T,
    donation: Donation,
) -> io::Result<()> {
    if donation.fds.len() > FDS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors for one message (253 at most)",
        ));
    }
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len())
        .ok()
        .filter(|&n| n <= MESSAGE_MAX)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the message is longer than 64 MiB",
            )
        })?;
    let raw: Vec<RawFd> = donation.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() {
        &rights[..0]
    } else {
        &rights[..]
    };
    let header = length.to_le_bytes();
    // Four bytes into an empty stream socket go in one piece.
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&header)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    socket.write_all(&text)
}

/// Sends a terminal's master side as container engines expect it: its name as the data, the
/// descriptor beside it.
///
/// # Errors
/// The socket's.
pub(crate) fn send_console(socket: &UnixStream, master: BorrowedFd<'_>) -> io::Result<()> {
    let raw = [master.as_raw_fd()];
    let name = [IoSlice::new(b"/dev/ptmx")];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &name,
        &[ControlMessage::ScmRights(&raw)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives a message; `None` if the other side has closed.
///
/// # Errors
/// The socket's; InvalidData for a message that is not a `T`.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: &mut UnixStream,
) -> io::Result<Option<(T, Received)>> {
    let mut header = [0; 4];
    let (count, fds) = receive_header(socket.as_fd(), &mut header)?;
    if count == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut header[count..])?;
    let length = u32::from_le_bytes(header);
    if length > MESSAGE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message longer than 64 MiB",
        ));
    }
    let mut text = Vec::new();
    socket.take(u64::from(length)).read_to_end(&mut text)?;
    let message = serde_json::from_slice(&text)?;
    Ok(Some((
        message,
        Received {
            fds: fds.into_iter().map(Some).collect(),
        },
    )))
}

fn receive_header(
    socket: BorrowedFd<'_>,
    header: &mut [u8; 4],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; FDS_MAX]);
    let mut parts = [IoSliceMut::new(header)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            fds.extend(raw.into_iter().map(sys::own_received));
        }
    }
    Ok((message.bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let mut donation = Donation::default();
        let index = donation.add(File::open("/dev/null").unwrap().into());
        send(&mut a, &("hello", index), donation).unwrap();
        let ((text, index), mut fds): ((String, FdIndex), _) = receive(&mut b).unwrap().unwrap();
        assert_eq!(text, "hello");
        fds.take(index).unwrap();
        assert!(fds.take(index).is_err(), "each descriptor is taken once");
        drop(a);
        assert!(receive::<String>(&mut b).unwrap().is_none());
    }
}
