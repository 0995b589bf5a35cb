//! A process's terminal: a pseudo terminal of the sandbox, and a thread that carries bytes between its
//! master and the donated descriptors of a terminal outside.
//!
//! The line discipline (echo, ^C, job control) is the sandbox's own, so that its signals reach the
//! foreground group inside; whoever donates the terminal outside has made it raw.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sentry_abi::Errno;

use super::{BootError, Kernel};
use crate::fs::host::stdio::{HostStream, window_size};
use crate::fs::tty::devpts;
use crate::fs::tty::pty::Pty;
use crate::mm::{BufDst, BufSrc};
use crate::task::parker::Parker;
use crate::vfs::file::FileOps;
use crate::vfs::open::OpenFile;
use crate::vfs::ops::{self, OpenHow};
use crate::vfs::walk::{self, WalkFlags};
use crate::vfs::{FdTable, PathContext};
use crate::wait::{Ready, Wake};

/// Bytes carried at a time.
const CHUNK: usize = 4096;

/// Longest time that the end of a process waits for its last output to be taken.
const PATIENCE: Duration = Duration::from_secs(2);

/// A terminal that is being served.
pub(super) struct Console {
    pty: Arc<Pty>,
    /// What of the terminal outside tells its window's size.
    outside: OwnedFd,
    parker: Arc<Parker>,
    /// Somebody waits for `drained`.
    asked: AtomicBool,
    /// Since it was asked for, there was a moment with nothing left to carry out.
    drained: AtomicBool,
}

/// The terminals that are being served, by the process that each was made for. Their threads own them.
pub(super) type Consoles = BTreeMap<i32, Weak<Console>>;

impl Kernel {
    /// Gives a process that is about to start a terminal: descriptors 0 to 2 of `table` are a new slave,
    /// and `files` (the donated 0 and 1) are the terminal outside.
    pub(super) fn open_console(
        &self,
        pid: i32,
        files: Vec<(i32, OwnedFd)>,
        owner: (u32, u32),
        table: &FdTable,
    ) -> Result<Arc<dyn FileOps>, BootError> {
        let failed = |errno| BootError::Invalid(format!("terminal: {errno}"));
        let mut input = None;
        let mut output = None;
        for (number, fd) in files {
            match number {
                0 => input = Some(fd),
                1 => output = Some(fd),
                _ => {}
            }
        }
        let (Some(input), Some(output)) = (input, output) else {
            let problem = "a process with a terminal needs descriptors 0 and 1";
            return Err(BootError::Invalid(problem.into()));
        };
        let cx = PathContext::internal(&self.mounts);
        let at = walk::lookup(&cx, &cx.root, b"/dev/pts", WalkFlags::FOLLOW).map_err(failed)?;
        let (master, pty) = devpts::open_pair_at(at.inode().as_ref(), owner).map_err(failed)?;
        let how = OpenHow {
            flags: libc::O_RDWR | libc::O_NOCTTY,
            mode: 0,
            resolve: WalkFlags::FOLLOW,
        };
        let name = format!("/dev/pts/{}", pty.index);
        let slave = ops::open(&cx, &cx.root, name.as_bytes(), &how).map_err(failed)?;
        for number in 0..3 {
            table
                .install_at(Arc::clone(&slave), false, number, 1 << 20)
                .map_err(failed)?;
        }
        pty.become_controlling(pid);
        self.serve(pid, input, output, master, pty)?;
        Ok(Arc::clone(OpenFile::ops(&slave)))
    }

    fn serve(
        &self,
        pid: i32,
        input: OwnedFd,
        output: OwnedFd,
        master: Arc<dyn FileOps>,
        pty: Arc<Pty>,
    ) -> Result<(), BootError> {
        let host = |what| move |source| BootError::Host { what, source };
        let outside = input
            .as_fd()
            .try_clone_to_owned()
            .map_err(host("duplicating a descriptor"))?;
        let stream = |fd| {
            HostStream::new(fd).map_err(|errno| BootError::Invalid(format!("terminal: {errno}")))
        };
        let console = Arc::new(Console {
            pty,
            outside,
            parker: Arc::default(),
            asked: AtomicBool::new(false),
            drained: AtomicBool::new(false),
        });
        console.take_size();
        let carrier = Carrier {
            console: Arc::clone(&console),
            input: stream(input)?,
            output: stream(output)?,
            master,
            typed: Vec::new(),
            printed: Vec::new(),
        };
        std::thread::Builder::new()
            .name("console".into())
            .stack_size(128 << 10)
            .spawn(move || carrier.run())
            .map_err(host("a thread for the terminal"))?;
        let mut consoles = self.consoles.lock();
        consoles.retain(|_, console| console.strong_count() > 0);
        consoles.insert(pid, Arc::downgrade(&console));
        Ok(())
    }

    /// The window of a terminal outside may have another size. False if there is no terminal.
    pub fn window_changed(&self) -> bool {
        let consoles: Vec<_> = {
            let all = self.consoles.lock();
            all.values().filter_map(Weak::upgrade).collect()
        };
        consoles.iter().for_each(|console| console.take_size());
        !consoles.is_empty()
    }

    /// Waits until the terminal of a process that has ended has shown its last output, for a while.
    pub(super) fn finish_console(&self, pid: i32) {
        let console = self.consoles.lock().get(&pid).cloned();
        let deadline = Instant::now() + PATIENCE;
        while let Some(console) = console.as_ref().and_then(Weak::upgrade)
            && !console.drained.load(Ordering::SeqCst)
            && Instant::now() < deadline
        {
            console.asked.store(true, Ordering::SeqCst);
            console.parker.unpark();
            drop(console);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Console {
    fn take_size(&self) {
        if let Some(size) = window_size(self.outside.as_fd()) {
            self.pty.set_size(size);
        }
    }
}

/// What the thread of a console works on.
struct Carrier {
    console: Arc<Console>,
    input: Arc<HostStream>,
    output: Arc<HostStream>,
    master: Arc<dyn FileOps>,
    /// Came from outside, and is not in the master yet.
    typed: Vec<u8>,
    /// Came from the master, and is not outside yet.
    printed: Vec<u8>,
}

impl Carrier {
    fn run(mut self) {
        let parker = Arc::clone(&self.console.parker);
        parker.attach();
        let files: [&dyn FileOps; 3] = [&*self.input, &*self.output, &*self.master];
        let queues = files.into_iter().filter_map(FileOps::wait_queue);
        for queue in queues {
            queue.add(Ready::IN | Ready::OUT, Arc::clone(&parker) as Arc<dyn Wake>);
        }
        loop {
            parker.reset();
            let asked = self.console.asked.load(Ordering::SeqCst);
            match self.step() {
                Ok(true) => {}
                Ok(false) => {
                    if asked {
                        self.console.drained.store(true, Ordering::SeqCst);
                    }
                    parker.park(None);
                }
                Err(_) => return,
            }
        }
    }

    /// Carries what can be carried now: true if that was anything. An error is the end of either side.
    fn step(&mut self) -> Result<bool, Errno> {
        let mut moved = false;
        if self.printed.is_empty() {
            moved |= take(&*self.master, &mut self.printed)?;
        }
        moved |= give(&*self.output, &mut self.printed)?;
        if self.typed.is_empty() {
            moved |= take(&*self.input, &mut self.typed)?;
        }
        Ok(moved | give(&*self.master, &mut self.typed)?)
    }
}

/// Reads what is there into `buffer`; false if nothing is.
fn take(from: &dyn FileOps, buffer: &mut Vec<u8>) -> Result<bool, Errno> {
    let mut bytes = [0; CHUNK];
    match from.read(&mut BufDst::new(&mut bytes), None) {
        Ok(0) => Err(Errno::EIO),
        Ok(count) => {
            buffer.extend_from_slice(&bytes[..count]);
            Ok(true)
        }
        Err(Errno::EAGAIN) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes what `to` takes of `buffer`; false if that is nothing.
fn give(to: &dyn FileOps, buffer: &mut Vec<u8>) -> Result<bool, Errno> {
    if buffer.is_empty() {
        return Ok(false);
    }
    match to.write(&mut BufSrc::new(buffer), None) {
        Ok(count) => {
            buffer.drain(..count);
            Ok(count > 0)
        }
        Err(Errno::EAGAIN) => Ok(false),
        Err(error) => Err(error),
    }
}
