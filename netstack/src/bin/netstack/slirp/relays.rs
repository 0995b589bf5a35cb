//! TCP connections: each is a socket of the stack and one of the host, and bytes go between them.
//!
//! A relay holds no bytes. What the namespace has sent stays in the stack's receive queue until the
//! host's socket has taken it, so that a slow reader on the host closes the window in the namespace; what
//! the host has sent is read only as far as the stack's send queue has room, so that a slow reader in the
//! namespace closes the window on the host. Ends of streams, resets and refusals go on as what they are.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use netstack::error::SocketError;
use netstack::socket::intercept::{OfferId, TcpOffer, Unreachable};
use netstack::socket::tcp::TcpOption;
use netstack::socket::{self, Readiness, SocketId};
use nix::sys::epoll::EpollFlags;

use super::hostsock::{self, Failure};
use super::plan::Target;
use super::shared::{Owner, SCRATCH, Shared};
use super::table::{Key, Table, Token};

/// Bytes that one direction of one connection moves before others get their turn.
const BUDGET: usize = 512 * 1024;

/// The namespace's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guest {
    /// Its SYN waits until the host's connection stands.
    Offered(OfferId),
    /// A socket of the stack, its handshake complete or not.
    Socket(SocketId),
}

/// One connection.
struct Relay {
    host: TcpStream,
    guest: Guest,
    /// The host's socket may have something to read, and room to write.
    readable: bool,
    writable: bool,
    /// The host's socket has reported an end or an error: a short read is not the last.
    ending: bool,
    /// The stream from the namespace, and that from the host, have been ended on the other side.
    out_ended: bool,
    in_ended: bool,
    /// It is in the list of those that have something to do.
    queued: bool,
}

/// Why a relay ends.
enum End {
    /// Both streams have ended.
    Done,
    /// One end was reset, and the other is to be too.
    Reset,
}

/// All connections.
#[derive(Default)]
pub(super) struct Relays {
    table: Table<Relay>,
    work: VecDeque<Key>,
}

impl Relays {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// True if somebody waits for their turn.
    pub(super) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Those count too that are over for us, and whose last segments the namespace has not acknowledged.
    fn is_full(&self, cx: &Shared) -> bool {
        self.table.len() >= cx.limits.relays || cx.stack.usage().tcp_sockets >= 2 * cx.limits.relays
    }

    /// The namespace wants to connect.
    pub(super) fn offered(&mut self, cx: &mut Shared, offer: TcpOffer) {
        let to = match cx.target(offer.to) {
            Target::Host(to) => to,
            Target::Nowhere(why) => {
                let failure = match why {
                    Unreachable::Port => Failure::Refused,
                    why => Failure::Unreachable(why),
                };
                return fail_offer(cx, offer.id, failure);
            }
        };
        if self.is_full(cx) {
            cx.counters.tcp_dropped += 1;
            return fail_offer(cx, offer.id, Failure::Silent);
        }
        match hostsock::tcp_connect(to, cx.plan.source_for(to)) {
            Ok(host) => {
                self.add(cx, host, Guest::Offered(offer.id));
            }
            Err(error) => fail_offer(cx, offer.id, Failure::of(&error)),
        }
    }

    /// A connection of a client's to a forwarded port: `to` is in the namespace.
    pub(super) fn accepted(
        &mut self,
        cx: &mut Shared,
        host: TcpStream,
        (client, to): (SocketAddr, SocketAddr),
    ) {
        if self.is_full(cx) {
            cx.counters.tcp_dropped += 1;
            hostsock::reset_on_close(&host);
            return;
        }
        // Without it small answers wait; the connection works all the same.
        let _ = host.set_nodelay(true);
        let id = cx.stack.tcp_open();
        urgent_inline(cx, id);
        let from = SocketAddr::new(cx.plan.source_of_client(client.ip()), 0);
        let begun = cx.stack.tcp_bind(id, from);
        let begun = begun.and_then(|()| cx.stack.tcp_connect(id, to));
        if !matches!(begun, Ok(()) | Err(SocketError::InProgress))
            || host.set_nonblocking(true).is_err()
        {
            cx.stack.close(id);
            hostsock::reset_on_close(&host);
            return;
        }
        cx.counters.tcp_in += 1;
        no_delay(cx, id);
        if let Some(key) = self.add(cx, host, Guest::Socket(id)) {
            cx.owners.insert(id, Owner::Relay(key));
        }
    }

    fn add(&mut self, cx: &mut Shared, host: TcpStream, guest: Guest) -> Option<Key> {
        cx.size_buffers(self.table.len() + 1);
        let key = self.table.insert(Relay {
            host,
            guest,
            readable: false,
            writable: false,
            ending: false,
            out_ended: false,
            in_ended: false,
            queued: false,
        });
        let relay = self.table.get(key)?;
        if cx.watch_edges(&relay.host, Token::Relay(key)).is_ok() {
            return Some(key);
        }
        cx.counters.tcp_dropped += 1;
        self.remove(cx, key, &End::Reset);
        None
    }

    /// The host's socket has news.
    pub(super) fn host_event(&mut self, cx: &mut Shared, key: Key, flags: EpollFlags) {
        let Some(relay) = self.table.get_mut(key) else {
            return;
        };
        let over = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        relay.ending |= flags.intersects(over | EpollFlags::EPOLLRDHUP);
        relay.readable |= relay.ending || flags.contains(EpollFlags::EPOLLIN);
        relay.writable |= flags.intersects(over | EpollFlags::EPOLLOUT);
        let failed = flags.contains(EpollFlags::EPOLLERR);
        match relay.guest {
            Guest::Offered(offer) => {
                if relay.writable {
                    self.host_connected(cx, key, offer);
                }
            }
            Guest::Socket(_) => {
                // Told at once, even if nothing can be read because the namespace's window is closed.
                if failed && matches!(relay.host.take_error(), Ok(Some(_)) | Err(_)) {
                    return self.remove(cx, key, &End::Reset);
                }
                self.queue(key);
            }
        }
    }

    /// The host's socket is connected, or is not going to be.
    fn host_connected(&mut self, cx: &mut Shared, key: Key, offer: OfferId) {
        let Some(relay) = self.table.get_mut(key) else {
            return;
        };
        let error = relay.host.take_error().unwrap_or_else(Some);
        if let Some(error) = error {
            self.table.remove(key);
            return fail_offer(cx, offer, Failure::of(&error));
        }
        match cx.stack.offer_accept(offer) {
            Ok(id) => {
                relay.guest = Guest::Socket(id);
                cx.counters.tcp_out += 1;
                no_delay(cx, id);
                urgent_inline(cx, id);
                cx.owners.insert(id, Owner::Relay(key));
                self.queue(key);
            }
            // It has given up meanwhile.
            Err(_) => self.remove(cx, key, &End::Reset),
        }
    }

    /// The stack's socket has news, or somebody wants the relay to look.
    pub(super) fn queue(&mut self, key: Key) {
        if let Some(relay) = self.table.get_mut(key)
            && !std::mem::replace(&mut relay.queued, true)
        {
            self.work.push_back(key);
        }
    }

    /// Each that has something to do gets one turn.
    pub(super) fn run(&mut self, cx: &mut Shared) {
        for _ in 0..self.work.len() {
            let Some(key) = self.work.pop_front() else {
                return;
            };
            let Some(relay) = self.table.get_mut(key) else {
                continue;
            };
            relay.queued = false;
            match relay.turn(cx) {
                Ok(true) => self.queue(key),
                Ok(false) => {}
                Err(end) => self.remove(cx, key, &end),
            }
        }
    }

    fn remove(&mut self, cx: &mut Shared, key: Key, end: &End) {
        let Some(relay) = self.table.remove(key) else {
            return;
        };
        cx.size_buffers(self.table.len());
        let reset = matches!(end, End::Reset);
        if reset {
            cx.counters.tcp_resets += 1;
            hostsock::reset_on_close(&relay.host);
        }
        match relay.guest {
            // The peer may try again.
            Guest::Offered(offer) => drop(cx.stack.offer_drop(offer)),
            Guest::Socket(id) => {
                if reset {
                    // It may be gone already.
                    let _ = cx.stack.tcp_abort(id);
                }
                cx.close(id);
            }
        }
    }
}

fn no_delay(cx: &mut Shared, id: SocketId) {
    // It exists, and takes the option.
    let _ = cx.stack.tcp_set_option(id, TcpOption::NoDelay(true));
}

/// A relay carries bytes, urgent or not.
fn urgent_inline(cx: &mut Shared, id: SocketId) {
    // It exists, and takes the option.
    let _ = cx.stack.tcp_set_option(id, TcpOption::OobInline(true));
}

fn fail_offer(cx: &mut Shared, offer: OfferId, failure: Failure) {
    cx.counters.tcp_refused += u64::from(failure != Failure::Silent);
    // An offer that is gone needs no answer.
    let _ = match failure {
        Failure::Refused => cx.stack.offer_refuse(offer),
        Failure::Unreachable(why) => cx.stack.offer_unreachable(offer, why),
        Failure::Silent => cx.stack.offer_drop(offer),
    };
}

impl Relay {
    /// Moves what can be moved, up to the budget. True if there is more.
    fn turn(&mut self, cx: &mut Shared) -> Result<bool, End> {
        let Guest::Socket(id) = self.guest else {
            return Ok(false);
        };
        let ready = cx.stack.readiness(id).ok_or(End::Reset)?;
        if ready.contains(Readiness::ERROR) {
            return Err(End::Reset);
        }
        let more_out = self.outwards(cx, id)?;
        let more_in = self.inwards(cx, id)?;
        if self.out_ended && self.in_ended {
            return Err(End::Done);
        }
        Ok(more_out || more_in)
    }

    /// From the namespace to the host.
    fn outwards(&mut self, cx: &mut Shared, id: SocketId) -> Result<bool, End> {
        let mut moved = 0;
        while self.writable && !self.out_ended {
            if moved >= BUDGET {
                return Ok(true);
            }
            let ranges = match cx.stack.tcp_peek_ranges(id) {
                Ok(ranges) => ranges,
                Err(SocketError::WouldBlock) => break,
                Err(_) => return Err(End::Reset),
            };
            if ranges.is_empty() {
                self.out_ended = true;
                // Fails only if the connection is gone, which the other direction finds out.
                let _ = self.host.shutdown(Shutdown::Write);
                break;
            }
            let parts: smallvec::SmallVec<[IoSlice<'_>; 16]> =
                ranges.iter().map(|range| IoSlice::new(range)).collect();
            match (&self.host).write_vectored(&parts) {
                Ok(taken) => {
                    moved += taken;
                    cx.counters.tcp_bytes_out += taken as u64;
                    let whole: usize = ranges.iter().map(|range| range.len()).sum();
                    self.writable = taken == whole;
                    cx.stack.tcp_consume(id, taken).map_err(|_| End::Reset)?;
                }
                Err(error) => self.writable = !would_block(&error)?,
            }
        }
        Ok(false)
    }

    /// From the host to the namespace.
    fn inwards(&mut self, cx: &mut Shared, id: SocketId) -> Result<bool, End> {
        let mut moved = 0;
        while self.readable && !self.in_ended {
            if moved >= BUDGET {
                return Ok(true);
            }
            // As poll(2) has it: not a few bytes at a time.
            let ready = cx.stack.readiness(id).ok_or(End::Reset)?;
            let room = cx.stack.tcp_send_room(id).min(SCRATCH);
            if room == 0 || !ready.contains(Readiness::WRITABLE) {
                break;
            }
            match (&self.host).read(&mut cx.scratch[..room]) {
                Ok(0) => {
                    self.in_ended = true;
                    // Fails only if the connection is gone, which the other direction finds out.
                    let _ = cx.stack.shutdown(id, socket::Shutdown::Write);
                }
                Ok(got) => {
                    moved += got;
                    cx.counters.tcp_bytes_in += got as u64;
                    // After a short read there is an edge before there is more, unless it has been.
                    self.readable = got == room || self.ending;
                    let sent = cx.stack.tcp_send(id, &cx.scratch[..got], false);
                    if sent != Ok(got) {
                        return Err(End::Reset);
                    }
                }
                Err(error) => self.readable = !would_block(&error)?,
            }
        }
        Ok(false)
    }
}

/// True if the call has to be made again later, false if at once.
fn would_block(error: &io::Error) -> Result<bool, End> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(true),
        ErrorKind::Interrupted => Ok(false),
        _ => Err(End::Reset),
    }
}
