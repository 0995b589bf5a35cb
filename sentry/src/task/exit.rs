//! The end of tasks and processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::signals::SigInfo;
use crate::signals::action::SIG_IGN;
use crate::task::futex;
use crate::task::run;
use crate::task::shared::{RunState, TaskShared};
use crate::task::tree::{Exited, Tree};
use crate::task::{Process, Task};
use crate::time::timers::ProcessTimers;
use crate::wait::Ready;

/// Ends a task whose exit status is set: lets go of what it holds, then tells those who wait.
pub(crate) fn finish(mut task: Task) {
    let status = task.exit_status.unwrap_or(libc::SIGKILL);
    futex::release_thread(&mut task);
    run::account(&task);
    let Task {
        shared,
        mm,
        fds,
        fs,
        creds,
        kernel,
        context,
        vfork_done,
        ..
    } = task;
    shared.update_view(|view| {
        view.mm = None;
        view.fds = None;
        view.fs = None;
    });
    // The host thread goes before the address space, and both before the parent hears of it.
    drop(context);
    drop(mm);
    if let Some(done) = vfork_done {
        done.finish();
    }
    drop(fds);
    drop(fs);
    let mut tree = kernel.tree.lock();
    // Recorded before the lock is released: a process is in the tree or its end is on record.
    for (pid, status) in tree.thread_ended(&shared, status, creds.uid) {
        kernel.record_end(pid, status);
    }
}

impl Tree {
    /// Takes a thread out; if it was the last one its process ends. Returns the processes that somebody
    /// outside of the sandbox waits for, with their wait status.
    fn thread_ended(&mut self, shared: &Arc<TaskShared>, status: i32, uid: u32) -> Vec<(i32, i32)> {
        let process = &shared.process;
        shared.set_state(RunState::Dead);
        self.tasks.remove(&shared.tid);
        let [user, system] = &process.dead_cpu;
        user.fetch_add(shared.user_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        system.fetch_add(shared.system_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        let Some(node) = self.node_mut(process.pid) else {
            return Vec::new();
        };
        node.threads.retain(|thread| !Arc::ptr_eq(thread, shared));
        if !node.threads.is_empty() {
            let killer = process.exec_by.load(Ordering::SeqCst);
            let waiter = node.threads.iter().find(|thread| thread.tid == killer);
            if let Some(waiter) = waiter {
                waiter.parker.unpark();
            }
            return Vec::new();
        }
        let status = process.group_exit_status().unwrap_or(status);
        self.process_ended(process, status, uid)
    }

    fn process_ended(&mut self, process: &Arc<Process>, status: i32, uid: u32) -> Vec<(i32, i32)> {
        let pid = process.pid;
        *process.timers.lock() = ProcessTimers::default();
        self.leave_jobs(pid);
        self.reparent_children(pid);
        let [user, system] = cpu_with_children(process);
        let Some(node) = self.node_mut(pid) else {
            return Vec::new();
        };
        node.exit = Some(Exited {
            status,
            uid,
            user_ns: user,
            system_ns: system,
        });
        let (parent, exit_signal) = (node.parent, node.exit_signal);
        process.exit_events.notify(Ready::IN);
        if pid == 1 {
            self.end_everything();
        }
        if self.node(parent).is_none() {
            self.reap(pid);
            return vec![(pid, status)];
        }
        self.tell_parent(pid, parent, exit_signal);
        Vec::new()
    }

    /// Tells the parent that child `pid` has ended, or reaps it if the parent does not want to know.
    fn tell_parent(&mut self, pid: i32, parent: i32, exit_signal: i32) {
        let Some(parent_process) = self.node(parent).map(|node| Arc::clone(&node.process)) else {
            return;
        };
        let Some(exited) = self.node(pid).and_then(|node| node.exit) else {
            return;
        };
        let action = parent_process.actions().get(libc::SIGCHLD);
        let unwanted = exit_signal == libc::SIGCHLD
            && (action.handler == SIG_IGN || action.has(libc::SA_NOCLDWAIT));
        if exit_signal != 0 && !(unwanted && action.handler == SIG_IGN) {
            let mut info = child_info(pid, &exited);
            info.signo = exit_signal;
            // SIGCHLD's queue cannot be full; a full real-time queue loses the signal, as in Linux.
            let _ = self.signal_process(parent, info);
        }
        if unwanted {
            self.reap(pid);
        }
        parent_process.child_events.notify(Ready::IN);
    }

    /// Forgets a process that has ended.
    pub(crate) fn reap(&mut self, pid: i32) {
        if let Some(node) = self.processes.remove(&pid)
            && let Some(parent) = self.node_mut(node.parent)
        {
            parent.children.retain(|child| *child != pid);
        }
    }

    /// Children of `pid` get the nearest subreaper, or the first process, as their parent.
    fn reparent_children(&mut self, pid: i32) {
        let Some(node) = self.node_mut(pid) else {
            return;
        };
        let children = std::mem::take(&mut node.children);
        if children.is_empty() {
            return;
        }
        let new_parent = self.reaper_of(pid);
        for child in &children {
            let Some(node) = self.node_mut(*child) else {
                continue;
            };
            node.parent = new_parent;
            node.process.ppid.store(new_parent, Ordering::Relaxed);
            let death_signal = node.process.death_signal.load(Ordering::Relaxed);
            let ended = node.exit.is_some();
            node.exit_signal = libc::SIGCHLD;
            if let Some(parent) = self.node_mut(new_parent) {
                parent.children.push(*child);
            }
            if death_signal != 0 && !ended {
                // A full queue loses the signal, as in Linux.
                let _ = self.signal_process(*child, SigInfo::kernel(death_signal));
            }
            match (ended, self.node(new_parent).is_some()) {
                (true, true) => self.tell_parent(*child, new_parent, libc::SIGCHLD),
                (true, false) => self.reap(*child),
                _ => {}
            }
        }
    }

    fn reaper_of(&self, pid: i32) -> i32 {
        let mut at = self.node(pid).map_or(0, |node| node.parent);
        while let Some(node) = self.node(at) {
            if node.subreaper && node.exit.is_none() {
                return at;
            }
            at = node.parent;
        }
        let init_lives = self.node(1).is_some_and(|init| init.exit.is_none());
        if init_lives && pid != 1 { 1 } else { 0 }
    }

    /// Groups that lose their last link to job control and have stopped members are hung up; so is the
    /// foreground of a session whose leader ends.
    fn leave_jobs(&mut self, pid: i32) {
        let Some(node) = self.node(pid) else { return };
        let (sid, tty) = (node.sid, node.process.tty.lock().take());
        let mut groups: Vec<i32> = node
            .children
            .iter()
            .filter_map(|child| Some(self.node(*child)?.pgid))
            .collect();
        groups.push(node.pgid);
        groups.sort_unstable();
        groups.dedup();
        if sid == pid && tty.is_some() {
            for member in self.nodes().filter(|member| member.sid == sid) {
                *member.process.tty.lock() = None;
            }
            let mut members: Vec<i32> = self
                .nodes()
                .filter(|member| member.sid == sid && member.process.pid != pid)
                .map(|member| member.pgid)
                .collect();
            members.sort_unstable();
            members.dedup();
            for pgid in members {
                self.hang_up(pgid);
            }
        }
        for pgid in groups {
            let stopped = self
                .group(pgid)
                .any(|member| member.process.stopped.load(Ordering::SeqCst));
            if stopped && self.is_orphaned(pgid, pid) {
                self.hang_up(pgid);
            }
        }
    }

    fn hang_up(&mut self, pgid: i32) {
        self.signal_group(pgid, SigInfo::kernel(libc::SIGHUP));
        self.signal_group(pgid, SigInfo::kernel(libc::SIGCONT));
    }

    /// The first process has ended: nothing in the sandbox outlives it.
    fn end_everything(&mut self) {
        for node in self.processes.values() {
            if node.exit.is_none() {
                node.process.begin_group_exit(libc::SIGKILL);
                node.threads.iter().for_each(|task| task.kick());
            }
        }
    }
}

/// What SIGCHLD and waitid say of a child that has ended.
pub(crate) fn child_info(pid: i32, exited: &Exited) -> SigInfo {
    let (code, status) = match exited.status & 0x7f {
        0 => (libc::CLD_EXITED, exited.status >> 8 & 0xff),
        signo => (libc::CLD_KILLED, signo),
    };
    let ticks = |ns: u64| ns / crate::time::TICK_NS;
    SigInfo::child(
        code,
        pid,
        exited.uid,
        status,
        ticks(exited.user_ns),
        ticks(exited.system_ns),
    )
}

fn cpu_with_children(process: &Process) -> [u64; 2] {
    [0, 1].map(|at| {
        process.dead_cpu[at].load(Ordering::Relaxed) + process.child_cpu[at].load(Ordering::Relaxed)
    })
}
