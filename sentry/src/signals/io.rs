//! SIGIO and its like, from the files that became ready to their owners.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::kernel::Kernel;
use crate::signals::SigInfo;
use crate::task::TaskShared;
use crate::task::tree::Tree;
use crate::time::queue::{Expire, TimerId, TimerQueue};
use crate::vfs::sigio::{IoEvent, IoSignals, Owner, OwnerKind};

/// Most signals that wait to be raised; beyond, they are lost like those of a full queue.
const LATE_MAX: usize = 4096;

/// Raises the signals of one sandbox's files.
///
/// A file may notify while the tree is locked (the terminal of a session that ends). Then, and when
/// somebody else has it, the timer thread raises the signal.
pub(crate) struct IoSignaler {
    me: Weak<Self>,
    kernel: Weak<Kernel>,
    late: Mutex<VecDeque<(Owner, IoEvent)>>,
    id: TimerId,
}

impl IoSignaler {
    /// For the tasks of `kernel`.
    pub(crate) fn new(kernel: &Arc<Kernel>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            kernel: Arc::downgrade(kernel),
            late: Mutex::default(),
            id: TimerId::new(),
        })
    }
}

impl IoSignals for IoSignaler {
    fn raise(&self, owner: Owner, event: IoEvent) {
        let Some(kernel) = self.kernel.upgrade() else {
            return;
        };
        let mut late = self.late.lock();
        if late.is_empty()
            && let Some(mut tree) = kernel.tree.try_lock()
        {
            drop(late);
            deliver(&mut tree, owner, event);
            return;
        }
        if late.len() < LATE_MAX && late.back() != Some(&(owner, event)) {
            late.push_back((owner, event));
        }
        drop(late);
        let me: Weak<dyn Expire> = Weak::<Self>::clone(&self.me);
        TimerQueue::get().set(self.id, 0, me);
    }
}

impl Expire for IoSignaler {
    fn expire(&self, _: u64) -> Option<u64> {
        let kernel = self.kernel.upgrade()?;
        let mut tree = kernel.tree.lock();
        let late = std::mem::take(&mut *self.late.lock());
        for (owner, event) in late {
            deliver(&mut tree, owner, event);
        }
        None
    }
}

/// Raises one signal (`send_sigio`).
fn deliver(tree: &mut Tree, owner: Owner, event: IoEvent) {
    match owner.kind {
        OwnerKind::Thread => {
            let Some(thread) = tree.task(owner.id).cloned() else {
                return;
            };
            if permitted(owner, &thread) {
                let _ = or_sigio(event, |info| tree.signal_thread(&thread, info));
            }
        }
        OwnerKind::Process => to_process(tree, owner.id, owner, event),
        OwnerKind::Group => {
            let pids: Vec<i32> = tree.group(owner.id).map(|node| node.process.pid).collect();
            for pid in pids {
                to_process(tree, pid, owner, event);
            }
        }
    }
}

fn to_process(tree: &mut Tree, pid: i32, owner: Owner, event: IoEvent) {
    let first = tree.node(pid).and_then(|node| node.threads.first());
    if first.is_some_and(|thread| permitted(owner, thread)) {
        // A process that has ended meanwhile needs no signal.
        let _ = or_sigio(event, |info| tree.signal_process(pid, info));
    }
}

/// The signal that was asked for, or plain SIGIO if that one's queue is full.
fn or_sigio<E>(event: IoEvent, mut send: impl FnMut(SigInfo) -> Result<(), E>) -> Result<(), E> {
    if event.code == libc::SI_KERNEL {
        return send(SigInfo::kernel(event.signo));
    }
    if event.signo != 0 && send(SigInfo::io(event.signo, event.code, event.fd)).is_ok() {
        return Ok(());
    }
    send(SigInfo::kernel(libc::SIGIO))
}

/// Whether whoever set the owner may signal it (`sigio_perm`).
fn permitted(owner: Owner, thread: &Arc<TaskShared>) -> bool {
    let creds = thread.creds();
    let theirs = [creds.suid, creds.uid];
    owner.euid == 0 || theirs.contains(&owner.euid) || theirs.contains(&owner.uid)
}
