//! A socket as an open file.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sentry_abi::Errno;

use super::{Caller, SendMeta, Socket};
use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::anon::{AnonName, open_anonymous};
use crate::vfs::attr::FileType;
use crate::vfs::file::{FileOps, IoctlCall};
use crate::vfs::{OpenFile, PathContext};
use crate::wait::{Ready, WaitQueue};

/// linux/sockios.h
const SIOCATMARK: u64 = 0x8905;
const SIOCOUTQNSD: u64 = 0x894b;

/// The backend of a socket's open file.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
    /// Whose paths plain write(2) is done with: it names none, so the creator's serve.
    creator: PathContext,
    /// SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds; 0 waits for ever.
    recv_timeout_ns: AtomicU64,
    send_timeout_ns: AtomicU64,
}

impl SocketFile {
    /// The open file of `socket`; `flags` may hold O_NONBLOCK.
    pub fn open(socket: Arc<dyn Socket>, creator: PathContext, flags: i32) -> Arc<OpenFile> {
        let owner = (creator.creds.fsuid, creator.creds.fsgid);
        let ops = Arc::new(Self {
            socket,
            creator,
            recv_timeout_ns: AtomicU64::new(0),
            send_timeout_ns: AtomicU64::new(0),
        });
        let flags = libc::O_RDWR | flags & libc::O_NONBLOCK;
        open_anonymous(
            ops,
            AnonName::Numbered("socket"),
            FileType::Socket,
            flags,
            owner,
        )
    }

    /// The socket behind an open file.
    ///
    /// # Errors
    /// ENOTSOCK.
    pub fn of(file: &OpenFile) -> Result<&Self, Errno> {
        file.ops().as_any().downcast_ref().ok_or(Errno::ENOTSOCK)
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// SO_RCVTIMEO in nanoseconds, if one is set.
    pub fn recv_timeout_ns(&self) -> Option<u64> {
        Some(self.recv_timeout_ns.load(Ordering::Relaxed)).filter(|&ns| ns > 0)
    }

    /// SO_SNDTIMEO in nanoseconds, if one is set.
    pub fn send_timeout_ns(&self) -> Option<u64> {
        Some(self.send_timeout_ns.load(Ordering::Relaxed)).filter(|&ns| ns > 0)
    }

    /// Sets SO_RCVTIMEO (`receive`) or SO_SNDTIMEO; 0 waits for ever.
    pub fn set_timeout_ns(&self, receive: bool, ns: u64) {
        let timeout = if receive {
            &self.recv_timeout_ns
        } else {
            &self.send_timeout_ns
        };
        timeout.store(ns, Ordering::Relaxed);
    }
}

impl FileOps for SocketFile {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        self.socket.recv(dst, 0).map(|received| received.len)
    }

    fn write(&self, src: &mut dyn IoSrc, _: Option<u64>) -> Result<usize, Errno> {
        self.socket.send(
            &Caller {
                path: &self.creator,
            },
            src,
            SendMeta::default(),
        )
    }

    fn readiness(&self) -> Ready {
        self.socket.readiness()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.socket.wait_queue())
    }

    fn signals_readiness(&self) -> bool {
        true
    }

    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        let value = match u64::from(call.request) {
            libc::FIONREAD | libc::TIOCOUTQ | SIOCOUTQNSD if !self.socket.has_queues() => {
                return Err(Errno::EINVAL);
            }
            SIOCOUTQNSD => self.socket.never_sent_bytes().ok_or(Errno::ENOTTY)?,
            libc::FIONREAD => self.socket.readable_bytes(),
            libc::TIOCOUTQ => self.socket.unsent_bytes(),
            SIOCATMARK => self.socket.is_at_mark().ok_or(Errno::ENOTTY)?.into(),
            _ => return Err(Errno::ENOTTY),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        call.memory.write(call.arg, &value.to_ne_bytes())?;
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
