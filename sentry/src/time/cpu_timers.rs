//! What happens when a process has used so much CPU time: ITIMER_VIRTUAL and ITIMER_PROF, POSIX timers
//! and sleeps on CPU-time clocks, RLIMIT_CPU.
//!
//! Nothing interrupts guest code by itself when CPU time has passed. While something is armed, the timer
//! thread asks the running threads to look, and each thread looks here before it runs guest code again,
//! before it sleeps and when it wakes; while all sleep nothing happens. CPU time passes at most as fast
//! as all CPUs together, so the next moment to look is never later than what is left, divided by their number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::signals::SigInfo;
use crate::task::limits::{INFINITY, Limit};
use crate::task::shared::RunState;
use crate::task::{Process, Task, TaskShared, cpu, run};
use crate::time::queue::{Expire, TimerId, TimerQueue};
use crate::time::timers::SignalTimer;
use crate::time::{SECOND, monotonic_ns};
use crate::wait::{Ready, WaitQueue};

/// Shortest time between two looks: a tick of a kernel with HZ=250.
const TICK: u64 = 4_000_000;

/// When to look again if a running thread does not come by.
const FALLBACK: u64 = SECOND;

/// The CPU-time side of a process.
pub(crate) struct CpuTimers {
    armed: AtomicBool,
    ticker: OnceLock<Arc<Ticker>>,
    /// Sums of CPU time that sleepers of clock_nanosleep wait for.
    sleepers: Mutex<Vec<u64>>,
    /// Notified when a sleeper's time has come.
    pub(crate) events: Arc<WaitQueue>,
}

impl CpuTimers {
    /// Of a new process.
    pub(crate) fn new(limited: bool) -> Self {
        Self {
            armed: AtomicBool::new(limited),
            ticker: OnceLock::new(),
            sleepers: Mutex::default(),
            events: Arc::default(),
        }
    }

    /// True if a thread has to [`check`].
    #[inline]
    pub(crate) fn armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Wakes sleepers when the process has used `total_ns`.
    pub(crate) fn sleep_until(&self, total_ns: u64) {
        let mut sleepers = self.sleepers.lock();
        if !sleepers.contains(&total_ns) {
            sleepers.push(total_ns);
        }
    }

    /// Something was armed: a thread of the process looks soon.
    pub(crate) fn arm(&self, process: &Arc<Process>) {
        self.armed.store(true, Ordering::SeqCst);
        self.look_at(process, 0);
    }

    fn look_at(&self, process: &Arc<Process>, at_ns: u64) {
        let ticker = self.ticker.get_or_init(|| Ticker::new(process));
        let timer: Weak<dyn Expire> = Arc::<Ticker>::downgrade(ticker);
        TimerQueue::get().set(ticker.id, at_ns, timer);
    }
}

/// Makes the threads of a process look.
struct Ticker {
    id: TimerId,
    process: Weak<Process>,
}

impl Ticker {
    fn new(process: &Arc<Process>) -> Arc<Self> {
        Arc::new(Self {
            id: TimerId::new(),
            process: Arc::downgrade(process),
        })
    }
}

impl Expire for Ticker {
    fn expire(&self, now_ns: u64) -> Option<u64> {
        let process = self.process.upgrade()?;
        let kernel = process.kernel.upgrade()?;
        if !process.cpu_timers.armed() {
            return None;
        }
        let running: Vec<Arc<TaskShared>> = {
            let tree = kernel.tree.lock();
            let node = tree.node(process.pid)?;
            if node.threads.is_empty() {
                return None;
            }
            let runs = |thread: &&Arc<TaskShared>| thread.state() == RunState::Running;
            node.threads.iter().filter(runs).cloned().collect()
        };
        // Nobody uses CPU time: whoever wakes looks, and sets the next moment.
        if running.is_empty() {
            return None;
        }
        // Set before they look: what they find is sooner, and stays.
        process.cpu_timers.look_at(&process, now_ns + FALLBACK);
        running.iter().for_each(|thread| thread.kick());
        None
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        TimerQueue::get().clear(self.id);
    }
}

/// Accounts for the calling task's CPU time and lets expire what has come, if anything is armed.
#[inline]
pub(crate) fn check(task: &Task) {
    if task.process().cpu_timers.armed() {
        look(task);
    }
}

#[cold]
fn look(task: &Task) {
    run::account(task);
    let process = task.process();
    // What is armed from here on says so again.
    process.cpu_timers.armed.store(false, Ordering::SeqCst);
    let [user, system] = {
        let tree = task.kernel.tree.lock();
        tree.node(process.pid).map_or([0; 2], cpu::of_node)
    };
    let total = user + system;
    let mut left: Option<u64> = None;
    let mut due_in = |ns: u64| left = Some(left.map_or(ns, |least| least.min(ns)));
    let timers: Vec<Arc<SignalTimer>> = process.timers.lock().of_cpu_time();
    for timer in timers {
        let Some(now) = timer.cpu_now(user, total) else {
            continue;
        };
        if let Some(next) = timer.expire(now) {
            due_in(next.saturating_sub(now));
        }
    }
    if let Some(ns) = limit(task, total) {
        due_in(ns);
    }
    if let Some(ns) = wake_sleepers(&process.cpu_timers, total) {
        due_in(ns);
    }
    if let Some(ns) = left {
        process.cpu_timers.armed.store(true, Ordering::SeqCst);
        let wait = (ns / crate::platform::cpus() as u64).max(TICK);
        let at = monotonic_ns().saturating_add(wait);
        process.cpu_timers.look_at(process, at);
    }
}

/// RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one
/// (`check_process_timers`). CPU time until the next of these.
fn limit(task: &Task, total: u64) -> Option<u64> {
    let limits = &task.process().limits;
    let Limit { mut soft, hard } = limits.get(libc::RLIMIT_CPU).ok()?;
    if soft == INFINITY {
        return None;
    }
    let in_ns = |seconds: u64| seconds.saturating_mul(SECOND);
    let signo = if total >= in_ns(hard) {
        libc::SIGKILL
    } else if total >= in_ns(soft) {
        libc::SIGXCPU
    } else {
        return Some(in_ns(soft.min(hard)) - total);
    };
    if signo == libc::SIGXCPU {
        soft = (total / SECOND + 1).min(hard);
        // Within the hard limit, so it cannot be refused.
        let _ = limits.set(libc::RLIMIT_CPU, Limit { soft, hard }, false);
    }
    let mut tree = task.kernel.tree.lock();
    // Neither signal's queue can be full.
    let _ = tree.signal_process(task.pid(), SigInfo::kernel(signo));
    Some(in_ns(soft).saturating_sub(total))
}

fn wake_sleepers(timers: &CpuTimers, total: u64) -> Option<u64> {
    let (woken, next) = {
        let mut sleepers = timers.sleepers.lock();
        let before = sleepers.len();
        sleepers.retain(|at| *at > total);
        (sleepers.len() < before, sleepers.iter().min().copied())
    };
    if woken {
        timers.events.notify(Ready::IN);
    }
    next.map(|at| at - total)
}
