//! Advisory locks: POSIX record locks, open-file-description locks and flock(2).
//!
//! Kept per file (device and inode number), apart from inodes: few files ever have one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::vfs::open::OpenFile;
use crate::wait::{Ready, WaitQueue};

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOwner {
    /// A process, by its descriptor table; the pid is what F_GETLK shows.
    Process {
        /// [`crate::vfs::fdtable::FdTable::id`].
        table: u64,
        /// Process id.
        pid: i32,
    },
    /// An open file description (F_OFD_SETLK).
    Description(u64),
    /// An open file description, in the separate world of flock(2).
    Flock(u64),
}

impl LockOwner {
    fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Process { table: a, .. }, Self::Process { table: b, .. }) => a == b,
            _ => self == other,
        }
    }

    fn is_flock(self) -> bool {
        matches!(self, Self::Flock(_))
    }
}

/// A locked range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLock {
    /// First byte.
    pub start: u64,
    /// One past the last byte; `u64::MAX` means to the end of the file, wherever it is.
    pub end: u64,
    /// Exclusive, else shared.
    pub exclusive: bool,
    /// Whose it is.
    pub owner: LockOwner,
}

impl RangeLock {
    fn conflicts(&self, other: &Self) -> bool {
        self.owner.is_flock() == other.owner.is_flock()
            && !self.owner.same(other.owner)
            && (self.exclusive || other.exclusive)
            && self.start < other.end
            && other.start < self.end
    }
}

#[derive(Default)]
struct FileLocks {
    ranges: Vec<RangeLock>,
    queue: Arc<WaitQueue>,
}

type Key = (u64, u64);

/// Ranges locked in all files; most closes see 0 and look no further.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static TABLE: LazyLock<Mutex<HashMap<Key, FileLocks>>> = LazyLock::new(Mutex::default);
/// Ranges that one file can have.
const MAX_RANGES: usize = 8192;

fn key(file: &OpenFile) -> Result<Key, Errno> {
    let attr = file.attr()?;
    Ok((attr.dev, attr.ino))
}

/// Takes `range` out of the ranges of `owner`, splitting what it cuts.
fn cut(ranges: &mut Vec<RangeLock>, range: &RangeLock) {
    let mut kept = Vec::with_capacity(ranges.len() + 1);
    for old in ranges.drain(..) {
        let apart = old.end <= range.start || range.end <= old.start;
        if apart || !old.owner.same(range.owner) {
            kept.push(old);
            continue;
        }
        if old.start < range.start {
            kept.push(RangeLock {
                end: range.start,
                ..old
            });
        }
        if range.end < old.end {
            kept.push(RangeLock {
                start: range.end,
                ..old
            });
        }
    }
    *ranges = kept;
}

/// Merges `range` with its owner's neighbours of the same kind.
fn join(ranges: &mut Vec<RangeLock>, mut range: RangeLock) {
    ranges.retain(|old| {
        let touches = old.owner.same(range.owner)
            && old.exclusive == range.exclusive
            && old.start <= range.end
            && range.start <= old.end;
        if touches {
            range.start = range.start.min(old.start);
            range.end = range.end.max(old.end);
        }
        !touches
    });
    ranges.push(range);
}

/// Takes a lock; replaces what the owner had in the range.
///
/// # Errors
/// `Ok(Err(queue))` if somebody else's lock is in the way: notified when locks go. ENOLCK.
pub fn lock(file: &OpenFile, range: RangeLock) -> Result<Result<(), Arc<WaitQueue>>, Errno> {
    let key = key(file)?;
    let mut table = TABLE.lock();
    let locks = table.entry(key).or_default();
    if locks.ranges.iter().any(|old| old.conflicts(&range)) {
        return Ok(Err(Arc::clone(&locks.queue)));
    }
    if locks.ranges.len() >= MAX_RANGES {
        return Err(Errno::ENOLCK);
    }
    let before = locks.ranges.len();
    cut(&mut locks.ranges, &range);
    join(&mut locks.ranges, range);
    let queue = Arc::clone(&locks.queue);
    COUNT.fetch_add(locks.ranges.len(), Ordering::Relaxed);
    COUNT.fetch_sub(before, Ordering::Relaxed);
    drop(table);
    // A lock that became shared may let others in.
    queue.notify(Ready::IN);
    Ok(Ok(()))
}

/// Gives back the owner's locks in the range.
///
/// # Errors
/// As the file's attributes.
pub fn unlock(file: &OpenFile, range: RangeLock) -> Result<(), Errno> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let key = key(file)?;
    change(key, |ranges| cut(ranges, &range));
    Ok(())
}

/// The first lock that is in the way of `range`.
///
/// # Errors
/// As the file's attributes.
pub fn conflict(file: &OpenFile, range: &RangeLock) -> Result<Option<RangeLock>, Errno> {
    let key = key(file)?;
    let table = TABLE.lock();
    let locks = table.get(&key).map_or(&[][..], |locks| &locks.ranges);
    let in_the_way = locks.iter().filter(|old| old.conflicts(range));
    Ok(in_the_way.min_by_key(|old| old.start).copied())
}

fn change(key: Key, edit: impl FnOnce(&mut Vec<RangeLock>)) {
    let mut table = TABLE.lock();
    let Some(locks) = table.get_mut(&key) else {
        return;
    };
    let before = locks.ranges.len();
    edit(&mut locks.ranges);
    COUNT.fetch_add(locks.ranges.len(), Ordering::Relaxed);
    COUNT.fetch_sub(before, Ordering::Relaxed);
    let queue = Arc::clone(&locks.queue);
    if locks.ranges.is_empty() && Arc::strong_count(&locks.queue) == 2 {
        table.remove(&key);
    }
    drop(table);
    queue.notify(Ready::IN);
}

/// Drops the POSIX locks that descriptor table `table` has on the file.
pub(super) fn release_process(file: &OpenFile, table: u64) {
    let owner = LockOwner::Process { table, pid: 0 };
    release(file, |range| range.owner.same(owner));
}

/// Drops the locks of an open file description that ends.
pub(super) fn release_description(file: &OpenFile) {
    let id = file.id();
    release(file, |range| {
        range.owner == LockOwner::Description(id) || range.owner == LockOwner::Flock(id)
    });
}

fn release(file: &OpenFile, gone: impl Fn(&RangeLock) -> bool) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    if let Ok(key) = key(file) {
        change(key, |ranges| ranges.retain(|range| !gone(range)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64, exclusive: bool, id: u64) -> RangeLock {
        RangeLock {
            start,
            end,
            exclusive,
            owner: LockOwner::Description(id),
        }
    }

    #[test]
    fn cutting_splits_and_joining_merges() {
        let mut ranges = vec![range(0, 100, true, 1)];
        cut(&mut ranges, &range(40, 60, true, 1));
        assert_eq!(ranges, [range(0, 40, true, 1), range(60, 100, true, 1)]);
        join(&mut ranges, range(40, 60, true, 1));
        assert_eq!(ranges, [range(0, 100, true, 1)]);
        cut(&mut ranges, &range(0, 100, true, 2));
        assert_eq!(ranges.len(), 1);
    }

    #[test]
    fn shared_locks_of_two_owners_go_together() {
        assert!(!range(0, 9, false, 1).conflicts(&range(0, 9, false, 2)));
        assert!(range(0, 9, false, 1).conflicts(&range(8, 9, true, 2)));
        assert!(!range(0, 9, true, 1).conflicts(&range(9, 12, true, 2)));
        assert!(!range(0, 9, true, 1).conflicts(&range(0, 9, true, 1)));
    }
}
