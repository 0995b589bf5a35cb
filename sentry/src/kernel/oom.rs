//! When the guests' memory is at its limit: the process that holds most of it ends (as in Linux's
//! `out_of_memory`), and nothing else does.
//!
//! Pages that are mapped already are backed by the host without the Sentry's knowledge, so a thread
//! looks how much there is, the more often the less is left. Faults that find no memory wait for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{BootError, Kernel};
use crate::mm::MemoryManager;
use crate::signals::deliver;
use crate::task::Task;

/// What guests may fill in a second, at most: from it follows when to look again.
const BYTES_PER_MS: u64 = 8 << 20;
/// Bounds of the time between two looks.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 2..=500;
/// A process that was told to end and still holds its memory after this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who was chosen last.
#[derive(Default)]
pub(super) struct Victim {
    /// Gone when its memory has been given back.
    memory: Weak<()>,
    since: Option<Instant>,
}

impl Kernel {
    /// Starts the thread that keeps guests within the memory limit, if there is one.
    pub(super) fn watch_memory(self: &Arc<Self>) -> Result<(), BootError> {
        if self.memory_limit == 0 {
            return Ok(());
        }
        let kernel = Arc::downgrade(self);
        std::thread::Builder::new()
            .name("memory".into())
            .stack_size(128 << 10)
            .spawn(move || watch(&kernel))
            .map(drop)
            .map_err(|source| BootError::Host {
                what: "a thread that watches memory",
                source,
            })
    }

    /// What counts when one has to end: the memory that it holds, and a share of all of it by its
    /// `oom_score_adj` (Linux `oom_badness`). `None` of one that must not be chosen.
    fn badness(&self, score: i32, mm: &MemoryManager) -> Option<i128> {
        let share = i128::from(self.memory_limit) * i128::from(score) / 1000;
        (score > -1000).then(|| i128::from(mm.resident()) + share)
    }

    /// Chooses the process with most memory and ends it, unless one that was chosen is still ending.
    fn choose_victim(&self) {
        let mut last = self.oom_victim.lock();
        let patient = last.since.is_some_and(|since| since.elapsed() < PATIENCE);
        if patient && last.memory.strong_count() > 0 {
            return;
        }
        let spaces: Vec<(i32, Arc<MemoryManager>)> = {
            let tree = self.tree.lock();
            let threads = tree.nodes().filter(|node| node.exit.is_none());
            let threads = threads.flat_map(|node| node.threads.first());
            threads
                .filter_map(|thread| {
                    let score = thread.process.oom_score_adj.load(Ordering::Relaxed);
                    Some((score, thread.view().mm?))
                })
                .collect()
        };
        // The tree's lock is free again: a space's own may be held for long.
        let candidates = spaces
            .into_iter()
            .filter_map(|(score, mm)| Some((self.badness(score, &mm)?, mm)));
        let biggest = candidates.max_by_key(|(badness, _)| *badness);
        let Some((_, mm)) = biggest else { return };
        *last = Victim {
            memory: mm.lifetime(),
            since: Some(Instant::now()),
        };
        drop(last);
        self.end_users_of(&mm);
    }

    /// Ends every process that uses an address space (vfork and CLONE_VM share one).
    fn end_users_of(&self, mm: &Arc<MemoryManager>) {
        let uses = |thread: &Arc<crate::task::shared::TaskShared>| {
            let view = thread.view();
            view.mm.is_some_and(|other| Arc::ptr_eq(&other, mm))
        };
        let tree = self.tree.lock();
        for node in tree.nodes().filter(|node| node.exit.is_none()) {
            if node.threads.iter().any(uses) {
                node.process.begin_group_exit(libc::SIGKILL);
                node.threads.iter().for_each(|thread| thread.kick());
            }
        }
    }
}

/// A fault of `task` found no memory: makes room if it is the limit that is reached. False if it is
/// something else that lacks (then the process cannot go on).
pub(crate) fn relieve(task: &mut Task) -> bool {
    let kernel = Arc::clone(&task.kernel);
    if kernel.memory_limit == 0 || !kernel.memory.at_limit() {
        return false;
    }
    kernel.choose_victim();
    // Until the victim is gone the fault happens again, which brings us back here.
    task.shared.parker.reset();
    if !deliver::must_end(task) {
        task.shared
            .parker
            .park(Some(Duration::from_millis(*INTERVAL_MS.start())));
    }
    true
}

fn watch(kernel: &Weak<Kernel>) {
    loop {
        let Some(kernel) = kernel.upgrade() else {
            return;
        };
        let (limit, used) = (kernel.memory_limit, kernel.memory.resident());
        if used > limit && kernel.memory.at_limit() {
            kernel.choose_victim();
        }
        drop(kernel);
        let left_ms = limit.saturating_sub(used) / BYTES_PER_MS;
        let wait = left_ms.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
        std::thread::sleep(Duration::from_millis(wait));
    }
}
