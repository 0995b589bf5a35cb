//! The networks of one sandbox: which provider makes a socket.

use std::sync::Arc;

use sentry_abi::Errno;

use super::inet::{Inet, LinkConfig, NetworkError};
use super::unix::{self, UnixSocket};
use super::{Caller, Socket, SocketType};

/// The two ends of a socketpair.
pub(crate) type Pair = (Arc<dyn Socket>, Arc<dyn Socket>);

/// What makes sockets.
pub struct Network {
    unix: Arc<unix::Names>,
    inet: Inet,
}

impl Network {
    /// Unix sockets, and a network stack with a loopback interface and these links.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn start(links: Vec<LinkConfig>) -> Result<Arc<Self>, NetworkError> {
        Ok(Arc::new(Self {
            unix: Arc::default(),
            inet: Inet::start(links)?,
        }))
    }

    /// The network stack.
    pub fn inet(&self) -> &Inet {
        &self.inet
    }

    /// A socket (socket(2)).
    ///
    /// # Errors
    /// EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM.
    pub fn socket(
        &self,
        caller: &Caller<'_>,
        wanted: SocketType,
    ) -> Result<Arc<dyn Socket>, Errno> {
        match wanted.family {
            libc::AF_UNIX => Ok(UnixSocket::new(unix_kind(wanted)?, &self.unix)),
            libc::AF_INET => self.inet.socket(caller, wanted),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// Two connected sockets (socketpair(2)).
    ///
    /// # Errors
    /// As [`Network::socket`]; EOPNOTSUPP for a family that has no pairs.
    pub fn pair(&self, caller: &Caller<'_>, wanted: SocketType) -> Result<Pair, Errno> {
        if wanted.family != libc::AF_UNIX {
            self.socket(caller, wanted)?;
            return Err(Errno::EOPNOTSUPP);
        }
        let (a, b) = unix::pair(unix_kind(wanted)?, &self.unix, caller);
        Ok((a, b))
    }
}

/// The type of a Unix socket. SOCK_RAW is taken for SOCK_DGRAM, as `unix_create` does.
fn unix_kind(wanted: SocketType) -> Result<i32, Errno> {
    if !matches!(wanted.protocol, 0 | libc::AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match wanted.kind {
        libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_SEQPACKET => Ok(wanted.kind),
        libc::SOCK_RAW => Ok(libc::SOCK_DGRAM),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}
