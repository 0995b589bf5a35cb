//! Waiting, for handlers that cannot go on: register, try again, sleep, try again.

use std::sync::Arc;
use std::time::Duration;

use sentry_abi::Errno;
use smallvec::SmallVec;

use crate::signals::deliver::{self, Attended};
use crate::syscalls::{Args, Block, Handler, OnSignal, Outcome, QueueRef, SysResult, WaitOn};
use crate::task::shared::RunState;
use crate::task::{Task, run};
use crate::wait::{WaitId, WaitQueue};

/// How a wait ended.
pub(crate) enum Waited {
    /// The call has its result.
    Done(SysResult),
    /// The call is to be made again after the handler of a signal.
    Restart,
}

/// Serves a call whose first attempt would have to wait.
pub(crate) fn wait(task: &mut Task, handler: Handler, args: &Args, first: Block) -> Waited {
    let mut registered = Registered::default();
    let mut block = first;
    let mut attended = false;
    let waited = loop {
        task.shared.parker.reset();
        registered.update(task, &mut block.on);
        match handler(task, args) {
            Ok(Outcome::Block(next)) => block = next,
            result => break Waited::Done(result),
        }
        if !registered.matches(&block.on) {
            continue;
        }
        if task.shared.wants_attention() || block.interrupted == OnSignal::Never && attended {
            match interrupted(task, block.interrupted, &mut attended) {
                Some(waited) => break waited,
                None if block.interrupted != OnSignal::Never => continue,
                None => {}
            }
        }
        if !sleep(task, block.deadline_ns) {
            task.call_state.timed_out = true;
            let result = handler(task, args);
            break Waited::Done(match result {
                Ok(Outcome::Block(_)) => Err(Errno::ETIMEDOUT),
                result => result,
            });
        }
    };
    registered.clear();
    if attended {
        task.shared.ask_attention();
    }
    waited
}

/// Sleeps until woken; false once the deadline has passed.
fn sleep(task: &Task, deadline_ns: Option<u64>) -> bool {
    let timeout = match deadline_ns {
        None => None,
        Some(deadline) => {
            let left = deadline.saturating_sub(task.now_ns());
            if left == 0 {
                return false;
            }
            Some(Duration::from_nanos(left))
        }
    };
    run::account(task);
    crate::time::cpu_timers::check(task);
    task.shared.set_state(RunState::Sleeping);
    task.shared.parker.park(timeout);
    task.shared.set_state(RunState::Running);
    crate::time::cpu_timers::check(task);
    true
}

/// Somebody wants something of a task that waits: `None` if the wait goes on.
fn interrupted(task: &mut Task, how: OnSignal, attended: &mut bool) -> Option<Waited> {
    if how == OnSignal::Never {
        // Only the end of the task ends this wait; what else is wanted is looked at after it.
        *attended |= task.shared.take_attention();
        return deliver::must_end(task).then(|| Waited::Done(Ok(Outcome::Exit)));
    }
    let found = deliver::attend(task);
    if found == Attended::Nothing {
        return None;
    }
    if found == Attended::Exit {
        return Some(Waited::Done(Ok(Outcome::Exit)));
    }
    if found == Attended::Continued && how != OnSignal::Interrupt {
        return None;
    }
    let happened = task.call_state.extra.as_mut().and_then(|e| e.wind_up());
    if let Some(value) = happened {
        return Some(Waited::Done(Ok(Outcome::Value(value))));
    }
    let restarts = match &task.signals.ready {
        Some((_, action)) => how == OnSignal::RestartIfAsked && action.has(libc::SA_RESTART),
        None => false,
    };
    write_remaining(task);
    Some(if restarts {
        Waited::Restart
    } else {
        Waited::Done(Err(Errno::EINTR))
    })
}

/// Tells the caller of an interrupted sleep how long it would still have slept.
fn write_remaining(task: &Task) {
    let (at, deadline) = (task.call_state.remaining_at, task.call_state.deadline_ns);
    if let (1.., Some(deadline)) = (at, deadline) {
        let left = deadline.saturating_sub(task.now_ns());
        // A bad address is found only here, where the call has its errno already.
        let _ = task.mm.write_val(at, &crate::time::to_timespec(left));
    }
}

/// The queues that a waiting task is registered on.
#[derive(Default)]
struct Registered {
    entries: SmallVec<[(WaitOn, WaitId); 2]>,
    made: bool,
}

fn queue_of(on: &WaitOn) -> Option<&WaitQueue> {
    match &on.queue {
        QueueRef::Own(queue) => Some(queue),
        QueueRef::File(file) => file.wait_queue(),
    }
}

fn same(a: &WaitOn, b: &WaitOn) -> bool {
    let queues = match (queue_of(a), queue_of(b)) {
        (Some(a), Some(b)) => std::ptr::eq(a, b),
        (None, None) => true,
        _ => false,
    };
    queues && a.mask == b.mask
}

impl Registered {
    /// True if a wait on `on` is what is registered: no wake can have been missed.
    fn matches(&self, on: &[WaitOn]) -> bool {
        self.made
            && self.entries.len() == on.len()
            && self.entries.iter().zip(on).all(|((a, _), b)| same(a, b))
    }

    fn update(&mut self, task: &Task, on: &mut SmallVec<[WaitOn; 2]>) {
        if self.matches(on) {
            return;
        }
        self.clear();
        for on in on.drain(..) {
            let waker = Arc::clone(&task.shared.parker);
            let id = match queue_of(&on) {
                Some(queue) => queue.add(on.mask, waker),
                None => WaitId::NONE,
            };
            self.entries.push((on, id));
        }
        self.made = true;
    }

    fn clear(&mut self) {
        for (on, id) in self.entries.drain(..) {
            if let Some(queue) = queue_of(&on) {
                queue.remove(id);
            }
        }
        self.made = false;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.clear();
    }
}
