//! Pairs of ends: the master, for who plays the terminal; the slave, for who runs on it.

use std::any::Any;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;
use sentry_abi::file::Winsize;

use super::devpts::DevPts;
use super::ioctl;
use super::line::{Discipline, QUEUE};
use crate::kernel::Kernel;
use crate::mm::io::{IoDst, IoSrc};
use crate::signals::SigInfo;
use crate::vfs::attr::make_dev;
use crate::vfs::file::{CallerIds, FileOps, IoctlCall, SessionSource};
use crate::wait::{Ready, WaitQueue};

/// Bytes taken from a writer at a time.
const CHUNK: usize = 4096;

/// A pseudo terminal.
pub struct Pty {
    /// Its number in devpts.
    pub index: u32,
    pub(super) state: Mutex<State>,
    pub(super) queue: WaitQueue,
    kernel: Weak<Kernel>,
}

/// What both ends share.
pub(super) struct State {
    pub(super) line: Discipline,
    pub(super) size: Winsize,
    /// TIOCSPTLCK: slaves cannot be opened.
    pub(super) locked: bool,
    /// Session that it is the controlling terminal of; 0: none.
    pub(super) session: i32,
    /// Foreground process group.
    pub(super) foreground: i32,
    /// Who types at it is outside of the sandbox.
    outside: bool,
    master_closed: bool,
    slaves: usize,
    /// A slave was open once: the master sees its end as a hang-up only then.
    had_slave: bool,
}

impl Pty {
    pub(super) fn new(index: u32, kernel: Weak<Kernel>) -> Arc<Self> {
        Arc::new(Self {
            index,
            state: Mutex::new(State {
                line: Discipline::default(),
                size: Winsize::default(),
                locked: true,
                session: 0,
                foreground: 0,
                outside: false,
                master_closed: false,
                slaves: 0,
                had_slave: false,
            }),
            queue: WaitQueue::new(),
            kernel,
        })
    }

    /// Raises a signal in the foreground group.
    pub(super) fn signal_foreground(&self, signo: i32) {
        let (group, outside) = {
            let state = self.state.lock();
            (state.foreground, state.outside)
        };
        if group > 0
            && let Some(kernel) = self.kernel.upgrade()
        {
            let (mut tree, info) = (kernel.tree.lock(), SigInfo::kernel(signo));
            if outside {
                tree.signal_group_from_outside(group, info);
            } else {
                tree.signal_group(group, info);
            }
        }
    }

    /// It is the controlling terminal of the caller's session from now on.
    pub(super) fn begin_session(&self, ids: CallerIds) {
        let mut state = self.state.lock();
        state.session = ids.sid;
        state.foreground = ids.pgid;
    }

    /// Makes it the controlling terminal of a session that begins with process `pid`.
    pub(crate) fn become_controlling(&self, pid: i32) {
        let mut state = self.state.lock();
        state.session = pid;
        state.foreground = pid;
        state.outside = true;
    }

    /// Its window has this size (TIOCSWINSZ): the foreground group hears of a new one.
    pub(crate) fn set_size(&self, new: Winsize) {
        let old = std::mem::replace(&mut self.state.lock().size, new);
        if old != new {
            self.signal_foreground(libc::SIGWINCH);
        }
    }

    pub(super) fn changed(&self) {
        self.queue
            .notify(Ready::IN | Ready::OUT | Ready::RDNORM | Ready::WRNORM);
    }

    /// Opens the slave.
    ///
    /// # Errors
    /// EIO while it is locked or after the master was closed.
    pub fn open_slave(self: &Arc<Self>) -> Result<Arc<dyn FileOps>, Errno> {
        let mut state = self.state.lock();
        if state.locked || state.master_closed {
            return Err(Errno::EIO);
        }
        state.slaves += 1;
        state.had_slave = true;
        drop(state);
        Ok(Arc::new(Slave {
            pty: Arc::clone(self),
        }))
    }

    fn read(&self, dst: &mut dyn IoDst, of_slave: bool, max: usize) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        let line = &mut state.line;
        let from = if of_slave {
            &mut line.input
        } else {
            &mut line.output
        };
        let max = max.min(from.len());
        let (first, second) = from.as_slices();
        let mut count = dst.put(&first[..first.len().min(max)])?;
        if count == first.len() && count < max {
            count += dst.put(&second[..max - count]).unwrap_or(0);
        }
        if of_slave {
            line.consumed(count);
        } else {
            line.output.drain(..count);
        }
        drop(state);
        self.changed();
        Ok(count)
    }
}

/// The master's end. Closing it hangs the terminal up.
pub struct Master {
    pub(super) pty: Arc<Pty>,
    pub(super) devpts: Arc<DevPts>,
}

impl Master {
    /// Its slave's name in devpts.
    pub(crate) fn slave_name(&self) -> String {
        self.pty.index.to_string()
    }
}

impl FileOps for Master {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        {
            let state = self.pty.state.lock();
            if state.line.output.is_empty() {
                let hung_up = state.had_slave && state.slaves == 0;
                return Err(if hung_up { Errno::EIO } else { Errno::EAGAIN });
            }
        }
        self.pty.read(dst, false, usize::MAX)
    }

    fn write(&self, src: &mut dyn IoSrc, _: Option<u64>) -> Result<usize, Errno> {
        let mut bytes = [0u8; CHUNK];
        let mut signals = Vec::new();
        {
            let mut state = self.pty.state.lock();
            let room = QUEUE.saturating_sub(state.line.input.len());
            if room == 0 {
                return Err(Errno::EAGAIN);
            }
            let len = src.remaining().min(CHUNK).min(room);
            let count = src.take(&mut bytes[..len])?;
            for &byte in &bytes[..count] {
                signals.extend(state.line.typed(byte));
            }
            drop(state);
            for signo in signals {
                self.pty.signal_foreground(signo);
            }
            self.pty.changed();
            Ok(count)
        }
    }

    fn readiness(&self) -> Ready {
        let state = self.pty.state.lock();
        let mut ready = Ready::empty();
        let output = !state.line.output.is_empty();
        ready.set(Ready::IN | Ready::RDNORM, output);
        let room = state.line.input.len() < QUEUE;
        ready.set(Ready::OUT | Ready::WRNORM, room);
        ready.set(Ready::HUP, state.had_slave && state.slaves == 0);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pty.queue)
    }

    fn signals_readiness(&self) -> bool {
        true
    }

    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        ioctl::master(&self.pty, call)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.devpts.forget(self.pty.index);
        self.pty.state.lock().master_closed = true;
        self.pty.signal_foreground(libc::SIGHUP);
        self.pty.signal_foreground(libc::SIGCONT);
        self.pty
            .queue
            .notify(Ready::IN | Ready::OUT | Ready::HUP | Ready::ERR);
    }
}

/// A slave's end.
pub struct Slave {
    pub(super) pty: Arc<Pty>,
}

impl FileOps for Slave {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        let max = {
            let mut state = self.pty.state.lock();
            if state.master_closed {
                return Ok(0);
            }
            match state.line.readable() {
                None => return Err(Errno::EAGAIN),
                Some(0) => {
                    state.line.consumed(0);
                    return Ok(0);
                }
                Some(max) => max,
            }
        };
        self.pty.read(dst, true, max)
    }

    fn write(&self, src: &mut dyn IoSrc, _: Option<u64>) -> Result<usize, Errno> {
        let mut bytes = [0u8; CHUNK];
        let mut state = self.pty.state.lock();
        if state.master_closed {
            return Err(Errno::EIO);
        }
        let mut total = 0;
        // A byte becomes at most eight (a tab).
        while src.remaining() > 0 && state.line.output.len() + 8 <= QUEUE {
            let room = (QUEUE - state.line.output.len()) / 8;
            let len = src.remaining().min(CHUNK).min(room);
            let count = match src.take(&mut bytes[..len]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            };
            bytes[..count]
                .iter()
                .for_each(|&byte| state.line.print(byte));
            total += count;
        }
        drop(state);
        if total == 0 && src.remaining() > 0 {
            return Err(Errno::EAGAIN);
        }
        self.pty.changed();
        Ok(total)
    }

    fn readiness(&self) -> Ready {
        let state = self.pty.state.lock();
        if state.master_closed {
            return Ready::IN | Ready::OUT | Ready::HUP | Ready::ERR;
        }
        let mut ready = Ready::empty();
        let input = state.line.readable().is_some();
        ready.set(Ready::IN | Ready::RDNORM, input);
        let room = state.line.output.len() + 8 <= QUEUE;
        ready.set(Ready::OUT | Ready::WRNORM, room);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pty.queue)
    }

    fn signals_readiness(&self) -> bool {
        true
    }

    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        ioctl::slave(&self.pty, call)
    }

    fn terminal_ids(&self) -> Option<(i32, i32)> {
        let dev = make_dev(136, self.pty.index) as i32;
        Some((dev, self.pty.state.lock().foreground))
    }

    fn opened_by(&self, session: &dyn SessionSource, me: &Arc<dyn FileOps>) {
        let ids = session.ids();
        if ids.pid != ids.sid || session.has_controlling() {
            return;
        }
        if self.pty.state.lock().session == 0 {
            self.pty.begin_session(ids);
            session.set_controlling(Some(Arc::clone(me)));
        }
    }

    fn job_control(&self, session: &dyn SessionSource, write: bool) -> Result<(), Errno> {
        let ids = session.ids();
        let state = self.pty.state.lock();
        let background = state.session == ids.sid && state.foreground != ids.pgid;
        let stops = !write || state.line.termios.lflag & libc::TOSTOP != 0;
        drop(state);
        if !background || !stops {
            return Ok(());
        }
        let signo = if write { libc::SIGTTOU } else { libc::SIGTTIN };
        if session.stop_background(signo) {
            return Err(Errno::EINTR);
        }
        // Who blocks or ignores the signal may write, but not read.
        if write { Ok(()) } else { Err(Errno::EIO) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        let mut state = self.pty.state.lock();
        state.slaves -= 1;
        let last = state.slaves == 0;
        drop(state);
        if last {
            self.pty.queue.notify(Ready::IN | Ready::HUP);
        }
    }
}
