//! Telling watchers (inotify) what happens to files.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::vfs::attr::FileType;
use crate::vfs::dentry::Dentry;

/// Somebody who watches a file or directory.
pub trait Watcher: Send + Sync {
    /// `mask` (IN_*) happened to watch `wd`: to the file itself, or to `name` in it. `cookie` pairs the
    /// two halves of a rename.
    fn event(&self, wd: i32, mask: u32, cookie: u32, name: &[u8]);
}

struct Watch {
    wd: i32,
    mask: u32,
    watcher: Weak<dyn Watcher>,
}

/// The watches on one dentry.
#[derive(Default)]
pub struct Watches {
    list: Mutex<Vec<Watch>>,
}

impl Watches {
    fn tell(&self, mask: u32, cookie: u32, name: &[u8]) {
        let told: Vec<(i32, Arc<dyn Watcher>)> = self
            .list
            .lock()
            .iter()
            .filter(|watch| watch.mask & mask != 0)
            .filter_map(|watch| Some((watch.wd, watch.watcher.upgrade()?)))
            .collect();
        for (wd, watcher) in told {
            watcher.event(wd, mask, cookie, name);
        }
    }
}

/// Adds or replaces watch `wd` of `watcher` on `dentry`.
pub fn watch(dentry: &Dentry, wd: i32, mask: u32, watcher: &Arc<dyn Watcher>) {
    let watches = dentry.watches.get_or_init(Watches::default);
    let mut list = watches.list.lock();
    list.retain(|w| w.watcher.strong_count() > 0 && !(w.wd == wd && is(w, watcher)));
    list.push(Watch {
        wd,
        mask,
        watcher: Arc::downgrade(watcher),
    });
}

/// Takes watch `wd` of `watcher` off `dentry`.
pub fn unwatch(dentry: &Dentry, wd: i32, watcher: &Arc<dyn Watcher>) {
    if let Some(watches) = dentry.watches.get() {
        let mut list = watches.list.lock();
        list.retain(|w| !(w.wd == wd && is(w, watcher)));
    }
}

fn is(watch: &Watch, watcher: &Arc<dyn Watcher>) -> bool {
    std::ptr::addr_eq(watch.watcher.as_ptr(), Arc::as_ptr(watcher))
}

/// `mask` happened to `name` in directory `dir`.
pub fn in_directory(dir: &Dentry, mask: u32, cookie: u32, name: &[u8], kind: FileType) {
    if let Some(watches) = dir.watches.get() {
        watches.tell(mask | directory_bit(kind), cookie, name);
    }
}

/// `mask` happened to the file itself: its own watches and its directory's are told.
pub fn on_file(dentry: &Dentry, mask: u32) {
    if let Some(watches) = dentry.watches.get() {
        watches.tell(mask | directory_bit(dentry.inode().kind()), 0, b"");
    }
    if let Some(parent) = dentry.parent()
        && parent.watches.get().is_some()
    {
        in_directory(&parent, mask, 0, &dentry.name(), dentry.inode().kind());
    }
}

/// `mask` (IN_DELETE_SELF, IN_MOVE_SELF) happened to the file itself; its directory is not told.
pub fn on_self(dentry: &Dentry, mask: u32) {
    if let Some(watches) = dentry.watches.get() {
        watches.tell(mask, 0, b"");
    }
}

fn directory_bit(kind: FileType) -> u32 {
    if kind == FileType::Directory {
        libc::IN_ISDIR
    } else {
        0
    }
}

/// A cookie for the two events of a rename.
pub fn next_cookie() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
