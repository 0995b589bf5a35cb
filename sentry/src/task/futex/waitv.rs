//! Waiting on several words at once (futex_waitv(2)).

use std::any::Any;
use std::sync::Arc;

use sentry_abi::Errno;

use super::{ANY, Waiter, new_waiter};
use crate::kernel::Kernel;
use crate::syscalls::{Block, OnSignal, Outcome, SysResult};
use crate::task::Task;
use crate::task::state::Interrupted;

/// A word and what it has to be for the wait to begin.
pub(crate) struct Word {
    pub(crate) addr: u64,
    pub(crate) shared: bool,
    pub(crate) expected: u32,
}

/// The state of a waiting call; taking it away takes the waiters out.
struct WaitingAny {
    kernel: Arc<Kernel>,
    waiters: Vec<Arc<Waiter>>,
}

impl WaitingAny {
    /// The place of the first word that was woken.
    fn woken(&self) -> Option<usize> {
        self.waiters.iter().position(|waiter| waiter.woken())
    }

    /// Takes all waiters out; the place of one that was woken before (`futex_unqueue_multiple`).
    fn withdraw(&mut self) -> Option<usize> {
        let mut woken = None;
        for (place, waiter) in self.waiters.drain(..).enumerate() {
            if !self.kernel.futexes.withdraw(&waiter) {
                woken = Some(place);
            }
        }
        woken
    }
}

impl Interrupted for WaitingAny {
    fn wind_up(&mut self) -> Option<u64> {
        self.withdraw().map(|place| place as u64)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl Drop for WaitingAny {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// Waits until one of `words` is woken; its place.
///
/// # Errors
/// EAGAIN if one is not what is expected, ETIMEDOUT, EFAULT, EINVAL.
pub(crate) fn wait_any(task: &mut Task, words: &[Word], deadline_ns: Option<u64>) -> SysResult {
    let timed_out = task.call_state.timed_out;
    if let Some(waiting) = resumed(task) {
        let woken = match timed_out {
            true => waiting.withdraw(),
            false => waiting.woken(),
        };
        return match woken {
            Some(place) => Ok(Outcome::Value(place as u64)),
            None if timed_out => Err(Errno::ETIMEDOUT),
            None => Ok(block(deadline_ns)),
        };
    }
    let mut waiting = WaitingAny {
        kernel: Arc::clone(&task.kernel),
        waiters: Vec::with_capacity(words.len()),
    };
    for word in words {
        if !enlist(task, &mut waiting, word)? {
            // One before it may have been woken meanwhile: that counts more.
            let woken = waiting.withdraw().ok_or(Errno::EAGAIN)?;
            return Ok(Outcome::Value(woken as u64));
        }
    }
    task.call_state.extra = Some(Box::new(waiting));
    Ok(block(deadline_ns))
}

/// Begins to wait on one word; false if it is not what is expected.
fn enlist(task: &Task, waiting: &mut WaitingAny, word: &Word) -> Result<bool, Errno> {
    let key = task.mm.futex_key(word.addr, word.shared)?;
    // Faults the page in, so that nothing slow happens under the bucket's lock.
    task.mm.atomic_u32_load(word.addr)?;
    let table = &task.kernel.futexes;
    let index = table.index(&key);
    let waiter = new_waiter(task, key, index, ANY, false);
    let mut bucket = table.buckets[index].lock();
    if task.mm.atomic_u32_load(word.addr)? != word.expected {
        return Ok(false);
    }
    bucket.push(Arc::clone(&waiter));
    waiting.waiters.push(waiter);
    Ok(true)
}

fn resumed(task: &mut Task) -> Option<&mut WaitingAny> {
    task.call_state.extra.as_mut()?.as_any().downcast_mut()
}

/// The time is absolute, so that the call can be made again as it is.
fn block(deadline_ns: Option<u64>) -> Outcome {
    Block::idle()
        .until(deadline_ns)
        .on_signal(OnSignal::RestartIfAsked)
        .into()
}
