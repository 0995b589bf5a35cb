//! Event polling: epoll(7).
//!
//! Each watched file's queue wakes an [`Item`], which puts itself on the ready list; epoll_wait asks the
//! files on that list what is true now. Edge-triggered items leave the list when they are reported,
//! level-triggered ones stay until they are found not ready.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;
use sentry_abi::file::EpollEvent;

use crate::vfs::file::FileOps;
use crate::vfs::open::OpenFile;
use crate::wait::{Ready, WaitId, WaitQueue, Wake};

/// Epoll instances that may watch each other in a row.
const MAX_NESTING: usize = 5;
/// Bits of an event that are flags and no readiness.
const FLAGS: u32 =
    (libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLEXCLUSIVE | libc::EPOLLWAKEUP) as u32;

/// (descriptor, identity of the open file description).
type Key = (i32, u64);

/// One epoll instance.
pub struct Epoll {
    me: Weak<Epoll>,
    items: Mutex<HashMap<Key, Arc<Item>>>,
    ready: Mutex<VecDeque<Arc<Item>>>,
    queue: WaitQueue,
}

/// A watched file.
struct Item {
    epoll: Weak<Epoll>,
    file: Weak<OpenFile>,
    interest: Mutex<Interest>,
    /// On the ready list (or about to be).
    listed: AtomicBool,
    wait: Mutex<Option<WaitId>>,
}

#[derive(Clone, Copy)]
struct Interest {
    events: u32,
    data: u64,
    /// EPOLLONESHOT has fired.
    disabled: bool,
}

impl Item {
    /// What to report now.
    fn current(&self) -> Option<(u32, Interest)> {
        let file = self.file.upgrade()?;
        let interest = *self.interest.lock();
        if interest.disabled {
            return None;
        }
        let wanted = interest.events & !FLAGS | (Ready::ERR | Ready::HUP).bits();
        let found = file.readiness().bits() & wanted;
        (found != 0).then_some((found, interest))
    }

    fn list(self: &Arc<Self>) {
        let Some(epoll) = self.epoll.upgrade() else {
            return;
        };
        if !self.listed.swap(true, Ordering::AcqRel) {
            epoll.ready.lock().push_back(Arc::clone(self));
        }
        epoll.queue.notify(Ready::IN | Ready::RDNORM);
    }

    fn unwatch(&self) {
        let id = self.wait.lock().take();
        if let (Some(id), Some(file)) = (id, self.file.upgrade())
            && let Some(queue) = file.ops().wait_queue()
        {
            queue.remove(id);
        }
    }
}

/// What a file's queue holds: the item, which may be gone from its epoll.
struct ItemWaker(Weak<Item>);

impl Wake for ItemWaker {
    fn wake(&self, _: Ready) {
        if let Some(item) = self.0.upgrade() {
            item.list();
        }
    }
}

impl Epoll {
    /// An instance that watches nothing.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            items: Mutex::default(),
            ready: Mutex::default(),
            queue: WaitQueue::new(),
        })
    }

    /// EPOLL_CTL_ADD.
    ///
    /// # Errors
    /// EPERM (the file cannot be polled), EEXIST, EINVAL (itself), ELOOP, ENOMEM.
    pub fn add(&self, fd: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let queue = file.ops().wait_queue().ok_or(Errno::EPERM)?;
        if let Some(inner) = file.ops().as_any().downcast_ref::<Self>() {
            if std::ptr::eq(inner, self) {
                return Err(Errno::EINVAL);
            }
            if event.events & libc::EPOLLEXCLUSIVE as u32 != 0 {
                return Err(Errno::EINVAL);
            }
            inner.check_nesting(self, 1)?;
        }
        let key = (fd, file.id());
        let item = Arc::new(Item {
            epoll: self.me.clone(),
            file: Arc::downgrade(file),
            interest: Mutex::new(interest(event)),
            listed: AtomicBool::new(false),
            wait: Mutex::new(None),
        });
        {
            let mut items = self.items.lock();
            items.retain(|_, item| item.file.strong_count() > 0);
            if items.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            items.insert(key, Arc::clone(&item));
        }
        self.watch(&item, queue, event.events);
        Ok(())
    }

    fn watch(&self, item: &Arc<Item>, queue: &WaitQueue, events: u32) {
        let mask = Ready::from_bits_truncate(events & !FLAGS);
        let waker = Arc::new(ItemWaker(Arc::downgrade(item)));
        *item.wait.lock() = Some(queue.add(mask, waker));
        // Registered first, asked then: nothing is missed in between.
        if item.current().is_some() {
            item.list();
        }
    }

    /// ELOOP if `outer` is watched by this instance, or the row gets too long.
    fn check_nesting(&self, outer: &Self, depth: usize) -> Result<(), Errno> {
        if depth >= MAX_NESTING {
            return Err(Errno::ELOOP);
        }
        let items: Vec<Arc<Item>> = self.items.lock().values().cloned().collect();
        for file in items.iter().filter_map(|item| item.file.upgrade()) {
            if let Some(inner) = file.ops().as_any().downcast_ref::<Self>() {
                if std::ptr::eq(inner, outer) {
                    return Err(Errno::ELOOP);
                }
                inner.check_nesting(outer, depth + 1)?;
            }
        }
        Ok(())
    }

    /// EPOLL_CTL_MOD.
    ///
    /// # Errors
    /// ENOENT; EINVAL for EPOLLEXCLUSIVE.
    pub fn modify(&self, fd: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let item = self.items.lock().get(&(fd, file.id())).cloned();
        let item = item.ok_or(Errno::ENOENT)?;
        if event.events & libc::EPOLLEXCLUSIVE as u32 != 0 {
            return Err(Errno::EINVAL);
        }
        item.unwatch();
        *item.interest.lock() = interest(event);
        if let Some(queue) = file.ops().wait_queue() {
            self.watch(&item, queue, event.events);
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    ///
    /// # Errors
    /// ENOENT.
    pub fn delete(&self, fd: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let item = self.items.lock().remove(&(fd, file.id()));
        let item = item.ok_or(Errno::ENOENT)?;
        item.unwatch();
        self.ready
            .lock()
            .retain(|listed| !Arc::ptr_eq(listed, &item));
        Ok(())
    }

    /// Up to `max` events that are true now.
    pub fn collect(&self, max: usize) -> Vec<EpollEvent> {
        let mut events = Vec::new();
        let mut left = self.ready.lock().len();
        while left > 0 && events.len() < max {
            left -= 1;
            let Some(item) = self.ready.lock().pop_front() else {
                break;
            };
            // Off the list before it is asked: a wake in between lists it again.
            item.listed.store(false, Ordering::Release);
            let Some((found, interest)) = item.current() else {
                continue;
            };
            events.push(EpollEvent {
                events: found,
                data: interest.data,
            });
            if interest.events & libc::EPOLLONESHOT as u32 != 0 {
                item.interest.lock().disabled = true;
            } else if interest.events & libc::EPOLLET as u32 == 0
                && !item.listed.swap(true, Ordering::AcqRel)
            {
                self.ready.lock().push_back(item);
            }
        }
        events
    }
}

fn interest(event: EpollEvent) -> Interest {
    Interest {
        events: event.events,
        data: event.data,
        disabled: false,
    }
}

impl FileOps for Epoll {
    fn readiness(&self) -> Ready {
        let listed: Vec<Arc<Item>> = self.ready.lock().iter().cloned().collect();
        if listed.iter().any(|item| item.current().is_some()) {
            Ready::IN | Ready::RDNORM
        } else {
            Ready::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for item in self.items.get_mut().values() {
            item.unwatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::eventfd::EventFd;
    use crate::vfs::anon::{AnonName, open_anonymous};
    use crate::vfs::attr::FileType;

    fn open(ops: Arc<dyn FileOps>) -> Arc<OpenFile> {
        let name = AnonName::Anon("[test]");
        open_anonymous(ops, name, FileType::Regular, libc::O_RDWR, (0, 0))
    }

    fn event(events: i32, data: u64) -> EpollEvent {
        EpollEvent {
            events: events as u32,
            data,
        }
    }

    #[test]
    fn level_stays_edge_is_told_once_oneshot_is_disabled() {
        let epoll = Epoll::new();
        let file = open(EventFd::new(1, false));
        epoll.add(3, &file, event(libc::EPOLLIN, 7)).unwrap();
        assert_eq!(epoll.collect(8).len(), 1);
        assert_eq!(epoll.collect(8).len(), 1);
        let edge = event(libc::EPOLLIN | libc::EPOLLET, 7);
        epoll.modify(3, &file, edge).unwrap();
        assert_eq!(epoll.collect(8).len(), 1);
        assert_eq!(epoll.collect(8).len(), 0);
        let once = event(libc::EPOLLIN | libc::EPOLLONESHOT, 7);
        epoll.modify(3, &file, once).unwrap();
        assert_eq!(epoll.collect(8).len(), 1);
        assert_eq!(epoll.collect(8).len(), 0);
        epoll.delete(3, &file).unwrap();
        assert_eq!(epoll.delete(3, &file), Err(Errno::ENOENT));
    }

    #[test]
    fn loops_are_refused_and_closed_files_are_forgotten() {
        let (a, b) = (Epoll::new(), Epoll::new());
        let (open_a, open_b) = (open(a.clone()), open(b.clone()));
        let wanted = event(libc::EPOLLIN, 0);
        a.add(1, &open_b, wanted).unwrap();
        assert_eq!(b.add(2, &open_a, wanted), Err(Errno::ELOOP));
        assert_eq!(a.add(3, &open_a, wanted), Err(Errno::EINVAL));
        let file = open(EventFd::new(1, false));
        b.add(4, &file, wanted).unwrap();
        assert!(a.readiness().contains(Ready::IN));
        drop(file);
        assert!(b.collect(8).is_empty());
        assert!(a.collect(8).is_empty());
    }
}
