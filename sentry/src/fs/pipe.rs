//! Pipes and FIFOs.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::anon::{AnonInode, AnonName, open_anonymous};
use crate::vfs::attr::FileType;
use crate::vfs::file::{FileOps, IoctlCall};
use crate::vfs::inode::Inode;
use crate::vfs::open::OpenFile;
use crate::wait::{Ready, WaitQueue};

/// Bytes of a new pipe.
const DEFAULT_CAPACITY: usize = 64 << 10;
/// fs.pipe-max-size.
const MAX_CAPACITY: usize = 1 << 20;
/// Writes of up to this many bytes go in whole or not at all.
const ATOMIC: usize = libc::PIPE_BUF;

/// What both ends share.
pub struct Pipe {
    state: Mutex<State>,
    queue: WaitQueue,
    /// True behind a FIFO file: its opens wait for each other.
    named: bool,
}

/// The buffer is a ring; `start..start + len` (wrapping) holds data.
struct State {
    ring: Vec<u8>,
    capacity: usize,
    start: usize,
    len: usize,
    readers: usize,
    writers: usize,
    /// How often each side was ever opened: FIFO opens wait for the other's to move.
    reader_opens: u64,
    writer_opens: u64,
}

impl State {
    fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// The longest contiguous data (`.0`) or space (`.1`) from the start of either.
    fn spans(&self) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let size = self.ring.len().max(1);
        let data = self.start..(self.start + self.len).min(size);
        let tail = (self.start + self.len) % size;
        let space = tail..(tail + self.room()).min(size);
        (data, space)
    }

    fn read(&mut self, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let mut total = 0;
        while self.len > 0 && dst.remaining() > 0 {
            let (data, _) = self.spans();
            let count = match dst.put(&self.ring[data]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            };
            total += count;
            self.len -= count;
            // An empty ring starts over, so that small messages stay in the same cache lines.
            self.start = match self.len {
                0 => 0,
                _ => (self.start + count) % self.ring.len(),
            };
        }
        Ok(total)
    }

    fn write(&mut self, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        if self.ring.len() < self.capacity {
            self.resize(self.capacity);
        }
        let mut total = 0;
        while self.room() > 0 && src.remaining() > 0 {
            let (_, space) = self.spans();
            let space = space.start..space.end.min(space.start + src.remaining());
            let wanted = space.len();
            let count = match src.take(&mut self.ring[space]) {
                // A page that faults half-way is not written at all (`pipe_write`).
                Ok(count) if count < wanted => match count / PAGE * PAGE {
                    0 if total == 0 => return Err(Errno::EFAULT),
                    0 => break,
                    pages => pages,
                },
                Ok(count) => count,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            };
            total += count;
            self.len += count;
        }
        Ok(total)
    }

    /// A ring of this size with the data at its start.
    fn resize(&mut self, capacity: usize) {
        let mut ring = vec![0; capacity];
        let (data, _) = self.spans();
        let first = data.len();
        ring[..first].copy_from_slice(&self.ring[data]);
        ring[first..self.len].copy_from_slice(&self.ring[..self.len - first]);
        self.ring = ring;
        self.start = 0;
        self.capacity = capacity;
    }
}

impl Pipe {
    fn new(named: bool) -> Arc<Self> {
        Arc::new(Self {
            named,
            state: Mutex::new(State {
                ring: Vec::new(),
                capacity: DEFAULT_CAPACITY,
                start: 0,
                len: 0,
                readers: 0,
                writers: 0,
                reader_opens: 0,
                writer_opens: 0,
            }),
            queue: WaitQueue::new(),
        })
    }

    fn end(self: &Arc<Self>, read: bool, write: bool) -> PipeEnd {
        let mut state = self.state.lock();
        let alone = |others: usize, opens: u64| match self.named && others == 0 {
            true => opens,
            false => 0,
        };
        let seen = (
            alone(state.readers, state.reader_opens),
            alone(state.writers, state.writer_opens),
        );
        state.readers += usize::from(read);
        state.writers += usize::from(write);
        state.reader_opens += u64::from(read);
        state.writer_opens += u64::from(write);
        drop(state);
        self.queue.notify(Ready::IN | Ready::OUT);
        PipeEnd {
            pipe: Arc::clone(self),
            read,
            write,
            seen,
        }
    }
}

/// Pipes of Linux are lists of pages.
const PAGE: usize = 4096;

/// An open end (or, for a FIFO opened O_RDWR, both).
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    read: bool,
    write: bool,
    /// (readers, writers) that had come and gone when this end of a FIFO was opened alone; 0 if it was
    /// not alone, and for a pipe without a name, which had both sides from the start.
    seen: (u64, u64),
}

impl PipeEnd {
    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        self.pipe.state.lock().capacity
    }

    /// F_SETPIPE_SZ: at least `wanted`, in pages.
    ///
    /// # Errors
    /// EINVAL for 0, EPERM beyond the maximum, EBUSY if the data does not fit.
    pub fn set_capacity(&self, wanted: usize) -> Result<usize, Errno> {
        if wanted == 0 || wanted > i32::MAX as usize {
            return Err(Errno::EINVAL);
        }
        let capacity = wanted.max(4096).next_power_of_two();
        if capacity > MAX_CAPACITY {
            return Err(Errno::EPERM);
        }
        let mut state = self.pipe.state.lock();
        if capacity < state.len {
            return Err(Errno::EBUSY);
        }
        state.resize(capacity);
        drop(state);
        self.pipe.queue.notify(Ready::OUT);
        Ok(capacity)
    }

    /// True while a blocking open of this FIFO end has to wait for the other end.
    pub fn waits_for_peer(&self) -> bool {
        let state = self.pipe.state.lock();
        match (self.read, self.write) {
            (true, false) => state.writers == 0 && state.writer_opens == self.seen.1,
            (false, true) => state.readers == 0 && state.reader_opens == self.seen.0,
            _ => false,
        }
    }

    fn has_readers(&self) -> bool {
        self.pipe.state.lock().readers > 0
    }

    /// Copies up to `max` bytes without taking them (tee).
    pub fn peek(&self, max: usize) -> Vec<u8> {
        let state = self.pipe.state.lock();
        let (data, _) = state.spans();
        let mut bytes = state.ring[data.clone()].to_vec();
        bytes.extend_from_slice(&state.ring[..state.len - data.len()]);
        bytes.truncate(max);
        bytes
    }
}

impl FileOps for PipeEnd {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        if !self.read {
            return Err(Errno::EBADF);
        }
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.pipe.state.lock();
        if state.len == 0 {
            return if state.writers == 0 {
                Ok(0)
            } else {
                Err(Errno::EAGAIN)
            };
        }
        let count = state.read(dst)?;
        drop(state);
        self.pipe.queue.notify(Ready::OUT | Ready::WRNORM);
        Ok(count)
    }

    fn write(&self, src: &mut dyn IoSrc, _: Option<u64>) -> Result<usize, Errno> {
        if !self.write {
            return Err(Errno::EBADF);
        }
        let mut state = self.pipe.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let wanted = src.remaining();
        if wanted == 0 {
            return Ok(0);
        }
        if state.room() == 0 || (wanted <= ATOMIC && state.room() < wanted) {
            return Err(Errno::EAGAIN);
        }
        let count = state.write(src)?;
        drop(state);
        self.pipe.queue.notify(Ready::IN | Ready::RDNORM);
        Ok(count)
    }

    fn readiness(&self) -> Ready {
        let state = self.pipe.state.lock();
        let mut ready = Ready::empty();
        if self.read {
            ready.set(Ready::IN | Ready::RDNORM, state.len > 0);
            ready.set(
                Ready::HUP,
                state.writers == 0 && state.writer_opens > self.seen.1,
            );
        }
        if self.write {
            ready.set(Ready::OUT | Ready::WRNORM, state.room() >= ATOMIC);
            ready.set(Ready::ERR, state.readers == 0);
        }
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn signals_readiness(&self) -> bool {
        true
    }

    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        if u64::from(call.request) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let len = self.pipe.state.lock().len as i32;
        call.memory.write(call.arg, &len.to_ne_bytes())?;
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.read);
        state.writers -= usize::from(self.write);
        drop(state);
        self.pipe
            .queue
            .notify(Ready::IN | Ready::OUT | Ready::HUP | Ready::ERR);
    }
}

/// pipe2(2): the end to read and the end to write. `flags` may hold O_NONBLOCK; `owner` is (uid, gid).
pub fn pipe(flags: i32, owner: (u32, u32)) -> (Arc<OpenFile>, Arc<OpenFile>) {
    let pipe = Pipe::new(false);
    let writer = pipe.end(false, true);
    let reader = pipe.end(true, false);
    let name = AnonName::Numbered("pipe");
    let read = open_anonymous(
        Arc::new(reader),
        name,
        FileType::Fifo,
        flags | libc::O_RDONLY,
        owner,
    );
    let inode = read.path().inode().as_any().downcast_ref::<AnonInode>();
    if let Some(inode) = inode {
        let pipe = Arc::downgrade(&pipe);
        inode.set_reopen(Box::new(move |flags| {
            let pipe = pipe.upgrade().ok_or(Errno::ENXIO)?;
            open_end(&pipe, flags)
        }));
    }
    // Both ends are one file to stat(2).
    let write = OpenFile::new(
        Arc::new(writer),
        read.path().clone(),
        flags | libc::O_WRONLY,
    );
    (read, write)
}

type Key = (u64, u64);

/// The pipes behind FIFO files that are open, by device and inode number.
static FIFOS: LazyLock<Mutex<HashMap<Key, Weak<Pipe>>>> = LazyLock::new(Mutex::default);

/// Opens a FIFO file. Whether a blocking open has to wait, [`PipeEnd::waits_for_peer`] tells.
///
/// # Errors
/// ENXIO: O_WRONLY and O_NONBLOCK, and nobody reads.
pub fn open_fifo(inode: &Arc<dyn Inode>, flags: i32) -> Result<Arc<dyn FileOps>, Errno> {
    let attr = inode.attr()?;
    let pipe = {
        let mut fifos = FIFOS.lock();
        fifos.retain(|_, pipe| pipe.strong_count() > 0);
        let known = fifos.get(&(attr.dev, attr.ino)).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let pipe = Pipe::new(true);
            fifos.insert((attr.dev, attr.ino), Arc::downgrade(&pipe));
            pipe
        })
    };
    open_end(&pipe, flags)
}

fn open_end(pipe: &Arc<Pipe>, flags: i32) -> Result<Arc<dyn FileOps>, Errno> {
    let (read, write) = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => (true, false),
        libc::O_WRONLY => (false, true),
        _ => (true, true),
    };
    let end = pipe.end(read, write);
    if pipe.named && !read && flags & libc::O_NONBLOCK != 0 && !end.has_readers() {
        return Err(Errno::ENXIO);
    }
    Ok(Arc::new(end))
}
