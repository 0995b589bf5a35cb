//! Interval timers and POSIX timers of a process: what raises signals when time has passed.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::kernel::Kernel;
use crate::signals::SigInfo;
use crate::task::{Process, TaskShared, cpu};
use crate::time::queue::{Expire, TimerId, TimerQueue};

/// Most POSIX timers of a process.
const MAX_TIMERS: usize = 1024;

/// The timers of a process.
#[derive(Default)]
pub struct ProcessTimers {
    /// ITIMER_REAL (and alarm(2)), ITIMER_VIRTUAL, ITIMER_PROF.
    interval: [Option<Arc<SignalTimer>>; 3],
    posix: BTreeMap<i32, Arc<SignalTimer>>,
    next_id: i32,
}

/// When a timer fires next, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// On the timer's clock, nanoseconds; `None` is disarmed.
    pub(crate) deadline_ns: Option<u64>,
    /// 0 is once.
    pub(crate) interval_ns: u64,
}

/// What a timer does when it fires.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notify {
    /// Nothing (SIGEV_NONE).
    Nothing,
    /// A signal to the process (`tid` 0) or one thread.
    Signal { info: SigInfo, tid: i32 },
}

/// What a timer's deadline is counted on.
#[derive(Clone, Debug)]
pub(crate) enum TimerClock {
    /// Time that passes by itself (`CLOCK_*`); deadlines are on the monotonic clock.
    Wall(i32),
    /// CPU time of the process in its own code.
    User,
    /// CPU time of the process.
    Process,
    /// CPU time of one of its threads.
    Thread(Weak<TaskShared>),
}

/// A timer that raises a signal.
pub(crate) struct SignalTimer {
    queue_id: TimerId,
    process: Weak<Process>,
    notify: Notify,
    /// The clock it was made for.
    pub(crate) clock: TimerClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    setting: Setting,
    overrun: i32,
}

impl SignalTimer {
    fn new(process: &Arc<Process>, notify: Notify, clock: TimerClock) -> Arc<Self> {
        Arc::new(Self {
            queue_id: TimerId::new(),
            process: Arc::downgrade(process),
            notify,
            clock,
            state: Mutex::default(),
        })
    }

    /// Arms or disarms it; returns what was set before.
    ///
    /// # Errors
    /// EAGAIN if the host gives no thread for timers.
    pub(crate) fn set(self: &Arc<Self>, new: Setting) -> Result<Setting, Errno> {
        let old = {
            let mut state = self.state.lock();
            state.overrun = 0;
            std::mem::replace(&mut state.setting, new)
        };
        match (new.deadline_ns, &self.clock) {
            (None, _) => TimerQueue::get().clear(self.queue_id),
            (Some(_), TimerClock::User | TimerClock::Process | TimerClock::Thread(_)) => {
                if let Some(process) = self.process.upgrade() {
                    process.cpu_timers.arm(&process);
                }
            }
            (Some(at), TimerClock::Wall(_)) => {
                let this: Weak<dyn Expire> = Arc::<Self>::downgrade(self);
                if !TimerQueue::get().set(self.queue_id, at, this) {
                    return Err(Errno::EAGAIN);
                }
            }
        }
        Ok(old)
    }

    /// The CPU time that it looks at, of a process that has used this much; `None` for other clocks.
    pub(crate) fn cpu_now(&self, user_ns: u64, total_ns: u64) -> Option<u64> {
        match &self.clock {
            TimerClock::Wall(_) => None,
            TimerClock::User => Some(user_ns),
            TimerClock::Process => Some(total_ns),
            TimerClock::Thread(thread) => {
                let thread = thread.upgrade()?;
                Some(cpu::of_thread(&thread).iter().sum())
            }
        }
    }

    /// What is set.
    pub(crate) fn setting(&self) -> Setting {
        self.state.lock().setting
    }

    /// timer_getoverrun(2).
    pub(crate) fn overrun(&self) -> i32 {
        self.state.lock().overrun
    }

    fn raise(&self, overrun: i32) {
        let Notify::Signal { mut info, tid } = self.notify else {
            return;
        };
        let Some(process) = self.process.upgrade() else {
            return;
        };
        let Some(kernel) = process.kernel.upgrade() else {
            return;
        };
        if info.code == libc::SI_TIMER {
            info.fields[0] = u64::from(info.fields[0] as u32) | (overrun as u64) << 32;
        }
        raise(&kernel, &process, tid, info);
    }
}

fn raise(kernel: &Arc<Kernel>, process: &Arc<Process>, tid: i32, info: SigInfo) {
    let mut tree = kernel.tree.lock();
    // A full real-time queue loses the signal, which the overrun count makes up for in Linux.
    let _ = match tree.task(tid).cloned() {
        Some(thread) if Arc::ptr_eq(&thread.process, process) => tree.signal_thread(&thread, info),
        _ => tree.signal_process(process.pid, info),
    };
}

impl Expire for SignalTimer {
    fn expire(&self, now_ns: u64) -> Option<u64> {
        let (next, missed) = {
            let mut state = self.state.lock();
            let at = state.setting.deadline_ns?;
            if at > now_ns {
                return Some(at);
            }
            let interval = state.setting.interval_ns;
            let missed = (now_ns - at).checked_div(interval).unwrap_or(0);
            let next =
                (interval > 0).then(|| at.saturating_add(interval.saturating_mul(missed + 1)));
            state.setting.deadline_ns = next;
            state.overrun = missed.min(i32::MAX as u64) as i32;
            (next, state.overrun)
        };
        self.raise(missed);
        next
    }
}

impl Drop for SignalTimer {
    fn drop(&mut self) {
        TimerQueue::get().clear(self.queue_id);
    }
}

impl ProcessTimers {
    /// An interval timer (`ITIMER_*`), made when it is first used.
    pub(crate) fn interval(&mut self, process: &Arc<Process>, which: usize) -> Arc<SignalTimer> {
        let (signo, clock) = match which as i32 {
            libc::ITIMER_VIRTUAL => (libc::SIGVTALRM, TimerClock::User),
            libc::ITIMER_PROF => (libc::SIGPROF, TimerClock::Process),
            _ => (libc::SIGALRM, TimerClock::Wall(libc::CLOCK_MONOTONIC)),
        };
        let timer = self.interval[which].get_or_insert_with(|| {
            let info = SigInfo::kernel(signo);
            SignalTimer::new(process, Notify::Signal { info, tid: 0 }, clock)
        });
        Arc::clone(timer)
    }

    /// All timers on clocks of CPU time.
    pub(crate) fn of_cpu_time(&self) -> Vec<Arc<SignalTimer>> {
        let all = self.interval.iter().flatten().chain(self.posix.values());
        all.filter(|timer| !matches!(timer.clock, TimerClock::Wall(_)))
            .cloned()
            .collect()
    }

    /// timer_create(2): the new timer's id. `make` says what it does, given that id.
    ///
    /// # Errors
    /// EAGAIN if there are too many.
    pub(crate) fn create(
        &mut self,
        process: &Arc<Process>,
        clock: TimerClock,
        make: impl FnOnce(i32) -> Notify,
    ) -> Result<i32, Errno> {
        if self.posix.len() >= MAX_TIMERS {
            return Err(Errno::EAGAIN);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1) & i32::MAX;
        let timer = SignalTimer::new(process, make(id), clock);
        self.posix.insert(id, timer);
        Ok(id)
    }

    /// A POSIX timer.
    ///
    /// # Errors
    /// EINVAL.
    pub(crate) fn get(&self, id: i32) -> Result<Arc<SignalTimer>, Errno> {
        self.posix.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// timer_delete(2).
    ///
    /// # Errors
    /// EINVAL.
    pub(crate) fn delete(&mut self, id: i32) -> Result<(), Errno> {
        self.posix.remove(&id).map(drop).ok_or(Errno::EINVAL)
    }

    /// execve(2) deletes POSIX timers and keeps the interval timer.
    pub(crate) fn exec(&mut self) {
        self.posix.clear();
    }
}

impl Setting {
    /// Time left at `now_ns` of its clock, nanoseconds; 0 if disarmed. An armed timer shows at least 1.
    pub(crate) fn left_ns(&self, now_ns: u64) -> u64 {
        self.deadline_ns
            .map_or(0, |at| at.saturating_sub(now_ns).max(1))
    }
}
