//! Echo requests that go on through ping sockets of the host, where they are allowed.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use netstack::socket::intercept::EchoRequest;
use netstack::time::{Duration, Instant};
use nix::sys::epoll::EpollFlags;

use super::hostsock;
use super::plan::Target;
use super::shared::Shared;
use super::table::{Key, Table, Token};
use netstack::buf::Bytes;

/// Pings under way at a time.
const PINGS_MAX: usize = 64;
/// How long a socket is kept without a request or reply.
const IDLE: Duration = Duration::from_secs(30);
/// Type, code, checksum, identifier, sequence number (RFC 792).
const HEADER: usize = 8;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// One `ping` in the namespace.
type Who = (IpAddr, IpAddr, u16);

struct Ping {
    who: Who,
    host: UdpSocket,
    last_used: Instant,
}

/// All pings.
#[derive(Default)]
pub(super) struct Pings {
    table: Table<Ping>,
    by_who: HashMap<Who, Key>,
    /// It has been said that ping sockets are not allowed.
    told: bool,
}

impl Pings {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// A request of the namespace's.
    pub(super) fn request(&mut self, cx: &mut Shared, request: &EchoRequest) {
        if self.try_request(cx, request).is_none() {
            cx.counters.echo_dropped += 1;
        }
    }

    fn try_request(&mut self, cx: &mut Shared, request: &EchoRequest) -> Option<()> {
        let who = (request.from, request.to, request.ident);
        let key = match self.by_who.get(&who) {
            Some(key) => *key,
            None => self.open(cx, who)?,
        };
        let ping = self.table.get_mut(key)?;
        ping.last_used = request.arrival;
        // The kernel fills the checksum in, and its own identifier.
        let mut message = vec![0; HEADER];
        message[0] = ECHO_REQUEST;
        message[6..8].copy_from_slice(&request.seq.to_be_bytes());
        message.extend_from_slice(&request.data);
        ping.host.send(&message).ok()?;
        cx.counters.echo_out += 1;
        Some(())
    }

    fn open(&mut self, cx: &mut Shared, who: Who) -> Option<Key> {
        if self.table.len() >= PINGS_MAX {
            return None;
        }
        let Target::Host(to) = cx.target(SocketAddr::new(who.1, 0)) else {
            return None;
        };
        let host = match hostsock::ping_connect(to, cx.plan.source_for(to)) {
            Ok(host) => host,
            Err(error) => {
                self.explain(&error);
                return None;
            }
        };
        let key = self.table.insert(Ping {
            who,
            host,
            last_used: cx.stack.now(),
        });
        self.by_who.insert(who, key);
        let ping = self.table.get(key)?;
        if cx
            .watch(&ping.host, EpollFlags::EPOLLIN, Token::Ping(key))
            .is_err()
        {
            self.end(key);
            return None;
        }
        Some(key)
    }

    fn explain(&mut self, error: &io::Error) {
        if error.kind() == ErrorKind::PermissionDenied && !std::mem::replace(&mut self.told, true) {
            eprintln!(
                "netstack: pings do not leave: the sysctl net.ipv4.ping_group_range does not allow this group ping sockets"
            );
        }
    }

    /// A reply, or an error, which the namespace sees as silence.
    pub(super) fn host_event(&mut self, cx: &mut Shared, key: Key) {
        let Some(ping) = self.table.get_mut(key) else {
            return;
        };
        while let Some(len) = received(&ping.host, &mut cx.scratch) {
            let message = &cx.scratch[..len];
            if len < HEADER || message[0] != ECHO_REPLY {
                continue;
            }
            let (from, to, ident) = ping.who;
            let request = EchoRequest {
                from,
                to,
                ident,
                seq: u16::from_be_bytes([message[6], message[7]]),
                data: Bytes::new(),
                arrival: cx.stack.now(),
            };
            let data = Bytes::copy_from_slice(&message[HEADER..]);
            ping.last_used = request.arrival;
            match cx.stack.intercept_echo_reply(&request, data) {
                true => cx.counters.echo_in += 1,
                false => cx.counters.echo_dropped += 1,
            }
        }
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&mut self, now: Instant) {
        let idle = |ping: &Ping| now.since(ping.last_used) > IDLE;
        let over: Vec<Key> = self
            .table
            .iter()
            .filter(|(_, ping)| idle(ping))
            .map(|(key, _)| key)
            .collect();
        over.into_iter().for_each(|key| self.end(key));
    }

    fn end(&mut self, key: Key) {
        if let Some(ping) = self.table.remove(key) {
            self.by_who.remove(&ping.who);
        }
    }
}

/// The length of the next message, past errors of earlier ones.
fn received(host: &UdpSocket, buffer: &mut [u8]) -> Option<usize> {
    // An error is taken by the call that reports it; a second in a row can wait.
    for _ in 0..2 {
        match host.recv(buffer) {
            Ok(len) => return Some(len),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(_) => {}
        }
    }
    None
}
