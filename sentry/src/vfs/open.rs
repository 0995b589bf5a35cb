//! Open file descriptions.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::attr::{Attr, FileType};
use crate::vfs::dentry::VfsPath;
use crate::vfs::file::FileOps;
use crate::vfs::locks;
use crate::vfs::notify;
use crate::vfs::sigio::{IoSignals, Owner, SigIo};
use crate::wait::Ready;

/// Flags that fcntl(F_SETFL) changes.
const SETTABLE: i32 =
    libc::O_APPEND | libc::O_NONBLOCK | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME;

/// The bit that the kernel adds on 64-bit (`O_LARGEFILE`), which F_GETFL shows.
pub const O_LARGEFILE: i32 = 0o100000;

/// An open file description: what descriptors refer to.
pub struct OpenFile {
    ops: Arc<dyn FileOps>,
    path: VfsPath,
    flags: AtomicI32,
    position: Mutex<u64>,
    /// Unique, never reused: names the owner of OFD and flock locks.
    id: u64,
    /// Signals about readiness, once something of them was set.
    sigio: OnceLock<Arc<SigIo>>,
}

impl OpenFile {
    /// `ops` opened at `path` with these `O_*` flags.
    pub fn new(ops: Arc<dyn FileOps>, path: VfsPath, flags: i32) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let creation =
            libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY | libc::O_TRUNC | libc::O_CLOEXEC;
        Arc::new(Self {
            ops,
            path,
            flags: AtomicI32::new(flags & !creation),
            position: Mutex::new(0),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sigio: OnceLock::new(),
        })
    }

    /// The backend.
    pub fn ops(&self) -> &Arc<dyn FileOps> {
        &self.ops
    }

    /// Where it was opened.
    pub fn path(&self) -> &VfsPath {
        &self.path
    }

    /// Identity of this description among all that ever were.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// `O_*` flags: access mode and status.
    pub fn flags(&self) -> i32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// fcntl(F_SETFL): changes the status flags that can be changed.
    ///
    /// # Errors
    /// EINVAL if the file cannot have one of them.
    pub fn set_flags(&self, flags: i32) -> Result<(), Errno> {
        let old = self.flags();
        let new = old & !SETTABLE | flags & SETTABLE;
        self.ops.flags_changed(new)?;
        self.flags.store(new, Ordering::Relaxed);
        Ok(())
    }

    fn sigio(&self) -> &Arc<SigIo> {
        self.sigio.get_or_init(Arc::default)
    }

    /// Who gets signals about readiness (F_GETOWN).
    pub fn io_owner(&self) -> Option<Owner> {
        self.sigio.get()?.owner()
    }

    /// F_SETOWN.
    pub fn set_io_owner(&self, owner: Option<Owner>) {
        self.sigio().set_owner(owner);
    }

    /// The owner is told of urgent data from here on, whatever the flags (SIGURG).
    pub(crate) fn tell_urgent(&self, signals: Arc<dyn IoSignals>) {
        if let Some(queue) = self.ops.wait_queue() {
            self.sigio().tell_urgent(queue, signals);
        }
    }

    /// F_GETSIG.
    pub fn io_signal(&self) -> i32 {
        self.sigio.get().map_or(0, |sigio| sigio.signo())
    }

    /// F_SETSIG.
    pub fn set_io_signal(&self, signo: i32) {
        self.sigio().set_signo(signo);
    }

    /// Begins or ends (`None`) to raise signals about readiness, which name `fd`; without effect for
    /// files that have none.
    pub fn set_io_signals(&self, fd: i32, signals: Option<Arc<dyn IoSignals>>) {
        let Some(queue) = self
            .ops
            .wait_queue()
            .filter(|_| self.ops.signals_readiness())
        else {
            return;
        };
        match (signals, self.sigio.get()) {
            (Some(signals), _) => {
                self.sigio().start(queue, fd, signals);
                // Files that only watch while somebody waits find out that somebody does.
                self.ops.readiness();
            }
            (None, Some(sigio)) => sigio.stop(queue),
            (None, None) => {}
        }
    }

    /// Something did not fit: who asked for signals is told of the next space.
    pub fn note_no_space(&self) {
        if let Some(sigio) = self.sigio.get() {
            sigio.note_no_space();
        }
    }

    /// True if opened with O_NONBLOCK.
    pub fn nonblocking(&self) -> bool {
        self.flags() & libc::O_NONBLOCK != 0
    }

    /// True if opened with O_PATH.
    pub fn is_path(&self) -> bool {
        self.flags() & libc::O_PATH != 0
    }

    /// True if it may be read.
    pub fn readable(&self) -> bool {
        self.flags() & libc::O_ACCMODE != libc::O_WRONLY && !self.is_path()
    }

    /// True if it may be written.
    pub fn writable(&self) -> bool {
        self.flags() & libc::O_ACCMODE != libc::O_RDONLY && !self.is_path()
    }

    /// EBADF unless it may be read.
    ///
    /// # Errors
    /// EBADF.
    pub fn check_readable(&self) -> Result<(), Errno> {
        self.readable().then_some(()).ok_or(Errno::EBADF)
    }

    /// EBADF unless it may be written.
    ///
    /// # Errors
    /// EBADF.
    pub fn check_writable(&self) -> Result<(), Errno> {
        self.writable().then_some(()).ok_or(Errno::EBADF)
    }

    /// Attributes of the file.
    ///
    /// # Errors
    /// As [`crate::vfs::inode::Inode::attr`].
    pub fn attr(&self) -> Result<Attr, Errno> {
        self.path.inode().attr()
    }

    /// What is ready now.
    pub fn readiness(&self) -> Ready {
        self.ops.readiness()
    }

    /// read(2): from the file position, which moves.
    ///
    /// # Errors
    /// EBADF, and what the backend says; EAGAIN says that it would have to wait.
    pub fn read(&self, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        self.check_readable()?;
        if !self.ops.seekable() {
            return self.ops.read(dst, None);
        }
        let mut position = self.position.lock();
        let count = self.ops.read(dst, Some(*position))?;
        *position += count as u64;
        self.accessed(count);
        Ok(count)
    }

    /// write(2): at the file position, or the end with O_APPEND.
    ///
    /// # Errors
    /// As [`OpenFile::read`]; EPIPE, ENOSPC, EFBIG.
    pub fn write(&self, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        self.check_writable()?;
        if !self.ops.seekable() {
            let wanted = src.remaining();
            let result = self.ops.write(src, None);
            if result == Err(Errno::EAGAIN) || result.is_ok_and(|count| count < wanted) {
                self.note_no_space();
            }
            return result;
        }
        let mut position = self.position.lock();
        let count = if self.flags() & libc::O_APPEND != 0 {
            let (count, end) = self.ops.append(src)?;
            *position = end;
            count
        } else {
            let count = self.ops.write(src, Some(*position))?;
            *position += count as u64;
            count
        };
        self.modified(count);
        Ok(count)
    }

    /// pread(2).
    ///
    /// # Errors
    /// ESPIPE if the file has no position; EINVAL for a negative offset.
    pub fn pread(&self, dst: &mut dyn IoDst, offset: i64) -> Result<usize, Errno> {
        self.check_readable()?;
        let offset = self.check_offset(offset)?;
        let count = self.ops.read(dst, Some(offset))?;
        self.accessed(count);
        Ok(count)
    }

    /// pwrite(2); with O_APPEND it appends, as Linux does.
    ///
    /// # Errors
    /// As [`OpenFile::pread`].
    pub fn pwrite(&self, src: &mut dyn IoSrc, offset: i64) -> Result<usize, Errno> {
        self.check_writable()?;
        let offset = self.check_offset(offset)?;
        let count = if self.flags() & libc::O_APPEND != 0 {
            self.ops.append(src)?.0
        } else {
            self.ops.write(src, Some(offset))?
        };
        self.modified(count);
        Ok(count)
    }

    fn check_offset(&self, offset: i64) -> Result<u64, Errno> {
        let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        if self.ops.seekable() {
            Ok(offset)
        } else {
            Err(Errno::ESPIPE)
        }
    }

    fn accessed(&self, count: usize) {
        if count > 0 {
            notify::on_file(&self.path.dentry, libc::IN_ACCESS);
        }
    }

    fn modified(&self, count: usize) {
        if count > 0 {
            notify::on_file(&self.path.dentry, libc::IN_MODIFY);
        }
    }

    /// lseek(2).
    ///
    /// # Errors
    /// ESPIPE, EINVAL, ENXIO, EOVERFLOW.
    pub fn seek(&self, offset: i64, whence: i32) -> Result<u64, Errno> {
        if !self.ops.seekable() {
            return Err(Errno::ESPIPE);
        }
        let mut position = self.position.lock();
        let add = |base: u64| {
            let sum = i128::from(base) + i128::from(offset);
            if sum < 0 {
                return Err(Errno::EINVAL);
            }
            i64::try_from(sum)
                .map(|sum| sum as u64)
                .map_err(|_| Errno::EOVERFLOW)
        };
        let new = match whence {
            libc::SEEK_SET => add(0)?,
            libc::SEEK_CUR => add(*position)?,
            libc::SEEK_END if self.path.inode().kind() == FileType::Regular => {
                add(self.attr()?.size)?
            }
            _ => self.ops.seek_from(whence, offset)?,
        };
        *position = new;
        Ok(new)
    }

    /// The file position.
    pub fn position(&self) -> u64 {
        *self.position.lock()
    }

    /// getdents(2): entries from the position on.
    ///
    /// # Errors
    /// ENOTDIR, ENOENT (removed).
    pub fn read_dir(&self, sink: &mut crate::vfs::file::DirSink<'_>) -> Result<(), Errno> {
        self.check_readable()?;
        let mut position = self.position.lock();
        *position = self.ops.read_dir(*position, sink)?;
        Ok(())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.is_path() {
            return;
        }
        locks::release_description(self);
        self.set_io_signals(0, None);
        let closed = if self.writable() {
            libc::IN_CLOSE_WRITE
        } else {
            libc::IN_CLOSE_NOWRITE
        };
        notify::on_file(&self.path.dentry, closed);
    }
}
