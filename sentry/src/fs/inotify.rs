//! Watching files and directories: inotify(7).

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::IoDst;
use crate::vfs::dentry::Dentry;
use crate::vfs::file::{FileOps, IoctlCall};
use crate::vfs::notify::{self, Watcher};
use crate::wait::{Ready, WaitQueue};

/// Events that wait at most (fs.inotify.max_queued_events); one more says that some were lost.
const MAX_QUEUED: usize = 16384;
/// Watches of one instance.
const MAX_WATCHES: usize = 65536;
/// Events that can be asked for.
const EVENTS: u32 = libc::IN_ALL_EVENTS;

/// One inotify instance.
pub struct Inotify {
    me: Weak<Inotify>,
    state: Mutex<State>,
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    next: i32,
    watches: HashMap<i32, (Arc<Dentry>, u32)>,
    /// Encoded `struct inotify_event`s with their names.
    events: VecDeque<Vec<u8>>,
}

fn encode(wd: i32, mask: u32, cookie: u32, name: &[u8]) -> Vec<u8> {
    let len = match name.len() {
        0 => 0,
        len => (len + 1).next_multiple_of(16),
    };
    let mut event = Vec::with_capacity(16 + len);
    event.extend_from_slice(&wd.to_ne_bytes());
    event.extend_from_slice(&mask.to_ne_bytes());
    event.extend_from_slice(&cookie.to_ne_bytes());
    event.extend_from_slice(&(len as u32).to_ne_bytes());
    event.extend_from_slice(name);
    event.resize(16 + len, 0);
    event
}

/// Flags that make a mask one that is not empty, as for Linux (ALL_INOTIFY_BITS).
const FLAGS: u32 = libc::IN_ONESHOT
    | libc::IN_ONLYDIR
    | libc::IN_DONT_FOLLOW
    | libc::IN_EXCL_UNLINK
    | libc::IN_MASK_ADD
    | libc::IN_MASK_CREATE
    | libc::IN_ISDIR;

impl Inotify {
    /// An instance that watches nothing.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            state: Mutex::default(),
            queue: WaitQueue::new(),
        })
    }

    fn watcher(&self) -> Result<Arc<dyn Watcher>, Errno> {
        let me = self.me.upgrade().ok_or(Errno::EBADF)?;
        Ok(me)
    }

    /// inotify_add_watch(2): the watch descriptor.
    ///
    /// # Errors
    /// EINVAL (no event asked for), EEXIST (IN_MASK_CREATE), ENOSPC.
    pub fn add(&self, dentry: &Arc<Dentry>, mask: u32) -> Result<i32, Errno> {
        if mask & (EVENTS | FLAGS) == 0 {
            return Err(Errno::EINVAL);
        }
        let watcher = self.watcher()?;
        let mut state = self.state.lock();
        let known = state
            .watches
            .iter()
            .find(|(_, (watched, _))| Arc::ptr_eq(watched.inode(), dentry.inode()))
            .map(|(wd, (_, old))| (*wd, *old));
        if known.is_some() && mask & libc::IN_MASK_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        let (wd, mut events) = match known {
            Some((wd, old)) if mask & libc::IN_MASK_ADD != 0 => (wd, old | mask),
            Some((wd, _)) => (wd, mask),
            None => {
                if state.watches.len() >= MAX_WATCHES {
                    return Err(Errno::ENOSPC);
                }
                state.next += 1;
                (state.next, mask)
            }
        };
        events &= EVENTS | libc::IN_ONESHOT;
        let dentry = match known {
            Some((wd, _)) => Arc::clone(&state.watches[&wd].0),
            None => Arc::clone(dentry),
        };
        state.watches.insert(wd, (Arc::clone(&dentry), events));
        drop(state);
        // Told of the end of the file whether asked or not.
        notify::watch(&dentry, wd, events | libc::IN_DELETE_SELF, &watcher);
        Ok(wd)
    }

    /// inotify_rm_watch(2).
    ///
    /// # Errors
    /// EINVAL if there is no such watch.
    pub fn remove(&self, wd: i32) -> Result<(), Errno> {
        let (dentry, _) = self.state.lock().watches.remove(&wd).ok_or(Errno::EINVAL)?;
        notify::unwatch(&dentry, wd, &self.watcher()?);
        self.push(encode(wd, libc::IN_IGNORED, 0, b""));
        Ok(())
    }

    fn push(&self, event: Vec<u8>) {
        let mut state = self.state.lock();
        // An event like the one before it says nothing new.
        if state.events.back() == Some(&event) {
            return;
        }
        match state.events.len() {
            MAX_QUEUED.. => return,
            len if len == MAX_QUEUED - 1 => {
                let lost = encode(-1, libc::IN_Q_OVERFLOW, 0, b"");
                state.events.push_back(lost);
            }
            _ => state.events.push_back(event),
        }
        drop(state);
        self.queue.notify(Ready::IN | Ready::RDNORM);
    }
}

impl Watcher for Inotify {
    fn event(&self, wd: i32, mask: u32, cookie: u32, name: &[u8]) {
        let Some(asked) = self.state.lock().watches.get(&wd).map(|(_, mask)| *mask) else {
            return;
        };
        if asked & mask & EVENTS != 0 {
            self.push(encode(wd, mask, cookie, name));
        }
        let over = mask & libc::IN_DELETE_SELF != 0 || asked & libc::IN_ONESHOT != 0;
        if over {
            // It may have been removed by another thread meanwhile.
            let _ = self.remove(wd);
        }
    }
}

impl FileOps for Inotify {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        let mut total = 0;
        while let Some(event) = state.events.front() {
            if event.len() > dst.remaining() {
                break;
            }
            match dst.put(event) {
                Ok(count) => total += count,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
            state.events.pop_front();
        }
        match (total, state.events.is_empty()) {
            (0, true) => Err(Errno::EAGAIN),
            (0, false) => Err(Errno::EINVAL),
            _ => Ok(total),
        }
    }

    fn readiness(&self) -> Ready {
        if self.state.lock().events.is_empty() {
            Ready::empty()
        } else {
            Ready::IN | Ready::RDNORM
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn signals_readiness(&self) -> bool {
        true
    }

    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        if u64::from(call.request) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let count: usize = self.state.lock().events.iter().map(Vec::len).sum();
        call.memory.write(call.arg, &(count as i32).to_ne_bytes())?;
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
