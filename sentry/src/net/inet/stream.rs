//! TCP sockets.

use std::sync::Arc;

use netstack::error::SocketError;
use netstack::host::Net;
use netstack::socket::tcp::{SendHow, TcpOption, TcpState, UrgentRead};
use netstack::socket::{Family, SocketId};
use netstack::stack::Stack;
use sentry_abi::Errno;

use super::endpoint::{Endpoint, PIECE_MAX, destination, domain, guest_addr};
use super::reports::{self, TCP_INQ, Wishes};
use super::{groups, options};
use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::family;
use crate::net::{Caller, Received, SendMeta, Shutdown, Socket, SocketType, send_pieces};
use crate::vfs::creds::cap;
use crate::wait::{Ready, WaitQueue};

/// Ports below need CAP_NET_BIND_SERVICE (ip_unprivileged_port_start).
pub(super) const UNPRIVILEGED_PORT_START: u16 = 1024;

/// A new TCP socket.
pub(super) fn open(net: &Net, family: Family) -> Arc<dyn Socket> {
    let id = net.with(|stack| stack.tcp_open_of(family));
    own(net, id, family)
}

fn own(net: &Net, id: SocketId, family: Family) -> Arc<dyn Socket> {
    Arc::new(TcpSocket {
        endpoint: Endpoint::new(net, id),
        family,
        wishes: Wishes::default(),
    })
}

struct TcpSocket {
    endpoint: Endpoint,
    family: Family,
    wishes: Wishes,
}

impl TcpSocket {
    /// `len` bytes, and what is told beside them.
    fn received(&self, len: usize) -> Received {
        let mut received = Received {
            len,
            ..Received::default()
        };
        self.wishes.tell_inq(&self.endpoint, &mut received.control);
        received
    }

    fn set_stamping(&self, value: &[u8]) -> Result<(), Errno> {
        let (flags, stamps) = Wishes::parse_stamping(value)?;
        let option = TcpOption::TxStamps(stamps);
        self.endpoint
            .call(|stack, id| stack.tcp_set_option(id, option))?;
        self.wishes.set_stamping(flags);
        Ok(())
    }

    /// recv(MSG_OOB) (`tcp_recv_urg`).
    fn recv_urgent(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        let peek = flags & libc::MSG_PEEK != 0;
        let read = self
            .endpoint
            .call(|stack, id| stack.tcp_recv_urgent(id, peek))?;
        let UrgentRead::Byte(byte) = read else {
            return Ok(Received::default());
        };
        if dst.remaining() == 0 {
            return Ok(Received {
                flags: libc::MSG_OOB | libc::MSG_TRUNC,
                ..Received::default()
            });
        }
        if flags & libc::MSG_TRUNC == 0 && dst.put(&[byte])? == 0 {
            return Err(Errno::EFAULT);
        }
        Ok(Received {
            len: 1,
            flags: libc::MSG_OOB,
            ..Received::default()
        })
    }
}

impl Socket for TcpSocket {
    fn socket_type(&self) -> SocketType {
        SocketType {
            family: domain(self.family),
            kind: libc::SOCK_STREAM,
            protocol: libc::IPPROTO_TCP,
        }
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let addr = guest_addr(self.family, addr)?;
        if addr.port() != 0
            && addr.port() < UNPRIVILEGED_PORT_START
            && !caller.path.creds.has(cap::NET_BIND_SERVICE)
        {
            return Err(Errno::EACCES);
        }
        self.endpoint.call(|stack, id| stack.tcp_bind(id, addr))
    }

    fn listen(&self, _: &Caller<'_>, backlog: i32) -> Result<(), Errno> {
        self.endpoint
            .call(|stack, id| stack.tcp_listen(id, backlog))
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        let (id, _) = self.endpoint.call(|stack, id| stack.tcp_accept(id))?;
        Ok(own(self.endpoint.net(), id, self.family))
    }

    fn connect(&self, _: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if family(addr)? == libc::AF_UNSPEC {
            return Err(Errno::EAFNOSUPPORT);
        }
        let addr = destination(self.family, addr)?;
        self.endpoint.call(|stack, id| stack.tcp_connect(id, addr))
    }

    fn connect_result(&self) -> Result<(), Errno> {
        self.endpoint.call(Stack::tcp_connect_result)
    }

    fn send(
        &self,
        _: &Caller<'_>,
        src: &mut dyn IoSrc,
        meta: SendMeta<'_>,
    ) -> Result<usize, Errno> {
        let has = |flag| meta.flags & flag != 0;
        let mut fast_open = has(libc::MSG_FASTOPEN);
        let to = match meta.to {
            Some(addr) if fast_open && family(addr)? == libc::AF_UNSPEC => {
                return Err(Errno::EOPNOTSUPP);
            }
            Some(addr) if fast_open => Some(destination(self.family, addr)?),
            _ => None,
        };
        send_pieces(src, PIECE_MAX, |piece, last| {
            let zero_copy = has(libc::MSG_ZEROCOPY);
            let mut how = SendHow {
                more: has(libc::MSG_MORE) || !last,
                end_of_record: has(libc::MSG_EOR) && last,
                urgent: has(libc::MSG_OOB),
                zero_copy,
                partial: !last,
                fast_open: core::mem::take(&mut fast_open),
                to,
                waits: false,
            };
            self.endpoint.call(|stack, id| {
                // A call that does not wait ends where the room does.
                let ends = has(libc::MSG_DONTWAIT) && stack.tcp_send_room(id) <= piece.len();
                how.partial &= !ends;
                stack.tcp_send_with(id, piece, how)
            })
        })
    }

    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            return reports::receive(&self.endpoint, self.family, &self.wishes);
        }
        if flags & libc::MSG_OOB != 0 {
            return self.recv_urgent(dst, flags);
        }
        if flags & libc::MSG_PEEK != 0 {
            let mut piece = vec![0; dst.remaining().min(PIECE_MAX)];
            let count = self
                .endpoint
                .call(|stack, id| stack.tcp_recv(id, &mut piece, true))?;
            let len = dst.put(&piece[..count])?;
            return Ok(self.received(len));
        }
        let mut len = 0;
        loop {
            let wanted = dst.remaining().min(PIECE_MAX);
            let bytes = match self.endpoint.call(|stack, id| match len {
                0 => stack.tcp_recv_bytes(id, wanted),
                // What has been read ends where urgent data begins.
                _ if stack.tcp_at_mark(id) => Err(SocketError::WouldBlock),
                _ => stack.tcp_recv_bytes(id, wanted),
            }) {
                Err(_) if len > 0 => break,
                result => result?,
            };
            // MSG_TRUNC discards instead of copying (tcp(7)).
            len += if flags & libc::MSG_TRUNC != 0 {
                bytes.len()
            } else {
                dst.put(&bytes)?
            };
            if bytes.is_empty() || dst.remaining() == 0 || flags & libc::MSG_TRUNC != 0 {
                break;
            }
        }
        Ok(self.received(len))
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.endpoint.shutdown(how)
    }

    fn local_addr(&self) -> Result<Vec<u8>, Errno> {
        self.endpoint.local_addr()
    }

    fn peer_addr(&self) -> Result<Vec<u8>, Errno> {
        self.endpoint.peer_addr()
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        match (level, name) {
            // `struct so_timestamping`: the flags, and no clock of its own.
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => {
                let words = [self.wishes.stamping(), 0];
                return Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect());
            }
            (libc::IPPROTO_TCP, TCP_INQ) => {
                return Ok(i32::from(self.wishes.inq()).to_ne_bytes().to_vec());
            }
            _ => {}
        }
        options::get_tcp(&self.endpoint, self.socket_type(), level, name)
    }

    fn set_option(&self, _: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if let Some(error) = groups::refused_by_streams(level, name) {
            return Err(error);
        }
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => return self.set_stamping(value),
            (libc::IPPROTO_TCP, TCP_INQ) => return self.wishes.set_inq(value),
            _ => {}
        }
        options::set_tcp(&self.endpoint, self.family, level, name, value)
    }

    fn readable_bytes(&self) -> usize {
        self.endpoint.look(|stack, id| stack.tcp_readable_bytes(id))
    }

    fn never_sent_bytes(&self) -> Option<usize> {
        Some(self.endpoint.look(|stack, id| stack.tcp_unsent_bytes(id)))
    }

    fn has_queues(&self) -> bool {
        let state = self.endpoint.look(|stack, id| stack.tcp_state(id));
        state != Ok(TcpState::Listen)
    }

    fn is_at_mark(&self) -> Option<bool> {
        Some(self.endpoint.look(|stack, id| stack.tcp_at_mark(id)))
    }

    fn unsent_bytes(&self) -> usize {
        self.endpoint
            .look(|stack, id| stack.tcp_unacknowledged_bytes(id))
    }

    fn readiness(&self) -> Ready {
        self.endpoint.readiness()
    }

    fn wait_queue(&self) -> &WaitQueue {
        self.endpoint.queue()
    }
}
