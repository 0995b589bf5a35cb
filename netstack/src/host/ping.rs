//! ICMP echo round trips.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::blocking::{Socket, family_of};
use super::errno::to_io;
use super::net::Net;
use crate::buf::Bytes;
use crate::socket::{Family, RawKind};
use crate::stack::Stack;
use crate::wire::{icmpv4, icmpv6};

/// Type, code, checksum, identifier, sequence number (RFC 792, RFC 4443).
const ECHO_HEADER: usize = 8;

/// An ICMP echo socket that asks one host.
pub struct Pinger {
    socket: Socket,
    /// Types of request and reply.
    kinds: [u8; 2],
}

impl Pinger {
    /// Opens an echo socket to `host`.
    ///
    /// # Errors
    /// ENETUNREACH, EAFNOSUPPORT.
    pub fn new(net: &Net, host: IpAddr) -> io::Result<Self> {
        Self::to(net, SocketAddr::new(host, 0))
    }

    /// The same with an address that may have a scope; its port is ignored.
    ///
    /// # Errors
    /// As [`Pinger::new`], and EINVAL for a link-local address without a scope.
    pub fn to(net: &Net, host: SocketAddr) -> io::Result<Self> {
        let family = family_of(host);
        let id = net
            .with(|stack| stack.raw_open(family, RawKind::Echo))
            .map_err(to_io)?;
        let socket = Socket::new(net, id);
        socket.call(|stack, id| stack.raw_connect(id, Some(host)))?;
        let kinds = match family {
            Family::V4 => [icmpv4::kind::ECHO_REQUEST, icmpv4::kind::ECHO_REPLY],
            Family::V6 => [icmpv6::kind::ECHO_REQUEST, icmpv6::kind::ECHO_REPLY],
        };
        Ok(Self { socket, kinds })
    }

    /// Sends a request with `size` payload bytes and waits for its reply. Returns the round trip time.
    ///
    /// # Errors
    /// `TimedOut` without a reply in time; what a router says, for example EHOSTUNREACH.
    pub fn ping(&mut self, seq: u16, size: usize, timeout: Duration) -> io::Result<Duration> {
        let mut message = vec![0; ECHO_HEADER + size];
        message[0] = self.kinds[0];
        message[6..8].copy_from_slice(&seq.to_be_bytes());
        for (i, byte) in message[ECHO_HEADER..].iter_mut().enumerate() {
            *byte = i as u8;
        }
        let message = Bytes::from(message);
        let net = self.socket.net();
        let start = net.now();
        let deadline = start + timeout;
        self.socket.block_for(Some(timeout), |stack, id| {
            stack.raw_send(id, message.clone(), None)
        })?;
        loop {
            let left = deadline.since(net.now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let received = self.socket.block_for(Some(left), Stack::raw_recv);
            let reply = received.map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => error,
            })?;
            let ours = reply.data.len() == message.len()
                && reply.data[0] == self.kinds[1]
                && reply.data[6..] == message[6..];
            if ours {
                return Ok(reply.arrival.since(start));
            }
        }
    }
}
