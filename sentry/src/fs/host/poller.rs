//! One host thread that waits for readiness of donated descriptors.
//!
//! A donated one is registered once, one-shot: it is armed when somebody is about to wait, and told at
//! most once per arming, so that an idle sandbox makes no wake-ups. A socket that is the guest's alone
//! (`--network=host`) is told of every edge, as the host's own epoll would tell.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use parking_lot::Mutex;
use sentry_abi::Errno;

use super::inode::errno;
use crate::wait::{Ready, WaitQueue};

struct Poller {
    epoll: Epoll,
    queues: Mutex<HashMap<u64, Weak<WaitQueue>>>,
    next: AtomicU64,
}

static POLLER: LazyLock<Option<Arc<Poller>>> = LazyLock::new(|| {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok()?;
    let poller = Arc::new(Poller {
        epoll,
        queues: Mutex::default(),
        next: AtomicU64::new(1),
    });
    let run = Arc::clone(&poller);
    std::thread::Builder::new()
        .name("host-poll".into())
        .stack_size(128 << 10)
        .spawn(move || run.run())
        .ok()?;
    Some(poller)
});

impl Poller {
    fn run(&self) {
        let mut events = [EpollEvent::empty(); 16];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => continue,
                Err(_) => return,
            };
            for event in &events[..count] {
                let queue = self
                    .queues
                    .lock()
                    .get(&event.data())
                    .and_then(Weak::upgrade);
                if let Some(queue) = queue {
                    queue.notify(to_ready(event.events().bits() as u32));
                }
            }
        }
    }
}

/// A registration; dropping it ends it.
pub(crate) struct Watch {
    poller: Arc<Poller>,
    id: u64,
    fd: Arc<OwnedFd>,
}

/// poll(2)'s bits as readiness. The host's poll and epoll report normal data as POLLIN and POLLOUT only.
pub(crate) fn to_ready(bits: u32) -> Ready {
    let mut ready = Ready::from_bits_truncate(bits);
    ready.set(Ready::RDNORM, ready.contains(Ready::IN));
    ready.set(Ready::WRNORM, ready.contains(Ready::OUT));
    ready
}

/// Registers `fd`: `queue` will be told. `None` if the host says that it is always ready.
pub(super) fn watch(fd: BorrowedFd<'_>, queue: &Arc<WaitQueue>) -> Result<Option<Watch>, Errno> {
    // An own descriptor, so that two donated ones of one file don't collide in the epoll set.
    let fd = Arc::new(fd.try_clone_to_owned()?);
    match register(&fd, queue, EpollFlags::EPOLLONESHOT) {
        Err(nix::Error::EPERM) => Ok(None),
        watch => watch.map(Some).map_err(errno),
    }
}

/// Registers a socket that nobody else has: `queue` will be told of every edge.
pub(crate) fn watch_edges(fd: &Arc<OwnedFd>, queue: &Arc<WaitQueue>) -> Result<Watch, Errno> {
    let all = EpollFlags::EPOLLIN
        | EpollFlags::EPOLLOUT
        | EpollFlags::EPOLLPRI
        | EpollFlags::EPOLLRDHUP
        | EpollFlags::EPOLLET;
    register(fd, queue, all).map_err(errno)
}

fn register(
    fd: &Arc<OwnedFd>,
    queue: &Arc<WaitQueue>,
    events: EpollFlags,
) -> Result<Watch, nix::Error> {
    let poller = POLLER.as_ref().ok_or(nix::Error::ENOMEM)?;
    let id = poller.next.fetch_add(1, Ordering::Relaxed);
    poller.queues.lock().insert(id, Arc::downgrade(queue));
    let added = poller.epoll.add(fd, EpollEvent::new(events, id));
    if let Err(error) = added {
        poller.queues.lock().remove(&id);
        return Err(error);
    }
    Ok(Watch {
        poller: Arc::clone(poller),
        id,
        fd: Arc::clone(fd),
    })
}

impl Watch {
    /// Asks to be told of the next readiness.
    pub(super) fn arm(&self, wanted: Ready) {
        let mut flags = EpollFlags::EPOLLONESHOT;
        flags.set(EpollFlags::EPOLLIN, wanted.contains(Ready::IN));
        flags.set(EpollFlags::EPOLLOUT, wanted.contains(Ready::OUT));
        flags.set(EpollFlags::EPOLLPRI, wanted.contains(Ready::PRI));
        let mut event = EpollEvent::new(flags, self.id);
        // It was added before; modifying it fails only if the host is out of memory.
        let _ = self.poller.epoll.modify(self.fd.as_fd(), &mut event);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.poller.queues.lock().remove(&self.id);
        let _ = self.poller.epoll.delete(self.fd.as_fd());
    }
}
