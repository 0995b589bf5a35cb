//! Futexes: who waits on which word of guest memory.
//!
//! Waiters are kept in buckets by a hash of the key, each with a short lock; requeueing locks two buckets
//! in the order of their index. A waiter is taken out by whoever wakes it, so that a wake is never
//! counted twice, nor lost when the waiter is interrupted at the same moment.

mod pi;
mod robust;
mod waitv;

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use sentry_abi::Errno;

use crate::kernel::Kernel;
use crate::mm::FutexKey;
use crate::syscalls::{Block, OnSignal, Outcome, SysResult};
use crate::task::Task;
use crate::task::parker::Parker;
use crate::task::state::Interrupted;

pub(crate) use pi::{lock_pi, unlock_pi};
pub(crate) use robust::release_thread;
pub(crate) use waitv::{Word, wait_any};

/// FUTEX_BITSET_MATCH_ANY.
pub(crate) const ANY: u32 = u32::MAX;

const BUCKETS: usize = 256;

/// All futex waiters of a sandbox.
pub(crate) struct FutexTable {
    buckets: Vec<Mutex<Vec<Arc<Waiter>>>>,
    hasher: RandomState,
}

struct Waiter {
    key: Mutex<FutexKey>,
    bucket: AtomicUsize,
    bitset: u32,
    tid: i32,
    /// A priority-inheritance waiter: it is woken as the owner.
    pi: bool,
    woken: AtomicBool,
    parker: Arc<Parker>,
}

impl Waiter {
    fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.parker.unpark();
    }

    fn woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }
}

type Bucket<'a> = MutexGuard<'a, Vec<Arc<Waiter>>>;

impl Default for FutexTable {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl FutexTable {
    fn index(&self, key: &FutexKey) -> usize {
        self.hasher.hash_one(key) as usize % BUCKETS
    }

    /// Wakes up to `count` waiters whose bit set meets `bitset`; returns how many.
    pub(crate) fn wake(&self, key: &FutexKey, count: usize, bitset: u32) -> usize {
        let mut bucket = self.buckets[self.index(key)].lock();
        wake_in(&mut bucket, key, count, bitset)
    }

    /// Both buckets of two keys, locked; the second is `None` if they are one.
    fn lock_two(&self, a: &FutexKey, b: &FutexKey) -> (Bucket<'_>, Option<Bucket<'_>>) {
        let (at, bt) = (self.index(a), self.index(b));
        if at == bt {
            return (self.buckets[at].lock(), None);
        }
        if at < bt {
            let first = self.buckets[at].lock();
            return (first, Some(self.buckets[bt].lock()));
        }
        let second = self.buckets[bt].lock();
        (self.buckets[at].lock(), Some(second))
    }

    /// Takes a waiter out; false if somebody has woken it already.
    fn withdraw(&self, waiter: &Arc<Waiter>) -> bool {
        loop {
            let at = waiter.bucket.load(Ordering::SeqCst);
            let mut bucket = self.buckets[at].lock();
            if waiter.bucket.load(Ordering::SeqCst) != at {
                continue;
            }
            if waiter.woken() {
                return false;
            }
            bucket.retain(|other| !Arc::ptr_eq(other, waiter));
            return true;
        }
    }
}

fn wake_in(bucket: &mut Bucket<'_>, key: &FutexKey, count: usize, bitset: u32) -> usize {
    let mut woken = 0;
    bucket.retain(|waiter| {
        let chosen = woken < count
            && waiter.bitset & bitset != 0
            && !waiter.pi
            && *waiter.key.lock() == *key;
        if chosen {
            woken += 1;
            waiter.wake();
        }
        !chosen
    });
    woken
}

/// A waiting call's state between its attempts; taking it away takes the waiter out.
struct Waiting {
    kernel: Arc<Kernel>,
    waiter: Arc<Waiter>,
    /// What the call returns if it was woken when it was given up.
    result: u64,
}

impl Interrupted for Waiting {
    fn wind_up(&mut self) -> Option<u64> {
        let was_woken = !self.kernel.futexes.withdraw(&self.waiter);
        was_woken.then_some(self.result)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.waiter.woken() {
            self.kernel.futexes.withdraw(&self.waiter);
        }
    }
}

/// FUTEX_WAIT and FUTEX_WAIT_BITSET: waits while the word at `addr` is `expected`.
///
/// # Errors
/// EAGAIN, ETIMEDOUT, EFAULT, EINVAL.
pub(crate) fn wait(
    task: &mut Task,
    addr: u64,
    shared: bool,
    expected: u32,
    bitset: u32,
    deadline_ns: Option<u64>,
) -> SysResult {
    if let Some(answer) = resumed(task, deadline_ns)? {
        return Ok(answer);
    }
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = task.mm.futex_key(addr, shared)?;
    // Faults the page in, so that nothing slow happens under the bucket's lock.
    task.mm.atomic_u32_load(addr)?;
    let kernel = Arc::clone(&task.kernel);
    let index = kernel.futexes.index(&key);
    let waiter = new_waiter(task, key, index, bitset, false);
    {
        let mut bucket = kernel.futexes.buckets[index].lock();
        if task.mm.atomic_u32_load(addr)? != expected {
            return Err(Errno::EAGAIN);
        }
        bucket.push(Arc::clone(&waiter));
    }
    Ok(begin(task, waiter, deadline_ns, 0))
}

fn new_waiter(task: &Task, key: FutexKey, index: usize, bitset: u32, pi: bool) -> Arc<Waiter> {
    Arc::new(Waiter {
        key: Mutex::new(key),
        bucket: AtomicUsize::new(index),
        bitset,
        tid: task.tid(),
        pi,
        woken: AtomicBool::new(false),
        parker: Arc::clone(&task.shared.parker),
    })
}

fn begin(task: &mut Task, waiter: Arc<Waiter>, deadline_ns: Option<u64>, result: u64) -> Outcome {
    task.call_state.deadline_ns = deadline_ns;
    task.call_state.extra = Some(Box::new(Waiting {
        kernel: Arc::clone(&task.kernel),
        waiter,
        result,
    }));
    block(deadline_ns)
}

fn block(deadline_ns: Option<u64>) -> Outcome {
    let how = if deadline_ns.is_some() {
        OnSignal::RestartWithState
    } else {
        OnSignal::RestartIfAsked
    };
    Block::idle().until(deadline_ns).on_signal(how).into()
}

/// The answer of a later attempt; `None` if this is the first.
fn resumed(task: &mut Task, deadline_ns: Option<u64>) -> Result<Option<Outcome>, Errno> {
    let timed_out = task.call_state.timed_out;
    let deadline_ns = task.call_state.deadline_ns.or(deadline_ns);
    let Some(extra) = task.call_state.extra.as_mut() else {
        return Ok(None);
    };
    let Some(waiting) = extra.as_any().downcast_mut::<Waiting>() else {
        return Ok(None);
    };
    if waiting.waiter.woken() {
        return Ok(Some(Outcome::Value(waiting.result)));
    }
    if timed_out {
        return match waiting.wind_up() {
            Some(value) => Ok(Some(Outcome::Value(value))),
            None => Err(Errno::ETIMEDOUT),
        };
    }
    Ok(Some(block(deadline_ns)))
}

/// FUTEX_REQUEUE and FUTEX_CMP_REQUEUE: wakes `wake` waiters of one word and moves up to `requeue` to
/// the other; returns how many of both.
///
/// # Errors
/// EAGAIN if the word is not `expected`, EFAULT, EINVAL.
pub(crate) fn requeue(
    task: &Task,
    from: u64,
    to: u64,
    shared: bool,
    counts: (usize, usize),
    expected: Option<u32>,
) -> Result<usize, Errno> {
    let source = task.mm.futex_key(from, shared)?;
    let target = task.mm.futex_key(to, shared)?;
    task.mm.atomic_u32_load(from)?;
    let table = &task.kernel.futexes;
    let (mut first, mut second) = table.lock_two(&source, &target);
    if let Some(expected) = expected
        && task.mm.atomic_u32_load(from)? != expected
    {
        return Err(Errno::EAGAIN);
    }
    let woken = wake_in(&mut first, &source, counts.0, ANY);
    let mut moved = Vec::new();
    first.retain(|waiter| {
        let chosen = moved.len() < counts.1 && !waiter.pi && *waiter.key.lock() == source;
        if chosen {
            moved.push(Arc::clone(waiter));
        }
        !chosen
    });
    let index = table.index(&target);
    let count = moved.len();
    for waiter in &moved {
        *waiter.key.lock() = target;
        waiter.bucket.store(index, Ordering::SeqCst);
    }
    second.as_mut().unwrap_or(&mut first).extend(moved);
    Ok(woken + if expected.is_some() { count } else { 0 })
}

/// FUTEX_WAKE_OP: changes the second word and wakes waiters of the first, and of the second if its old
/// value meets the condition.
///
/// # Errors
/// ENOSYS for an unknown operation, EFAULT, EINVAL.
pub(crate) fn wake_op(
    task: &Task,
    addrs: (u64, u64),
    shared: bool,
    counts: (usize, usize),
    op: u32,
) -> Result<usize, Errno> {
    let first = task.mm.futex_key(addrs.0, shared)?;
    let second = task.mm.futex_key(addrs.1, shared)?;
    let sign_extend = |value: u32| ((value << 20) as i32 >> 20) as u32;
    let (operand, compare) = (sign_extend(op >> 12 & 0xfff), sign_extend(op & 0xfff));
    let operand = if op >> 28 & 8 != 0 {
        1u32 << (operand & 31)
    } else {
        operand
    };
    let kind = op >> 28 & 7;
    if kind > 4 {
        return Err(Errno::ENOSYS);
    }
    let old = task.mm.atomic_u32_fetch_op(addrs.1, |old| match kind {
        0 => operand,
        1 => old.wrapping_add(operand),
        2 => old | operand,
        3 => old & !operand,
        _ => old ^ operand,
    })?;
    let (old, compare) = (old as i32, compare as i32);
    let also = match op >> 24 & 0xf {
        0 => old == compare,
        1 => old != compare,
        2 => old < compare,
        3 => old <= compare,
        4 => old > compare,
        5 => old >= compare,
        _ => return Err(Errno::ENOSYS),
    };
    let table = &task.kernel.futexes;
    let mut woken = table.wake(&first, counts.0, ANY);
    if also {
        woken += table.wake(&second, counts.1, ANY);
    }
    Ok(woken)
}
