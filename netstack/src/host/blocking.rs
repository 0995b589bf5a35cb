//! What the blocking sockets have in common: a socket of the stack, and the threads blocked on it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::errno::to_io;
use super::net::Net;
use super::subscribe::SubscriptionId;
use super::waiter::Waiter;
use crate::error::SocketError;
use crate::socket::{Family, SocketId};
use crate::stack::Stack;

/// The threads blocked on one socket. Locked after the stack, never before.
#[derive(Default)]
struct WaitList {
    waiters: Mutex<SmallVec<[Waiter; 2]>>,
}

impl WaitList {
    fn notify_all(&self) {
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.iter().for_each(Waiter::notify);
    }
}

/// The address family of a socket for `addr`.
pub(super) fn family_of(addr: SocketAddr) -> Family {
    match addr {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    }
}

/// A socket that is closed when the last handle is gone.
pub(super) struct Socket {
    net: Net,
    id: SocketId,
    waiting: Arc<WaitList>,
    subscription: SubscriptionId,
    nonblocking: AtomicBool,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

/// Nanoseconds, 0 for none.
#[derive(Default)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    /// As `std::net`: zero is refused, `None` waits for ever.
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|t| t.is_zero()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let nanos = timeout.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

impl Socket {
    /// Takes the socket over.
    pub(super) fn new(net: &Net, id: SocketId) -> Self {
        let waiting = Arc::new(WaitList::default());
        let list = waiting.clone();
        let subscription = net.subscribe(id, Arc::new(move |_| list.notify_all()));
        Self {
            net: net.clone(),
            id,
            waiting,
            subscription,
            nonblocking: AtomicBool::new(false),
            read_timeout: Timeout::default(),
            write_timeout: Timeout::default(),
        }
    }

    pub(super) fn id(&self) -> SocketId {
        self.id
    }

    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    pub(super) fn read_timeout(&self) -> &Timeout {
        &self.read_timeout
    }

    pub(super) fn write_timeout(&self) -> &Timeout {
        &self.write_timeout
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    /// One call that does not wait.
    pub(super) fn call<R>(
        &self,
        f: impl FnOnce(&mut Stack, SocketId) -> Result<R, SocketError>,
    ) -> io::Result<R> {
        self.net.with(|stack| f(stack, self.id)).map_err(to_io)
    }

    /// Repeats `f` until it does something else than `WouldBlock`, the timeout has passed (EAGAIN, as
    /// with SO_RCVTIMEO), or at once if the socket is non-blocking.
    pub(super) fn block<R>(
        &self,
        timeout: &Timeout,
        f: impl FnMut(&mut Stack, SocketId) -> Result<R, SocketError>,
    ) -> io::Result<R> {
        self.block_for(timeout.get(), f)
    }

    pub(super) fn block_for<R>(
        &self,
        timeout: Option<Duration>,
        mut f: impl FnMut(&mut Stack, SocketId) -> Result<R, SocketError>,
    ) -> io::Result<R> {
        let mut waiter: Option<Waiter> = None;
        let mut deadline = None;
        loop {
            let result = self.net.with(|stack| {
                let result = f(stack, self.id);
                if matches!(result, Err(SocketError::WouldBlock)) && !self.is_nonblocking() {
                    // Under the stack's lock, so that no change comes between the look and this.
                    let waiter = waiter.get_or_insert_with(|| self.net.waiter());
                    self.waiting.waiters.lock().push(waiter.clone());
                    if deadline.is_none() {
                        deadline = timeout.map(|t| stack.now() + t);
                    }
                }
                result
            });
            let Some(waiter) = waiter
                .as_ref()
                .filter(|_| matches!(result, Err(SocketError::WouldBlock)))
            else {
                return result.map_err(to_io);
            };
            if !self.net.park(waiter, deadline) {
                self.waiting.waiters.lock().retain(|w| !w.is(waiter));
                return Err(to_io(SocketError::WouldBlock));
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.net.unsubscribe(self.subscription);
        self.net.with(|stack| stack.close(self.id));
    }
}
