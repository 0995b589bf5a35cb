//! Waiting for devices and for the stack's next deadline: one epoll instance.
//!
//! Any number of threads may wait at once. Each event reaches one of them: device descriptors are
//! one-shot (armed again by whoever has served them), the timer and the poke are edge-triggered.
//! The kernel wakes the thread that began to wait last, so that a blocked application thread gets the
//! packet that it waits for, and the dedicated thread, which always waits, gets it only if there is
//! none. Nothing but speed rests on that order.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use parking_lot::Mutex;

use super::waiter::Poke;
use crate::time::{Duration, Instant};

const TIMER_TOKEN: u64 = u64::MAX;
const POKE_TOKEN: u64 = u64::MAX - 1;
const EVENTS_MAX: usize = 16;

/// What a waiting thread has to see to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The device with this index is readable or writable, and is disarmed until armed again.
    Device(usize),
    /// A deadline has passed.
    Timer,
    /// Somebody asked for a thread to return.
    Poke,
}

/// The events of one wait.
pub(super) type Events = ArrayVec<Event, EVENTS_MAX>;

/// The epoll instance and its timer.
#[derive(Debug)]
pub(super) struct Reactor {
    epoll: Epoll,
    timer: TimerFd,
    /// The deadline that the timer is set to, in nanoseconds; `u64::MAX` if to none. Written with
    /// `setting` held, read without to see that nothing needs to be done.
    deadline: AtomicU64,
    setting: Mutex<()>,
    poke: Arc<Poke>,
}

impl Reactor {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&timer, EpollEvent::new(edge, TIMER_TOKEN))?;
        epoll.add(&event, EpollEvent::new(edge, POKE_TOKEN))?;
        Ok(Self {
            epoll,
            timer,
            deadline: AtomicU64::new(u64::MAX),
            setting: Mutex::new(()),
            poke: Arc::new(Poke::new(event)),
        })
    }

    pub(super) fn poke(&self) -> &Arc<Poke> {
        &self.poke
    }

    /// Adds the device with this index, armed for reading.
    pub(super) fn add(&self, index: usize, fd: BorrowedFd<'_>) -> io::Result<()> {
        let event = EpollEvent::new(interest(false), index as u64);
        Ok(self.epoll.add(fd, event)?)
    }

    /// Arms the device again after its event, for reading and, if `writable`, for writing.
    pub(super) fn arm(&self, index: usize, fd: BorrowedFd<'_>, writable: bool) -> io::Result<()> {
        let mut event = EpollEvent::new(interest(writable), index as u64);
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    /// Forgets a device that has failed.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        // It was added, so this can fail only if the descriptor is gone, and then so is the interest.
        let _ = self.epoll.delete(fd);
    }

    /// Makes sure that a thread sees [`Event::Timer`] at `deadline` at the latest. An earlier one that
    /// is set already stays: it will fire, find nothing to do and be set anew, which is cheaper than
    /// a system call each time that a deadline moves.
    pub(super) fn wake_at(&self, deadline: Instant, now: Instant) {
        let nanos = deadline.as_nanos();
        if nanos >= self.deadline.load(Ordering::Acquire) {
            return;
        }
        let _setting = self.setting.lock();
        if nanos >= self.deadline.load(Ordering::Acquire) {
            return;
        }
        // Zero would disarm the timer.
        let left = deadline.since(now).max(Duration::from_nanos(1));
        let at = Expiration::OneShot(TimeSpec::from_duration(left));
        let set = self.timer.set(at, TimerSetTimeFlags::empty());
        debug_assert!(set.is_ok(), "a valid time for a valid timer: {set:?}");
        self.deadline.store(nanos, Ordering::Release);
    }

    /// The timer has fired: the next [`Reactor::wake_at`] sets it again.
    fn timer_fired(&self) {
        let _setting = self.setting.lock();
        self.deadline.store(u64::MAX, Ordering::Release);
    }

    /// Waits for events, at most until `timeout` has passed (rounded up to milliseconds).
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<Events> {
        let mut ready = [EpollEvent::empty(); EVENTS_MAX];
        let timeout = timeout.map_or(EpollTimeout::NONE, to_millis);
        let count = match self.epoll.wait(&mut ready, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let events = ready[..count].iter().map(|event| match event.data() {
            TIMER_TOKEN => {
                self.timer_fired();
                Event::Timer
            }
            POKE_TOKEN => Event::Poke,
            index => Event::Device(index as usize),
        });
        Ok(events.collect())
    }
}

fn interest(writable: bool) -> EpollFlags {
    let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
    flags.set(EpollFlags::EPOLLOUT, writable);
    flags
}

fn to_millis(timeout: Duration) -> EpollTimeout {
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    const ZERO: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn a_device_speaks_once_until_it_is_armed_again() {
        let reactor = Reactor::new().unwrap();
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        reactor.add(3, ours.as_fd()).unwrap();
        assert!(reactor.wait(ZERO).unwrap().is_empty());
        theirs.write_all(b"x").unwrap();
        assert_eq!(reactor.wait(None).unwrap()[..], [Event::Device(3)]);
        assert!(reactor.wait(ZERO).unwrap().is_empty());
        reactor.arm(3, ours.as_fd(), true).unwrap();
        assert_eq!(reactor.wait(None).unwrap()[..], [Event::Device(3)]);
    }

    #[test]
    fn the_earliest_deadline_fires_once() {
        let reactor = Reactor::new().unwrap();
        let now = Instant::from_millis(1);
        reactor.wake_at(now + Duration::from_secs(1_000), now);
        reactor.wake_at(now + Duration::from_millis(1), now);
        reactor.wake_at(now + Duration::from_secs(2_000), now);
        assert_eq!(reactor.wait(None).unwrap()[..], [Event::Timer]);
        assert!(reactor.wait(ZERO).unwrap().is_empty());
        reactor.wake_at(now, now);
        assert_eq!(reactor.wait(None).unwrap()[..], [Event::Timer]);
    }

    #[test]
    fn a_poke_wakes_once() {
        let reactor = Reactor::new().unwrap();
        reactor.poke().poke();
        assert_eq!(reactor.wait(None).unwrap()[..], [Event::Poke]);
        assert!(reactor.wait(ZERO).unwrap().is_empty());
        reactor.poke().poke();
        assert_eq!(reactor.wait(None).unwrap()[..], [Event::Poke]);
    }
}
