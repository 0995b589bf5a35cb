//! AF_NETLINK: the sockets that programs ask about links, addresses and routes with.
//!
//! Nothing of these changes in a sandbox, so no multicast group ever has something to tell.

mod message;
mod route;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use netstack::host::Net;
use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::family;
use crate::net::{Caller, Received, SendMeta, Shutdown, Socket, SocketType, option_int};
use crate::wait::{Ready, WaitQueue};

/// Longest datagram of requests.
const SEND_MAX: usize = 32 << 10;

/// Most bytes of answers that wait.
const QUEUE_MAX: usize = 1 << 20;

/// Port ids that sockets get which ask for none, above all process ids.
static NEXT_PORT: AtomicU32 = AtomicU32::new(1 << 30);

/// A socket (socket(2)).
///
/// # Errors
/// ESOCKTNOSUPPORT; EPROTONOSUPPORT for what is not NETLINK_ROUTE.
pub(super) fn open(net: &Net, wanted: SocketType) -> Result<Arc<dyn Socket>, Errno> {
    if ![libc::SOCK_RAW, libc::SOCK_DGRAM].contains(&wanted.kind) {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if wanted.protocol != libc::NETLINK_ROUTE {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(Arc::new(NetlinkSocket {
        net: net.clone(),
        kind: wanted.kind,
        port: AtomicU32::new(0),
        groups: AtomicU32::new(0),
        buffers: [const { AtomicI32::new(212_992) }; 2],
        extended: AtomicBool::new(false),
        answers: Mutex::default(),
        queue: WaitQueue::new(),
    }))
}

struct NetlinkSocket {
    net: Net,
    kind: i32,
    /// 0 until it is bound.
    port: AtomicU32,
    groups: AtomicU32,
    /// SO_SNDBUF and SO_RCVBUF as set.
    buffers: [AtomicI32; 2],
    /// NETLINK_EXT_ACK: answers may say more than an errno; ours do not.
    extended: AtomicBool,
    answers: Mutex<VecDeque<Vec<u8>>>,
    queue: WaitQueue,
}

/// Port id and groups of a `struct sockaddr_nl`.
fn parse(addr: &[u8]) -> Result<(u32, u32), Errno> {
    if family(addr)? != libc::AF_NETLINK || addr.len() < 12 {
        return Err(Errno::EINVAL);
    }
    let word = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| addr[at + i]));
    Ok((word(4), word(8)))
}

fn emit(port: u32, groups: u32) -> Vec<u8> {
    let head = [(libc::AF_NETLINK as u16).to_ne_bytes(), [0; 2]].concat();
    [&head[..], &port.to_ne_bytes(), &groups.to_ne_bytes()].concat()
}

impl NetlinkSocket {
    fn port(&self) -> u32 {
        let port = self.port.load(Ordering::Relaxed);
        if port != 0 {
            return port;
        }
        let new = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        match self
            .port
            .compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => new,
            Err(other) => other,
        }
    }
}

impl Socket for NetlinkSocket {
    fn socket_type(&self) -> SocketType {
        SocketType {
            family: libc::AF_NETLINK,
            kind: self.kind,
            protocol: libc::NETLINK_ROUTE,
        }
    }

    fn bind(&self, _: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let (port, groups) = parse(addr)?;
        let old = self.port.load(Ordering::Relaxed);
        if old != 0 && port != 0 && port != old {
            return Err(Errno::EINVAL);
        }
        if port != 0 {
            self.port.store(port, Ordering::Relaxed);
        }
        self.port();
        self.groups.store(groups, Ordering::Relaxed);
        Ok(())
    }

    fn listen(&self, _: &Caller<'_>, _: i32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn connect(&self, _: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if family(addr)? == libc::AF_UNSPEC {
            return Ok(());
        }
        match parse(addr)? {
            (0, 0) => {
                self.port();
                Ok(())
            }
            _ => Err(Errno::ECONNREFUSED),
        }
    }

    fn send(
        &self,
        caller: &Caller<'_>,
        src: &mut dyn IoSrc,
        meta: SendMeta<'_>,
    ) -> Result<usize, Errno> {
        if meta.flags & libc::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        // Only the kernel is there to talk to.
        if let Some(to) = meta.to
            && parse(to)?.0 != 0
        {
            return Err(Errno::ECONNREFUSED);
        }
        let len = src.remaining();
        if len > SEND_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            filled += src.take(&mut bytes[filled..])?;
        }
        let port = self.port();
        for request in message::requests(&bytes) {
            let waiting: usize = self.answers.lock().iter().map(Vec::len).sum();
            if waiting > QUEUE_MAX {
                return Err(Errno::ENOBUFS);
            }
            let creds = &caller.path.creds;
            let answers = route::answer(&self.net, creds, port, &request);
            self.answers.lock().extend(answers);
        }
        self.queue.notify(Ready::IN | Ready::RDNORM);
        Ok(len)
    }

    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        if flags & libc::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let datagram = {
            let mut answers = self.answers.lock();
            if flags & libc::MSG_PEEK != 0 {
                answers.front().cloned()
            } else {
                answers.pop_front()
            }
        };
        let datagram = datagram.ok_or(Errno::EAGAIN)?;
        // A buffer of no length is how programs ask for the size (MSG_PEEK | MSG_TRUNC).
        let copied = if dst.remaining() == 0 {
            0
        } else {
            dst.put(&datagram)?
        };
        Ok(Received {
            len: if flags & libc::MSG_TRUNC != 0 {
                datagram.len()
            } else {
                copied
            },
            from: emit(0, 0),
            flags: if copied < datagram.len() {
                libc::MSG_TRUNC
            } else {
                0
            },
            ..Received::default()
        })
    }

    fn shutdown(&self, _: Shutdown) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_addr(&self) -> Result<Vec<u8>, Errno> {
        let port = self.port.load(Ordering::Relaxed);
        Ok(emit(port, self.groups.load(Ordering::Relaxed)))
    }

    fn peer_addr(&self) -> Result<Vec<u8>, Errno> {
        Ok(emit(0, 0))
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let buffer = |at: usize| self.buffers[at].load(Ordering::Relaxed);
        let value = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_TYPE) => self.kind,
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => libc::AF_NETLINK,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => libc::NETLINK_ROUTE,
            (libc::SOL_SOCKET, libc::SO_ERROR | libc::SO_ACCEPTCONN) => 0,
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => buffer(0),
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => buffer(1),
            (libc::SOL_NETLINK, libc::NETLINK_EXT_ACK) => {
                self.extended.load(Ordering::Relaxed).into()
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    fn set_option(&self, _: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let value = option_int(value)?;
        match (level, name) {
            // Twice what is asked for, as everywhere; the queue has a limit of its own.
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_RCVBUF) => {
                let at = usize::from(name == libc::SO_RCVBUF);
                let doubled = value.clamp(1 << 11, 106_496) * 2;
                self.buffers[at].store(doubled, Ordering::Relaxed);
                Ok(())
            }
            (libc::SOL_NETLINK, libc::NETLINK_EXT_ACK) => {
                self.extended.store(value != 0, Ordering::Relaxed);
                Ok(())
            }
            // Strict checks are not made: whoever asks for them filters by himself instead.
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn readable_bytes(&self) -> usize {
        self.answers.lock().front().map_or(0, Vec::len)
    }

    fn readiness(&self) -> Ready {
        let mut ready = Ready::OUT | Ready::WRNORM;
        if !self.answers.lock().is_empty() {
            ready |= Ready::IN | Ready::RDNORM;
        }
        ready
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }
}
