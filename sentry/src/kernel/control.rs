//! What `runsc` asks of a running sandbox.

use sentry_abi::Errno;

use super::{ExitStatus, Kernel};
use crate::signals::SigInfo;
use crate::signals::set::is_signal;
use crate::task::cpu;

/// One line of `runsc ps`.
#[derive(Clone, Debug, Default)]
pub struct ProcessInfo {
    /// Process id.
    pub pid: i32,
    /// Parent's.
    pub ppid: i32,
    /// Real user id.
    pub uid: u32,
    /// Number of threads.
    pub threads: usize,
    /// When it started, nanoseconds after boot.
    pub start_ns: u64,
    /// CPU time so far, nanoseconds.
    pub cpu_ns: u64,
    /// Name.
    pub command: String,
}

impl Kernel {
    /// Takes from the first process what Linux gives the first one of a PID namespace: to be spared
    /// signals from inside that it has not asked for. For a program that was not written to be an init.
    pub fn make_first_ordinary(&self) {
        self.tree.lock().first_is_ordinary = true;
    }

    /// Waits until the first process has ended: the sandbox's exit status.
    pub fn wait_exit(&self) -> ExitStatus {
        let mut ended = self.ended.lock();
        loop {
            if let Some(status) = ended.get(&1).copied() {
                drop(ended);
                self.finish_console(1);
                self.network.drain();
                return status;
            }
            self.ended_changed.wait(&mut ended);
        }
    }

    /// Waits until a process that was started from outside has ended; `None` if `pid` is no such process.
    pub fn wait_pid(&self, pid: i32) -> Option<ExitStatus> {
        // Asked before the first look at the ends: who is not here any more is there already.
        let known = self.started_from_outside(pid);
        let mut ended = self.ended.lock();
        loop {
            if let Some(status) = ended.get(&pid).copied() {
                drop(ended);
                self.finish_console(pid);
                return Some(status);
            }
            if !known {
                return None;
            }
            self.ended_changed.wait(&mut ended);
        }
    }

    /// True if `pid` was started from outside and has not been reaped.
    fn started_from_outside(&self, pid: i32) -> bool {
        let tree = self.tree.lock();
        tree.node(pid).is_some_and(|node| node.parent == 0)
    }

    /// Sends `signo` to process `pid`; with `all`, to every process.
    ///
    /// # Errors
    /// ESRCH, EINVAL.
    pub fn kill(&self, pid: i32, signo: i32, all: bool) -> Result<(), Errno> {
        if !is_signal(signo) {
            return Err(Errno::EINVAL);
        }
        let info = SigInfo::kernel(signo);
        let mut tree = self.tree.lock();
        if !all {
            return tree.signal_from_outside(pid, info);
        }
        let pids: Vec<i32> = tree.nodes().map(|node| node.process.pid).collect();
        for pid in &pids {
            // One full queue does not keep the signal from the others.
            let _ = tree.signal_from_outside(*pid, info);
        }
        if pids.is_empty() {
            Err(Errno::ESRCH)
        } else {
            Ok(())
        }
    }

    /// The processes that live.
    pub fn ps(&self) -> Vec<ProcessInfo> {
        let tree = self.tree.lock();
        let lives = tree.nodes().filter(|node| node.exit.is_none());
        lives
            .map(|node| {
                let first = node.threads.first();
                ProcessInfo {
                    pid: node.process.pid,
                    ppid: node.parent,
                    uid: first.map_or(0, |thread| thread.creds().uid),
                    threads: node.threads.len(),
                    start_ns: node.process.start_ns.saturating_sub(self.boot_ns),
                    cpu_ns: cpu::of_node(node).iter().sum(),
                    command: first.map_or(String::new(), |thread| {
                        String::from_utf8_lossy(&thread.comm()).into_owned()
                    }),
                }
            })
            .collect()
    }
}
