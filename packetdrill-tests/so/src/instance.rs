//! One lock around the [`World`]: threads that block, and the clock.
//!
//! Whoever moves the clock also tries the calls that wait, so that each returns at the first instant at
//! which it can. The clock then stands still until the thread that made the call has gone on and asked
//! for the time, which is that instant.

use std::collections::{HashMap, VecDeque};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::flags::Flags;
use crate::world::{Call, Outcome, World};
use nix::errno::Errno;
use packetdrill_tests::ast::Micros;
use packetdrill_tests::run::{Sent, SysResult, Target};
use parking_lot::{Condvar, Mutex, MutexGuard};

/// What the clock shows when the stack's stands at zero: the tool takes no time for "not yet".
const EPOCH: Micros = 1_000_000_000_000;

/// How long a packet is waited for, in virtual time.
const PATIENCE: Micros = 600_000_000;

/// How long the clock waits, in real time, for a thread whose call has returned to go on.
const GRACE: Duration = Duration::from_secs(1);

/// A stack with everything that the tool's threads share.
pub(crate) struct Instance {
    shared: Mutex<Shared>,
    /// A call has finished, or its thread has gone on.
    changed: Condvar,
    /// The thread that moves the clock.
    driver: ThreadId,
}

struct Shared {
    world: World,
    /// Sent by the stack, not yet taken by the tool.
    packets: VecDeque<Sent>,
    /// Calls of threads that wait, by ticket.
    waiting: Vec<(u64, Call)>,
    next_ticket: u64,
    /// Results that their threads have not taken yet, with the time.
    finished: HashMap<u64, (SysResult<Outcome>, Micros)>,
    /// Threads that have taken a result and not asked for the time yet.
    returned: HashMap<ThreadId, Micros>,
}

impl Shared {
    fn take_packets(&mut self) {
        while let Some(sent) = self.world.stack.take_sent() {
            self.packets.push_back(sent);
        }
    }

    /// Tries every call that waits; true if one has finished.
    fn retry(&mut self) -> bool {
        self.world.note_edges();
        let now = self.world.stack.now();
        let mut any = false;
        for (ticket, mut call) in std::mem::take(&mut self.waiting) {
            match self.world.attempt(&mut call) {
                None => self.waiting.push((ticket, call)),
                Some(result) => {
                    self.finished.insert(ticket, (result, now));
                    any = true;
                }
            }
        }
        self.take_packets();
        any
    }

    fn next_deadline(&self) -> Micros {
        let deadlines = self.waiting.iter().filter_map(|(_, call)| call.deadline());
        deadlines.min().unwrap_or(Micros::MAX)
    }
}

type Guard<'a> = MutexGuard<'a, Shared>;

impl Instance {
    /// A stack as the flags want it; the calling thread is the one that moves the clock.
    ///
    /// # Errors
    /// As [`World::new`].
    pub(crate) fn new(flags: &Flags) -> Result<Self, String> {
        Ok(Self {
            shared: Mutex::new(Shared {
                world: World::new(flags)?,
                packets: VecDeque::new(),
                waiting: Vec::new(),
                next_ticket: 0,
                finished: HashMap::new(),
                returned: HashMap::new(),
            }),
            changed: Condvar::new(),
            driver: thread::current().id(),
        })
    }

    /// Something that never blocks. What it changes may let other threads' calls return.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut shared = self.shared.lock();
        let result = act(&mut shared.world);
        self.settle(&mut shared);
        result
    }

    /// A call that may block.
    pub(crate) fn call(&self, mut call: Call) -> SysResult<Outcome> {
        let mut shared = self.shared.lock();
        if let Some(result) = shared.world.attempt(&mut call) {
            self.settle(&mut shared);
            return result;
        }
        if thread::current().id() == self.driver {
            return self.drive(&mut shared, call);
        }
        let ticket = shared.next_ticket;
        shared.next_ticket += 1;
        shared.waiting.push((ticket, call));
        shared.take_packets();
        loop {
            if let Some((result, at)) = shared.finished.remove(&ticket) {
                shared.returned.insert(thread::current().id(), at);
                self.changed.notify_all();
                return result;
            }
            self.changed.wait(&mut shared);
        }
    }

    /// A call that blocks the thread that moves the clock: nobody else would.
    fn drive(&self, shared: &mut Guard<'_>, mut call: Call) -> SysResult<Outcome> {
        let end = shared.world.stack.now().saturating_add(PATIENCE);
        loop {
            let now = shared.world.stack.now();
            if now >= end {
                return Err(Errno::EAGAIN);
            }
            let limit = end.min(call.deadline().unwrap_or(end)).max(now + 1);
            self.step(shared, limit);
            if let Some(result) = shared.world.attempt(&mut call) {
                self.settle(shared);
                return result;
            }
        }
    }

    /// Lets time pass up to `limit`, or to the first thing that happens before.
    fn step(&self, shared: &mut Guard<'_>, limit: Micros) {
        let limit = limit.min(shared.next_deadline().max(shared.world.stack.now()));
        if shared.world.stack.advance(limit).is_err() {
            // netstack itself cannot fail here; the clock would stand still.
            return;
        }
        self.settle(shared);
    }

    /// Lets calls that can return do so, and their threads go on; true if there were any.
    fn settle(&self, shared: &mut Guard<'_>) -> bool {
        let any = shared.retry();
        if any {
            self.changed.notify_all();
        }
        while !shared.finished.is_empty() || !shared.returned.is_empty() {
            if self.changed.wait_for(shared, GRACE).timed_out() {
                // Whoever does not ask for the time does not need it.
                shared.returned.clear();
                break;
            }
        }
        any
    }

    /// Hands the stack a packet that starts at its IP header.
    pub(crate) fn inject(&self, packet: Vec<u8>) -> SysResult<()> {
        let mut shared = self.shared.lock();
        let result = shared.world.stack.inject(packet);
        self.settle(&mut shared);
        result.map_err(|_| Errno::EIO)
    }

    /// The next packet that the stack sends, with the time; `None` if none comes for ten minutes.
    pub(crate) fn next_packet(&self) -> Option<(Vec<u8>, Micros)> {
        let mut shared = self.shared.lock();
        let end = shared.world.stack.now().saturating_add(PATIENCE);
        shared.take_packets();
        loop {
            if let Some(sent) = shared.packets.pop_front() {
                return Some((sent.bytes, sent.at.saturating_add(EPOCH)));
            }
            if shared.world.stack.now() >= end {
                return None;
            }
            self.step(&mut shared, end);
        }
    }

    /// Lets time pass.
    pub(crate) fn sleep(&self, duration: Micros) {
        /// The tool gives up its lock while it sleeps, and takes it again at once: a thread whose call
        /// has returned needs the lock in between, which nothing tells us of.
        const TURN: Duration = Duration::from_millis(1);
        let mut shared = self.shared.lock();
        let end = shared.world.stack.now().saturating_add(duration);
        let before = shared.next_ticket_taken();
        while shared.world.stack.now() < end {
            self.step(&mut shared, end);
        }
        if shared.next_ticket_taken() != before {
            drop(shared);
            thread::sleep(TURN);
        }
    }

    /// The time. Each question takes a microsecond, but for a thread whose call has just returned: that
    /// is told when it did.
    pub(crate) fn now(&self) -> Micros {
        let mut shared = self.shared.lock();
        let now = match shared.returned.remove(&thread::current().id()) {
            Some(at) => {
                self.changed.notify_all();
                at
            }
            None => {
                let next = shared.world.stack.now() + 1;
                self.step(&mut shared, next);
                shared.world.stack.now()
            }
        };
        now.saturating_add(EPOCH)
    }
}

impl Shared {
    /// How many calls that waited have finished.
    fn next_ticket_taken(&self) -> u64 {
        self.next_ticket - self.waiting.len() as u64
    }
}
