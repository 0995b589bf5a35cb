//! One device, and the thread that serves it: reads batches, hands them to the stack, and sends what
//! the stack has for it. Whoever holds a port's lock is the only one that touches the device, which
//! is what keeps transmitted packets in order; nobody waits for that lock.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::reactor::Reactor;
use crate::buf::{RxBatch, TxBatch};
use crate::link::Device;
use crate::network::IfaceId;
use crate::time::Instant;

/// A device as the host layer keeps it.
pub(super) struct Port {
    pub(super) iface: IfaceId,
    /// Its index in the reactor.
    index: usize,
    /// Somebody found the lock taken and leaves its work to the holder, who looks here after unlocking.
    wanted: AtomicBool,
    /// The descriptor has spoken, so it is disarmed, and nobody has armed it again yet.
    spoken: AtomicBool,
    /// When the device itself has something to do, in nanoseconds; `u64::MAX` for never.
    next_due: AtomicU64,
    work: Mutex<Work>,
}

/// What the holder of the lock works with.
pub(super) struct Work {
    device: Box<dyn Device + Send>,
    /// Packets taken from the stack that the device has not taken yet.
    tx: TxBatch,
    rx: RxBatch,
    /// Set by the error that ended the device's life.
    failed: Option<io::Error>,
    /// The descriptor is armed for writing too.
    awaits_room: bool,
}

/// The lock of a port.
pub(super) type Guard<'a> = MutexGuard<'a, Work>;

impl Port {
    pub(super) fn new(
        iface: IfaceId,
        index: usize,
        device: Box<dyn Device + Send>,
        reactor: &Reactor,
    ) -> io::Result<Self> {
        if let Some(fd) = device.fd() {
            reactor.add(index, fd)?;
        }
        Ok(Self {
            iface,
            index,
            wanted: AtomicBool::new(false),
            spoken: AtomicBool::new(false),
            next_due: AtomicU64::new(u64::MAX),
            work: Mutex::new(Work {
                device,
                tx: TxBatch::new(),
                rx: RxBatch::new(),
                failed: None,
                awaits_room: false,
            }),
        })
    }

    /// The lock, if it is free; if not, its holder will look again after letting go.
    pub(super) fn try_lock(&self) -> Option<Guard<'_>> {
        if let Some(guard) = self.work.try_lock() {
            return Some(guard);
        }
        self.wanted.store(true, Ordering::SeqCst);
        // The holder may have looked before the flag was set, and let go since.
        self.work.try_lock()
    }

    /// Lets go of the lock. Returns it again if somebody left work meanwhile.
    pub(super) fn unlock<'a>(&'a self, guard: Guard<'a>) -> Option<Guard<'a>> {
        drop(guard);
        if self.wanted.swap(false, Ordering::SeqCst) {
            return self.work.try_lock();
        }
        None
    }

    /// To be called when the reactor reports the device, before locking.
    pub(super) fn note_spoken(&self) {
        self.spoken.store(true, Ordering::SeqCst);
    }

    /// True if the device may have something to receive.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoken.load(Ordering::SeqCst)
    }

    /// When the device has something to do of itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        match self.next_due.load(Ordering::Acquire) {
            u64::MAX => None,
            nanos => Some(Instant::from_nanos(nanos)),
        }
    }

    /// The error that ended the device's life, if one did.
    pub(super) fn failure(&self) -> Option<io::Error> {
        let work = self.work.lock();
        let error = work.failed.as_ref()?;
        Some(match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        })
    }

    /// Reads what has arrived, at most one batch. Returns how many packets that is.
    pub(super) fn receive(&self, work: &mut Work, now: Instant, reactor: &Reactor) -> usize {
        work.rx.clear();
        if work.failed.is_none()
            && let Err(error) = work.device.receive(now, &mut work.rx)
        {
            work.fail(error, reactor);
        }
        work.rx.len()
    }

    /// Sends as much as the device takes. False if it takes no more for now.
    pub(super) fn send(&self, work: &mut Work, now: Instant, reactor: &Reactor) -> bool {
        if work.failed.is_some() {
            work.tx.clear();
            return true;
        }
        if let Err(error) = work.device.transmit(now, &mut work.tx) {
            work.fail(error, reactor);
            return true;
        }
        work.tx.is_empty()
    }

    /// To be called before letting go: notes the device's next deadline and arms its descriptor if
    /// this thread disarmed it, or if the device has to say when there is room.
    pub(super) fn settle(&self, work: &mut Work, reactor: &Reactor) {
        if work.failed.is_some() {
            self.next_due.store(u64::MAX, Ordering::Release);
            return;
        }
        let due = work.device.poll_timeout();
        let nanos = due.map_or(u64::MAX, Instant::as_nanos);
        self.next_due.store(nanos, Ordering::Release);
        let blocked = !work.tx.is_empty() || work.device.transmit_pending();
        let awaits_room = blocked && work.device.announces_room();
        if !self.spoken.swap(false, Ordering::SeqCst) && awaits_room == work.awaits_room {
            return;
        }
        if let Some(fd) = work.device.fd() {
            if let Err(error) = reactor.arm(self.index, fd, awaits_room) {
                work.fail(error, reactor);
                return;
            }
            work.awaits_room = awaits_room;
        }
    }
}

impl Work {
    /// What has been read and not yet handed to the stack, and what is to be sent: the stack takes
    /// from the one and adds to the other.
    pub(super) fn batches(&mut self) -> (&mut RxBatch, &mut TxBatch) {
        (&mut self.rx, &mut self.tx)
    }

    /// True if the device has something to do of itself by `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.failed.is_none() && self.device.poll_timeout().is_some_and(|due| due <= now)
    }

    fn fail(&mut self, error: io::Error, reactor: &Reactor) {
        if let Some(fd) = self.device.fd() {
            reactor.remove(fd);
        }
        self.tx.clear();
        self.failed = Some(error);
    }
}
