//! The networks of one sandbox: which provider makes a socket.

use std::sync::{Arc, Weak};

use netstack::stack::InterfaceInfo;
use parking_lot::Mutex;
use sentry_abi::Errno;

use super::host;
use super::inet::{Inet, LinkConfig, NetworkError};
use super::netlink;
use super::unix::{self, UnixSocket};
use super::{Caller, Socket, SocketType};
use crate::vfs::OpenFile;

/// The two ends of a socketpair.
pub(crate) type Pair = (Arc<dyn Socket>, Arc<dyn Socket>);

/// Whose AF_INET and AF_INET6 sockets the guest gets.
enum Internet {
    /// Those of a stack of its own.
    Stack(Inet),
    /// The host's.
    Host,
}

/// What makes sockets.
pub struct Network {
    unix: Arc<unix::Names>,
    internet: Internet,
    /// Open sockets of all families, for /proc/net; dead ones are dropped when it has doubled.
    open: Mutex<Vec<Weak<OpenFile>>>,
}

impl Network {
    /// Unix sockets, and a network stack with a loopback interface and these links.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn start(links: Vec<LinkConfig>) -> Result<Arc<Self>, NetworkError> {
        Ok(Arc::new(Self {
            unix: Arc::default(),
            internet: Internet::Stack(Inet::start(links)?),
            open: Mutex::default(),
        }))
    }

    /// Unix sockets, and the internet sockets of the host, in the network namespace of the caller.
    pub fn of_host() -> Arc<Self> {
        Arc::new(Self {
            unix: Arc::default(),
            internet: Internet::Host,
            open: Mutex::default(),
        })
    }

    /// Lets connections deliver what was written to them before everything ends, for a bounded time: the
    /// stack ends with the sandbox, where the host's kernel outlives its processes.
    pub(crate) fn drain(&self) {
        /// A peer that does not take it in this time has to do without.
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(1);
        if let Internet::Stack(inet) = &self.internet {
            inet.net().drain(LIMIT);
        }
    }

    /// The network stack, if the guest has one of its own.
    pub fn inet(&self) -> Option<&Inet> {
        match &self.internet {
            Internet::Stack(inet) => Some(inet),
            Internet::Host => None,
        }
    }

    /// Notes an open socket.
    pub(crate) fn note_open(&self, file: &Arc<OpenFile>) {
        let mut open = self.open.lock();
        if open.len() == open.capacity() {
            open.retain(|file| file.strong_count() > 0);
            let room = open.len().max(64);
            open.reserve(room);
        }
        open.push(Arc::downgrade(file));
    }

    /// The sockets that are open.
    pub(crate) fn open_sockets(&self) -> Vec<Arc<OpenFile>> {
        // Closing one may need the lock's owner: what dies with this list dies without the lock.
        self.open.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// The interfaces of the guest's own stack.
    pub(crate) fn interfaces(&self) -> Option<Vec<InterfaceInfo>> {
        let net = self.inet()?.net();
        Some(net.with(|stack| stack.interfaces().collect()))
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
        match (wanted.family, &self.internet) {
            (libc::AF_UNIX, _) => Ok(UnixSocket::new(unix_kind(wanted)?, &self.unix)),
            (libc::AF_INET | libc::AF_INET6, Internet::Stack(inet)) => inet.socket(caller, wanted),
            (libc::AF_PACKET, Internet::Stack(inet)) => inet.packet_socket(caller, wanted),
            (libc::AF_NETLINK, Internet::Stack(inet)) => netlink::open(inet.net(), wanted),
            (libc::AF_INET | libc::AF_INET6, Internet::Host) => host::open(wanted),
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
