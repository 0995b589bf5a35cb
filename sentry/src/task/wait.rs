//! wait4(2) and waitid(2): what children have come to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sentry_abi::Errno;

use crate::signals::SigInfo;
use crate::task::Task;
use crate::task::exit::child_info;
use crate::task::tree::{Node, Tree};

/// Which children are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Any.
    All,
    /// One.
    Pid(i32),
    /// A process group.
    Group(i32),
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) which: Which,
    /// WEXITED, WSTOPPED, WCONTINUED, WNOWAIT, __WALL, __WCLONE ...
    pub(crate) options: i32,
}

/// A change of state that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) pid: i32,
    /// As wait4 reports it.
    pub(crate) status: i32,
    /// As waitid reports it.
    pub(crate) info: SigInfo,
    /// CPU time, of ended children: user, system, nanoseconds.
    pub(crate) cpu: [u64; 2],
}

/// Looks for a child of the caller that has changed; `None` if it has to be waited for.
///
/// # Errors
/// ECHILD if there is no such child.
pub(crate) fn look(task: &Task, wanted: Wanted) -> Result<Option<Change>, Errno> {
    let mut tree = task.kernel.tree.lock();
    let caller = tree.node(task.pid()).ok_or(Errno::ECHILD)?;
    let mut any = false;
    let mut found = None;
    for pid in caller.children.iter().copied() {
        let Some(child) = tree.node(pid) else {
            continue;
        };
        if !eligible(child, wanted) {
            continue;
        }
        any = true;
        if let Some(change) = change_of(child, wanted.options) {
            found = Some(change);
            break;
        }
    }
    match found {
        Some(change) => {
            if wanted.options & libc::WNOWAIT == 0 {
                consume(&mut tree, task, &change);
            }
            Ok(Some(change))
        }
        None if any => Ok(None),
        None => Err(Errno::ECHILD),
    }
}

fn eligible(child: &Node, wanted: Wanted) -> bool {
    let chosen = match wanted.which {
        Which::All => true,
        Which::Pid(pid) => child.process.pid == pid,
        Which::Group(pgid) => child.pgid == pgid,
    };
    if wanted.options & libc::__WALL != 0 {
        return chosen;
    }
    let is_clone = child.exit_signal != libc::SIGCHLD;
    chosen && is_clone == (wanted.options & libc::__WCLONE != 0)
}

fn change_of(child: &Node, options: i32) -> Option<Change> {
    let pid = child.process.pid;
    if let Some(exited) = child.exit {
        return (options & libc::WEXITED != 0).then(|| Change {
            pid,
            status: exited.status,
            info: child_info(pid, &exited),
            cpu: [exited.user_ns, exited.system_ns],
        });
    }
    let uid = child.threads.first().map_or(0, |task| task.creds().uid);
    let change = |status, code, value| Change {
        pid,
        status,
        info: SigInfo::child(code, pid, uid, value, 0, 0),
        cpu: [0; 2],
    };
    if let (Some(signo), true) = (child.stop_event, options & libc::WSTOPPED != 0) {
        return Some(change(signo << 8 | 0x7f, libc::CLD_STOPPED, signo));
    }
    if child.continue_event && options & libc::WCONTINUED != 0 {
        return Some(change(0xffff, libc::CLD_CONTINUED, libc::SIGCONT));
    }
    None
}

fn consume(tree: &mut Tree, task: &Task, change: &Change) {
    let Some(node) = tree.node_mut(change.pid) else {
        return;
    };
    if node.exit.is_some() {
        let process = Arc::clone(task.process());
        for (at, ns) in change.cpu.iter().enumerate() {
            process.child_cpu[at].fetch_add(*ns, Ordering::Relaxed);
        }
        tree.reap(change.pid);
    } else if change.info.code == libc::CLD_STOPPED {
        node.stop_event = None;
    } else {
        node.continue_event = false;
    }
}
