//! Job control: stops, process groups, sessions, controlling terminals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sentry_abi::Errno;

use crate::signals::SigInfo;
use crate::signals::action::SIG_IGN;
use crate::task::Task;
use crate::task::tree::Tree;
use crate::vfs::creds::cap;
use crate::vfs::file::{CallerIds, FileOps, SessionSource};

/// Stops the process of `task` with `signo`, unless nobody could continue it.
pub(crate) fn stop_process(task: &mut Task, signo: i32) {
    let pid = task.pid();
    let mut tree = task.kernel.tree.lock();
    let Some(node) = tree.node(pid) else { return };
    if signo != libc::SIGSTOP && tree.is_orphaned(node.pgid, 0) {
        return;
    }
    let process = task.process();
    {
        let mut signals = process.signals.lock();
        if signals.stop.replace(signo).is_some() {
            return;
        }
        process.stopped.store(true, Ordering::SeqCst);
    }
    node.threads.iter().for_each(|thread| thread.kick());
    if let Some(node) = tree.node_mut(pid) {
        node.stop_event = Some(signo);
        node.continue_event = false;
    }
    tree.tell_parent_of_change(pid, libc::CLD_STOPPED, signo);
}

impl Tree {
    /// True if no member of the group (beside process `leaving`) has a parent in the same session and
    /// another group: then nobody does job control for it.
    pub(crate) fn is_orphaned(&self, pgid: i32, leaving: i32) -> bool {
        !self.group(pgid).any(|member| {
            let parent = self.node(member.parent);
            member.process.pid != leaving
                && member.exit.is_none()
                && parent.is_some_and(|parent| parent.sid == member.sid && parent.pgid != pgid)
        })
    }

    /// setpgid(2) for `caller`.
    ///
    /// # Errors
    /// EINVAL, ESRCH, EPERM, EACCES.
    pub(crate) fn set_group(&mut self, caller: i32, pid: i32, pgid: i32) -> Result<(), Errno> {
        if pgid < 0 {
            return Err(Errno::EINVAL);
        }
        let pid = if pid == 0 { caller } else { pid };
        let pgid = if pgid == 0 { pid } else { pgid };
        let own_sid = self.node(caller).ok_or(Errno::ESRCH)?.sid;
        let node = self.node(pid).ok_or(Errno::ESRCH)?;
        if pid != caller {
            if node.parent != caller {
                return Err(Errno::ESRCH);
            }
            if node.sid != own_sid {
                return Err(Errno::EPERM);
            }
            if node.process.exec.read().execed {
                return Err(Errno::EACCES);
            }
        }
        if node.sid == pid {
            return Err(Errno::EPERM);
        }
        let exists = self.group(pgid).any(|member| member.sid == own_sid);
        if pgid != pid && !exists {
            return Err(Errno::EPERM);
        }
        let node = self.node_mut(pid).ok_or(Errno::ESRCH)?;
        node.pgid = pgid;
        node.process.pgid.store(pgid, Ordering::Relaxed);
        Ok(())
    }

    /// setsid(2) for `caller`.
    ///
    /// # Errors
    /// EPERM if it leads a group already.
    pub(crate) fn new_session(&mut self, caller: i32) -> Result<i32, Errno> {
        if self.group(caller).next().is_some() {
            return Err(Errno::EPERM);
        }
        let node = self.node_mut(caller).ok_or(Errno::ESRCH)?;
        node.pgid = caller;
        node.sid = caller;
        let process = &node.process;
        process.pgid.store(caller, Ordering::Relaxed);
        process.sid.store(caller, Ordering::Relaxed);
        *process.tty.lock() = None;
        Ok(caller)
    }
}

impl SessionSource for Task {
    fn ids(&self) -> CallerIds {
        let process = self.process();
        CallerIds {
            pid: process.pid,
            pgid: process.pgid(),
            sid: process.sid(),
        }
    }

    fn group_in_session(&self, pgid: i32, sid: i32) -> bool {
        let tree = self.kernel.tree.lock();
        tree.group(pgid).any(|node| node.sid == sid)
    }

    fn signal_group(&self, pgid: i32, signo: i32) {
        self.kernel
            .tree
            .lock()
            .signal_group(pgid, SigInfo::kernel(signo));
    }

    fn stop_background(&self, signo: i32) -> bool {
        let ignored = self.process().actions().get(signo).handler == SIG_IGN;
        if ignored || self.shared.mask().contains(signo) {
            return false;
        }
        let pgid = self.process().pgid();
        let mut tree = self.kernel.tree.lock();
        if tree.is_orphaned(pgid, 0) {
            return false;
        }
        tree.signal_group(pgid, SigInfo::kernel(signo));
        true
    }

    fn set_controlling(&self, tty: Option<Arc<dyn FileOps>>) {
        let sid = self.process().sid();
        let tree = self.kernel.tree.lock();
        for node in tree.nodes().filter(|node| node.sid == sid) {
            node.process.tty.lock().clone_from(&tty);
        }
    }

    fn has_controlling(&self) -> bool {
        self.process().tty.lock().is_some()
    }

    fn detach_session(&self, sid: i32) {
        let tree = self.kernel.tree.lock();
        for node in tree.nodes().filter(|node| node.sid == sid) {
            *node.process.tty.lock() = None;
        }
    }

    fn may_steal_terminals(&self) -> bool {
        self.creds.has(cap::SYS_ADMIN)
    }
}
