//! Socket options of AF_UNIX.

use sentry_abi::Errno;

use super::socket::UnixSocket;
use crate::net::{Socket, option_int};

/// SO_SNDBUF and SO_RCVBUF by default (net.core.wmem_default).
pub(super) const BUFFER_DEFAULT: usize = 212_992;

/// What can be set.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) pass_cred: bool,
    pub(super) send_buffer: usize,
    receive_buffer: usize,
    keepalive: bool,
    reuse_addr: bool,
    oob_inline: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pass_cred: false,
            send_buffer: BUFFER_DEFAULT,
            receive_buffer: BUFFER_DEFAULT,
            keepalive: false,
            reuse_addr: false,
            oob_inline: false,
        }
    }
}

impl UnixSocket {
    /// getsockopt(2)
    pub(super) fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level != libc::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let options = *self.options.lock();
        let socket_type = self.socket_type();
        let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
        match name {
            libc::SO_PEERCRED => Ok(self.peer_credentials().to_bytes().to_vec()),
            libc::SO_PASSCRED => int(options.pass_cred.into()),
            libc::SO_SNDBUF => int(options.send_buffer as i32),
            libc::SO_RCVBUF => int(options.receive_buffer as i32),
            libc::SO_TYPE => int(socket_type.kind),
            libc::SO_DOMAIN => int(socket_type.family),
            libc::SO_PROTOCOL => int(0),
            libc::SO_ERROR => int(self.take_error()),
            libc::SO_ACCEPTCONN => int(self.is_listening().into()),
            libc::SO_KEEPALIVE => int(options.keepalive.into()),
            libc::SO_REUSEADDR => int(options.reuse_addr.into()),
            libc::SO_OOBINLINE => int(options.oob_inline.into()),
            libc::SO_LINGER => Ok(vec![0; 8]),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// setsockopt(2)
    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level != libc::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let int = option_int(value)?;
        // Linux doubles what is asked for, to account for its own overhead.
        let buffer = |int: i32| {
            usize::try_from(int)
                .unwrap_or(usize::MAX)
                .clamp(2304, 425_984 / 2)
                * 2
        };
        let mut options = self.options.lock();
        match name {
            libc::SO_PASSCRED => options.pass_cred = int != 0,
            libc::SO_SNDBUF => options.send_buffer = buffer(int),
            libc::SO_RCVBUF => options.receive_buffer = buffer(int),
            libc::SO_KEEPALIVE => options.keepalive = int != 0,
            libc::SO_REUSEADDR => options.reuse_addr = int != 0,
            libc::SO_OOBINLINE => options.oob_inline = int != 0,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
