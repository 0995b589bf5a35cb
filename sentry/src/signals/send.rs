//! Raising signals. Everything here runs under the tree's lock, which keeps threads where they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sentry_abi::Errno;

use crate::signals::action::{Default, SIG_DFL, default_action};
use crate::signals::{SigInfo, SigSet};
use crate::task::TaskShared;
use crate::task::tree::{Node, Tree};
use crate::wait::Ready;

/// Where a signal goes.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Process,
    Thread(&'a Arc<TaskShared>),
}

impl Tree {
    /// Raises a signal for process `pid`.
    ///
    /// # Errors
    /// ESRCH; EAGAIN if a real-time queue is full.
    pub(crate) fn signal_process(&mut self, pid: i32, info: SigInfo) -> Result<(), Errno> {
        self.signal(pid, info, Scope::Process)
    }

    /// As [`Tree::signal_process`], sent by whoever runs the sandbox: the first process is not spared.
    ///
    /// # Errors
    /// As [`Tree::signal_process`].
    pub(crate) fn signal_from_outside(&mut self, pid: i32, info: SigInfo) -> Result<(), Errno> {
        let node = self.node(pid).ok_or(Errno::ESRCH)?;
        let action = node.process.actions().get(info.signo);
        let fatal = matches!(
            default_action(info.signo),
            Default::Terminate | Default::Core
        );
        if pid == 1 && action.handler == SIG_DFL && fatal {
            node.process.begin_group_exit(info.signo);
            node.threads.iter().for_each(|task| task.kick());
            return Ok(());
        }
        self.signal(pid, info, Scope::Process)
    }

    /// As [`Tree::signal_group`], sent by whoever runs the sandbox: the first process is not spared.
    pub(crate) fn signal_group_from_outside(&mut self, pgid: i32, info: SigInfo) {
        let pids: Vec<i32> = self.group(pgid).map(|node| node.process.pid).collect();
        for pid in pids {
            // A full queue in one member does not keep the signal from the others.
            let _ = self.signal_from_outside(pid, info);
        }
    }

    /// Raises a signal for one thread.
    ///
    /// # Errors
    /// As [`Tree::signal_process`].
    pub(crate) fn signal_thread(
        &mut self,
        task: &Arc<TaskShared>,
        info: SigInfo,
    ) -> Result<(), Errno> {
        self.signal(task.process.pid, info, Scope::Thread(task))
    }

    /// Raises a signal in every process of a group; returns how many there are.
    pub(crate) fn signal_group(&mut self, pgid: i32, info: SigInfo) -> usize {
        let pids: Vec<i32> = self.group(pgid).map(|node| node.process.pid).collect();
        for pid in &pids {
            // A full queue in one member does not keep the signal from the others.
            let _ = self.signal_process(*pid, info);
        }
        pids.len()
    }

    fn signal(&mut self, pid: i32, info: SigInfo, scope: Scope<'_>) -> Result<(), Errno> {
        let node = self.node(pid).ok_or(Errno::ESRCH)?;
        if node.threads.is_empty() {
            return Ok(());
        }
        let stopping = SigSet::STOPPING.contains(info.signo);
        if info.signo == libc::SIGKILL {
            // Not even that from inside ends the first process (SIGNAL_UNKILLABLE).
            if pid == 1 && !self.first_is_ordinary {
                return Ok(());
            }
            node.process.begin_group_exit(libc::SIGKILL);
            node.threads.iter().for_each(|task| task.kick());
            return Ok(());
        }
        if info.signo == libc::SIGCONT {
            discard(node, SigSet::STOPPING);
            self.resume(pid);
        } else if stopping {
            discard(node, SigSet::of(&[libc::SIGCONT]));
        }
        let node = self.node(pid).ok_or(Errno::ESRCH)?;
        let spared = pid == 1 && !self.first_is_ordinary;
        if dropped(node, info.signo, scope, spared) {
            return Ok(());
        }
        let limit = node.process.limits.soft(libc::RLIMIT_SIGPENDING);
        match scope {
            Scope::Thread(task) => {
                task.pending.lock().push_within(info, limit)?;
                task.kick();
            }
            Scope::Process => {
                let mut signals = node.process.signals.lock();
                signals.pending.push_within(info, limit)?;
                drop(signals);
                wake_one(node, info.signo);
            }
        }
        node.process.signal_events.notify(Ready::IN);
        node.process.signal_readers.notify(Ready::IN);
        Ok(())
    }

    /// Drops a signal that is pending in process `pid` (its action has become to ignore it).
    pub(crate) fn discard(&mut self, pid: i32, signo: i32) {
        if let Some(node) = self.node(pid) {
            discard(node, SigSet::of(&[signo]));
        }
    }

    /// Lets a stopped process go on.
    fn resume(&mut self, pid: i32) {
        let Some(node) = self.node_mut(pid) else {
            return;
        };
        let was_stopped = node.process.signals.lock().stop.take().is_some();
        if !was_stopped {
            return;
        }
        node.process.stopped.store(false, Ordering::SeqCst);
        node.stop_event = None;
        node.continue_event = true;
        node.threads.iter().for_each(|task| task.kick());
        self.tell_parent_of_change(pid, libc::CLD_CONTINUED, libc::SIGCONT);
    }

    /// SIGCHLD for a child that stopped or goes on.
    pub(crate) fn tell_parent_of_change(&mut self, pid: i32, code: i32, status: i32) {
        let Some(node) = self.node(pid) else { return };
        let uid = node.threads.first().map_or(0, |task| task.creds().uid);
        let parent = node.parent;
        let Some(parent_node) = self.node(parent) else {
            return;
        };
        let process = Arc::clone(&parent_node.process);
        let action = process.actions().get(libc::SIGCHLD);
        if !action.has(libc::SA_NOCLDSTOP) {
            let info = SigInfo::child(code, pid, uid, status, 0, 0);
            // SIGCHLD is no real-time signal: its queue cannot be full.
            let _ = self.signal_process(parent, info);
        }
        process.child_events.notify(Ready::IN);
    }
}

/// Drops pending signals of `gone` everywhere in the process.
fn discard(node: &Node, gone: SigSet) {
    node.process.signals.lock().pending.discard(gone);
    for task in &node.threads {
        task.pending.lock().discard(gone);
    }
}

/// True if the signal would do nothing: it is ignored and nobody has it blocked, or it is for the first
/// process of the sandbox, which has not asked for it.
fn dropped(node: &Node, signo: i32, scope: Scope<'_>, spared: bool) -> bool {
    let action = node.process.actions().get(signo);
    // A blocked signal may have a handler, or be read, by the time it is looked at (`sig_ignored`).
    let blocked = match scope {
        Scope::Thread(task) => task.mask().contains(signo),
        Scope::Process => node.threads.iter().any(|task| task.mask().contains(signo)),
    };
    let spared = spared && action.handler == SIG_DFL && unkillable(signo);
    !blocked && (spared || action.ignores(signo))
}

/// Signals that end or stop an ordinary process; the first one of the sandbox is spared unless the fault
/// is its own (those are raised by `deliver::force`).
fn unkillable(signo: i32) -> bool {
    !matches!(default_action(signo), Default::Ignore | Default::Continue)
}

/// Wakes a thread that can take the signal: the first that does not block it.
fn wake_one(node: &Node, signo: i32) {
    let able = |task: &&Arc<TaskShared>| !task.mask().contains(signo);
    match node.threads.iter().find(able) {
        Some(task) => task.kick(),
        // Blocked everywhere: a thread in sigtimedwait may still want it.
        None => node.threads.iter().for_each(|task| task.parker.unpark()),
    }
}
