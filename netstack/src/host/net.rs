//! [`Net`]: one stack behind one short lock, its devices, and the threads that serve them.
//!
//! Lock order: a port, then the core. A thread that has the core only ever tries a port.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use arrayvec::ArrayVec;
use parking_lot::{Mutex, MutexGuard};

use super::clock::Clock;
use super::port::{Guard, Port, Work};
use super::reactor::{Event, Events, Reactor};
use super::subscribe::{Calls, SubscriptionId, Subscriptions, Target};
use super::waiter::Waiter;
use crate::buf::BATCH_MAX;
use crate::link::Device;
use crate::network::IfaceId;
use crate::socket::SocketId;
use crate::stack::Stack;
use crate::time::{Duration, Instant};

/// Devices that one stack can have.
pub const DEVICES_MAX: usize = 16;

/// A running stack. Clones are the same stack; its devices are served until the last one is gone.
#[derive(Clone)]
pub struct Net {
    handle: Arc<Handle>,
}

/// The last of these stops the dedicated thread.
struct Handle {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    core: Mutex<Core>,
    ports: Vec<Port>,
    reactor: Reactor,
    clock: Clock,
    /// An application thread serves the devices while it is blocked.
    has_leader: AtomicBool,
    /// That thread waits for them now, or is about to.
    leader_waits: AtomicBool,
    stopping: AtomicBool,
    dedicated_wakes: AtomicU64,
    leader_returns: AtomicU64,
}

struct Core {
    stack: Stack,
    subscriptions: Subscriptions,
}

/// How often threads were woken, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeStats {
    /// The dedicated thread returned from waiting for the devices.
    pub dedicated: u64,
    /// A blocked application thread that waits for the devices returned from that.
    pub leader: u64,
    /// Of those, the times another thread made it return.
    pub leader_poked: u64,
    /// A thread that slept beside the leader was woken.
    pub sleeper: u64,
}

impl Net {
    /// Starts to serve `devices`, each the one of an interface that `stack` already has. `clock` must
    /// be the one that `stack` was made with.
    ///
    /// # Errors
    /// The operating system's (descriptors, threads); `InvalidInput` for more than [`DEVICES_MAX`] devices.
    pub fn start(
        stack: Stack,
        clock: Clock,
        devices: Vec<(IfaceId, Box<dyn Device + Send>)>,
    ) -> io::Result<Self> {
        if devices.len() > DEVICES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let reactor = Reactor::new()?;
        let ports = devices
            .into_iter()
            .enumerate()
            .map(|(index, (iface, device))| Port::new(iface, index, device, &reactor))
            .collect::<io::Result<Vec<_>>>()?;
        let core = Core {
            stack,
            subscriptions: Subscriptions::default(),
        };
        let inner = Arc::new(Inner {
            core: Mutex::new(core),
            ports,
            reactor,
            clock,
            has_leader: AtomicBool::new(false),
            leader_waits: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            dedicated_wakes: AtomicU64::new(0),
            leader_returns: AtomicU64::new(0),
        });
        // What the stack wants to say before anybody calls it.
        inner.run(|_| ());
        let for_thread = inner.clone();
        let thread = std::thread::Builder::new()
            .name("netstack".into())
            .spawn(move || for_thread.serve_forever())?;
        let handle = Handle {
            inner,
            thread: Some(thread),
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Runs `f` on the stack at the present time, and does the work that follows from it: packets
    /// are sent, subscribers are told. `f` must not block and must not call this again.
    pub fn with<R>(&self, f: impl FnOnce(&mut Stack) -> R) -> R {
        self.inner().run(f)
    }

    /// The present time of the stack's clock.
    pub fn now(&self) -> Instant {
        self.inner().clock.now()
    }

    /// Has `target` called whenever the readiness of `socket` may have changed, until
    /// [`Net::unsubscribe`]. What is ready already is not reported: look after subscribing.
    pub fn subscribe(&self, socket: SocketId, target: Target) -> SubscriptionId {
        self.inner().core.lock().subscriptions.add(socket, target)
    }

    /// Ends a subscription. A call that has begun on another thread may still be going on.
    pub fn unsubscribe(&self, id: SubscriptionId) {
        self.inner().core.lock().subscriptions.remove(id);
    }

    /// A new waiter, for [`Net::park`].
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.inner().reactor.poke().clone())
    }

    /// Blocks the calling thread until `waiter` is notified (true) or `deadline` passes (false).
    ///
    /// The first thread that blocks serves the devices meanwhile, so that a packet that it waits
    /// for costs one wake. Notify the waiter for whatever else should end the wait.
    pub fn park(&self, waiter: &Waiter, deadline: Option<Instant>) -> bool {
        self.inner().park(waiter, deadline)
    }

    /// Waits until peers have acknowledged everything that was sent, the ends of streams too, but no
    /// longer than `limit`. True if they have. For whoever is about to end the process, and the stack
    /// with it: what is still queued then would be lost, where a kernel goes on sending.
    pub fn drain(&self, limit: Duration) -> bool {
        /// Between two looks; nobody tells when a closed connection is done.
        const STEPS_MS: [u64; 4] = [1, 2, 5, 10];
        let waiter = self.waiter();
        let end = self.now() + limit;
        let mut steps = STEPS_MS.iter();
        let mut step = Duration::ZERO;
        while self.with(|stack| stack.tcp_undelivered()) > 0 {
            let now = self.now();
            if now >= end {
                return false;
            }
            step = steps.next().map_or(step, |ms| Duration::from_millis(*ms));
            self.park(&waiter, Some(end.min(now + step)));
        }
        true
    }

    /// How often threads were woken.
    pub fn wake_stats(&self) -> WakeStats {
        let inner = self.inner();
        let poke = inner.reactor.poke();
        WakeStats {
            dedicated: inner.dedicated_wakes.load(Ordering::Relaxed),
            leader: inner.leader_returns.load(Ordering::Relaxed),
            leader_poked: poke.leader_wakes.load(Ordering::Relaxed),
            sleeper: poke.thread_wakes.load(Ordering::Relaxed),
        }
    }

    /// The error that a device failed with, if it has; it is no longer served then.
    pub fn device_failure(&self, iface: IfaceId) -> Option<io::Error> {
        let port = self.inner().ports.iter().find(|port| port.iface == iface)?;
        port.failure()
    }

    fn inner(&self) -> &Inner {
        &self.handle.inner
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.reactor.poke().poke();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // The thread has nothing to report; a panic in it has been printed.
            let _ = thread.join();
        }
    }
}

/// Ports that this thread has locked while it has the core.
type Held<'a> = ArrayVec<(&'a Port, Guard<'a>), DEVICES_MAX>;

impl Inner {
    fn run<R>(&self, f: impl FnOnce(&mut Stack) -> R) -> R {
        let now = self.clock.now();
        let mut core = self.core.lock();
        core.stack.set_now(now);
        let result = f(&mut core.stack);
        let mut held = Held::new();
        self.gather(&mut core, now, &mut held, None);
        self.leave(core, now).make();
        // A caller with packets to send takes in at most a batch: the rest is for who waits for it.
        self.serve(held, &|| true);
        result
    }

    /// Takes what the stack has to send from it, for each port that is free; a thread that has one
    /// of the others locked sees to it, and so does the caller to its own.
    fn gather<'a>(
        &'a self,
        core: &mut Core,
        now: Instant,
        held: &mut Held<'a>,
        mine: Option<&Port>,
    ) {
        for port in &self.ports {
            let is_mine = mine.is_some_and(|mine| std::ptr::eq(mine, port));
            if is_mine || !core.stack.has_transmit(port.iface) {
                continue;
            }
            if let Some(mut guard) = port.try_lock() {
                let (_, tx) = guard.batches();
                core.stack.poll_transmit(now, port.iface, tx);
                held.push((port, guard));
            }
        }
    }

    /// Leaves the stack: sees to its next deadline, and returns the calls to make to subscribers.
    fn leave(&self, mut core: MutexGuard<'_, Core>, now: Instant) -> Calls {
        let mut calls = Calls::default();
        let Core {
            stack,
            subscriptions,
        } = &mut *core;
        stack.drain_events(|socket, readiness| calls.add(subscriptions.of(socket), readiness));
        if let Some(deadline) = stack.poll_timeout() {
            self.reactor.wake_at(deadline, now);
        }
        calls
    }

    /// Moves packets between devices and stack until none has any. Once `enough` says so, nothing more
    /// is received.
    fn serve<'a>(&'a self, mut held: Held<'a>, enough: &dyn Fn() -> bool) {
        // Each port is in `held` at most once, because it is locked there: it always has room.
        while let Some((port, mut guard)) = held.pop() {
            self.exchange(port, &mut guard, &mut held, enough);
            port.settle(&mut guard, &self.reactor);
            if let Some(due) = port.next_due() {
                self.reactor.wake_at(due, self.clock.now());
            }
            if let Some(guard) = port.unlock(guard) {
                held.push((port, guard));
            }
        }
    }

    fn serve_one<'a>(&'a self, port: &'a Port, enough: &dyn Fn() -> bool) {
        if let Some(guard) = port.try_lock() {
            let mut held = Held::new();
            held.push((port, guard));
            self.serve(held, enough);
        }
    }

    fn exchange<'a>(
        &'a self,
        port: &'a Port,
        work: &mut Work,
        others: &mut Held<'a>,
        enough: &dyn Fn() -> bool,
    ) {
        // After a batch that was not full there is nothing left, or the descriptor says so once armed.
        let mut drained = !port.has_spoken();
        let mut leaving = false;
        loop {
            let now = self.clock.now();
            let has_room = port.send(work, now, &self.reactor);
            let mut received = 0;
            if !leaving && (!drained || work.is_due(now)) {
                received = port.receive(work, now, &self.reactor);
            }
            drained |= received < BATCH_MAX;
            if received == 0 && !has_room {
                return;
            }
            let mut core = self.core.lock();
            if received == 0 && !core.stack.has_transmit(port.iface) {
                return;
            }
            let (rx, tx) = work.batches();
            if received > 0 {
                core.stack.receive(now, port.iface, rx);
            }
            if has_room {
                core.stack.poll_transmit(now, port.iface, tx);
            }
            self.gather(&mut core, now, others, Some(port));
            self.leave(core, now).make();
            // What is to be sent is sent all the same: nobody else would know of it.
            leaving |= enough();
        }
    }

    fn handle(&self, events: Events, enough: &dyn Fn() -> bool) {
        for event in events {
            match event {
                Event::Device(index) => {
                    if let Some(port) = self.ports.get(index) {
                        port.note_spoken();
                        self.serve_one(port, enough);
                    }
                }
                Event::Timer => self.handle_deadline(enough),
                Event::Poke => {}
            }
        }
    }

    fn handle_deadline(&self, enough: &dyn Fn() -> bool) {
        self.run(|stack| stack.handle_timeout(stack.now()));
        for port in &self.ports {
            let Some(due) = port.next_due() else {
                continue;
            };
            let now = self.clock.now();
            if due > now {
                // The timer may have been set for this one: it has to be set again.
                self.reactor.wake_at(due, now);
            } else {
                self.serve_one(port, enough);
            }
        }
    }

    fn serve_forever(&self) {
        loop {
            // A failing epoll_wait (a descriptor limit cannot cause it) would mean a broken process.
            let Ok(events) = self.reactor.wait(None) else {
                return;
            };
            self.dedicated_wakes.fetch_add(1, Ordering::Relaxed);
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            // The poke is meant for the leader, who was about to wait: pass it on.
            if events.contains(&Event::Poke) && self.leader_waits.load(Ordering::SeqCst) {
                std::thread::yield_now();
                self.reactor.poke().poke();
            }
            self.handle(events, &|| false);
        }
    }

    fn park(&self, waiter: &Waiter, deadline: Option<Instant>) -> bool {
        let leads = self
            .has_leader
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !leads {
            return waiter.sleep(deadline.map(|at| self.clock.to_std(at)));
        }
        let notified = self.lead(waiter, deadline);
        self.has_leader.store(false, Ordering::Release);
        notified
    }

    fn lead(&self, waiter: &Waiter, deadline: Option<Instant>) -> bool {
        loop {
            if waiter.take() {
                return true;
            }
            let timeout = deadline.map(|at| at.since(self.clock.now()));
            if timeout.is_some_and(|left| left.is_zero()) {
                return false;
            }
            self.leader_waits.store(true, Ordering::SeqCst);
            if !waiter.begin_polling() {
                self.leader_waits.store(false, Ordering::SeqCst);
                continue;
            }
            let events = self.reactor.wait(timeout);
            self.leader_waits.store(false, Ordering::SeqCst);
            waiter.end_polling();
            self.leader_returns.fetch_add(1, Ordering::Relaxed);
            match events {
                Ok(events) => self.handle(events, &|| waiter.is_notified()),
                Err(_) => return waiter.sleep(deadline.map(|at| self.clock.to_std(at))),
            }
        }
    }
}
