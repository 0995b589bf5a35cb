//! Copies between descriptors: sendfile, copy_file_range, splice, tee.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::fs::pipe::PipeEnd;
use crate::mm::{BufDst, BufSrc};
use crate::syscalls::at::{may_wait, raise, wait_for};
use crate::syscalls::file_io::{At, room_to_write};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::attr::FileType;
use crate::vfs::open::OpenFile;
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_sendfile, "sendfile", sys_sendfile),
    Row::full(
        libc::SYS_copy_file_range,
        "copy_file_range",
        sys_copy_file_range,
    ),
    Row::full(libc::SYS_splice, "splice", sys_splice),
    Row::full(libc::SYS_tee, "tee", sys_tee),
];

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;
/// Most bytes that one call copies before it returns short.
const MAX_COPY: usize = 16 << 20;

/// One side of a copy: a file and, unless its position is meant, an offset.
struct Side {
    file: Arc<OpenFile>,
    offset: Option<i64>,
}

impl Side {
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut dst = BufDst::new(buffer);
        match self.offset {
            Some(offset) => self.file.pread(&mut dst, offset),
            None => self.file.read(&mut dst),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut src = BufSrc::new(bytes);
        match self.offset {
            Some(offset) => self.file.pwrite(&mut src, offset),
            None => self.file.write(&mut src),
        }
    }

    fn moved(&mut self, count: usize) {
        if let Some(offset) = &mut self.offset {
            *offset += count as i64;
        }
    }

    /// Puts bytes back that were read but could not be written.
    fn unread(&mut self, count: usize) -> Result<(), Errno> {
        // What came from a stream is gone.
        if self.offset.is_none() && count > 0 && self.seekable() {
            self.file.seek(-(count as i64), libc::SEEK_CUR)?;
        }
        Ok(())
    }

    /// True if there is something left to read.
    fn has_more(&self) -> bool {
        if !self.seekable() {
            return self.file.readiness().contains(Ready::IN);
        }
        let at = self.offset.map_or(self.file.position(), |at| at as u64);
        self.file.attr().is_ok_and(|attr| attr.size > at)
    }

    fn seekable(&self) -> bool {
        self.file.ops().seekable()
    }
}

/// Which side a copy would have to wait for.
enum Blocked {
    Input,
    Output,
}

/// Copies up to `len` bytes; the count, and which side stopped it.
fn copy(from: &mut Side, to: &mut Side, len: usize) -> Result<(usize, Option<Blocked>), Errno> {
    let len = len.min(MAX_COPY);
    let mut buffer = vec![0; CHUNK.min(len)];
    let mut total = 0;
    // What is no file and no pipe is read once: its next answer may be an end that has to be told.
    let once = !from.seekable() && !is_pipe(&from.file);
    while total < len && !(once && total > 0) {
        // What comes from a stream cannot be put back: take only what certainly goes out.
        let mut part = buffer.len().min(len - total);
        if !from.seekable() {
            if !to.file.readiness().intersects(Ready::OUT | Ready::ERR) {
                return Ok((total, Some(Blocked::Output)));
            }
            if !to.seekable() {
                part = part.min(libc::PIPE_BUF);
            }
        }
        let read = match from.read(&mut buffer[..part]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(Errno::EAGAIN) => return Ok((total, Some(Blocked::Input))),
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        };
        let wrote = to.write(&buffer[..read]);
        let count = *wrote.as_ref().unwrap_or(&0);
        from.unread(read - count)?;
        from.moved(count);
        to.moved(count);
        total += count;
        match wrote {
            Ok(count) if count == read => {}
            Ok(_) | Err(Errno::EAGAIN) => return Ok((total, Some(Blocked::Output))),
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok((total, None))
}

fn run(
    task: &mut Task,
    mut from: Side,
    mut to: Side,
    len: usize,
    (nonblock, in_pieces): (bool, bool),
) -> Result<Copied, Errno> {
    from.file.check_readable()?;
    to.file.check_writable()?;
    let start = to.offset.map_or(At::Position, At::Offset);
    let room = room_to_write(task, &to.file, start, len > 0)?;
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let result = copy(&mut from, &mut to, len.min(room));
    // Linux copies piece by piece, and the one after the last that fits meets the limit.
    if in_pieces && room < len && result.as_ref().is_ok_and(|(count, _)| *count == room) {
        let _ = room_to_write(task, &to.file, At::Offset(i64::MAX), from.has_more());
    }
    if result.as_ref().is_err_and(|error| *error == Errno::EPIPE) {
        raise(task, libc::SIGPIPE);
    }
    let (count, blocked) = result?;
    if count == 0
        && let Some(blocked) = blocked
    {
        let (file, write) = match blocked {
            Blocked::Input => (&from.file, false),
            Blocked::Output => (&to.file, true),
        };
        if nonblock || !may_wait(file) {
            return Err(Errno::EAGAIN);
        }
        return Ok(Copied::Wait(wait_for(task, file, write)));
    }
    Ok(Copied::Done {
        count,
        from: from.offset,
        to: to.offset,
    })
}

enum Copied {
    Done {
        count: usize,
        from: Option<i64>,
        to: Option<i64>,
    },
    Wait(SysResult),
}

/// The offset argument at `addr`; `None` if it is null.
fn offset(task: &Task, addr: u64) -> Result<Option<i64>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let offset: i64 = task.mm.read_val(addr)?;
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Some(offset))
}

fn finish(task: &Task, copied: Copied, from: u64, to: u64) -> SysResult {
    let (count, new_from, new_to) = match copied {
        Copied::Wait(wait) => return wait,
        Copied::Done { count, from, to } => (count, from, to),
    };
    for (addr, new) in [(from, new_from), (to, new_to)] {
        if let Some(new) = new {
            task.mm.write_val(addr, &new)?;
        }
    }
    Ok(count.into())
}

/// What is read must end within a `loff_t` (`rw_verify_area`).
fn check_end(file: &OpenFile, offset: Option<i64>, len: i64) -> Result<(), Errno> {
    let start = offset.unwrap_or(file.position() as i64);
    let len = Some(len).filter(|len| *len >= 0).ok_or(Errno::EINVAL)?;
    start.checked_add(len).map(drop).ok_or(Errno::EINVAL)
}

/// Files, block devices and sockets can be spliced from; directories, pure character devices and
/// event descriptors can't.
fn has_pages(file: &OpenFile) -> bool {
    match file.path().inode().kind() {
        FileType::Regular => file.ops().seekable(),
        FileType::Directory => false,
        _ => true,
    }
}

pub(crate) fn sys_sendfile(task: &mut Task, args: &Args) -> SysResult {
    let (to, from) = (task.fds.get(args.int(0))?, task.fds.get(args.int(1))?);
    if to.flags() & libc::O_APPEND != 0 || args.long(3) < 0 {
        return Err(Errno::EINVAL);
    }
    from.check_readable()?;
    let offset = offset(task, args.ptr(2))?;
    if offset.is_some() && !from.ops().seekable() {
        return Err(Errno::ESPIPE);
    }
    check_end(&from, offset, args.long(3))?;
    // Past a pipe nothing would keep what was read and not written (`splice_direct_to_actor`).
    let streams = !from.ops().seekable() && (is_pipe(&from) || !is_pipe(&to));
    if !has_pages(&from) || streams {
        return Err(Errno::EINVAL);
    }
    let from = Side { file: from, offset };
    let to = Side {
        file: to,
        offset: None,
    };
    let copied = run(task, from, to, args.size(3), (false, true))?;
    finish(task, copied, args.ptr(2), 0)
}

pub(crate) fn sys_copy_file_range(task: &mut Task, args: &Args) -> SysResult {
    if args.uint(5) != 0 {
        return Err(Errno::EINVAL);
    }
    let (from, to) = (task.fds.get(args.int(0))?, task.fds.get(args.int(2))?);
    for file in [&from, &to] {
        match file.path().inode().kind() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
    }
    if to.flags() & libc::O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let from = Side {
        file: from,
        offset: offset(task, args.ptr(1))?,
    };
    let to = Side {
        file: to,
        offset: offset(task, args.ptr(3))?,
    };
    let len = copy_length(&from, &to, args.ptr(4))?;
    let copied = run(task, from, to, len, (false, false))?;
    finish(task, copied, args.ptr(1), args.ptr(3))
}

/// How much there is to copy; a range cannot be copied over itself (`generic_copy_file_checks`).
fn copy_length(from: &Side, to: &Side, len: u64) -> Result<usize, Errno> {
    let start = |side: &Side| side.offset.map_or(side.file.position(), |at| at as u64);
    let (source, target) = (start(from), start(to));
    if source.checked_add(len).is_none() || target.checked_add(len).is_none() {
        return Err(Errno::EOVERFLOW);
    }
    let len = len.min(from.file.attr()?.size.saturating_sub(source));
    let same = Arc::ptr_eq(from.file.path().inode(), to.file.path().inode());
    if same && target + len > source && target < source + len {
        return Err(Errno::EINVAL);
    }
    Ok(len as usize)
}

fn is_pipe(file: &OpenFile) -> bool {
    file.ops().as_any().is::<PipeEnd>()
}

/// Both ends of one pipe share its inode.
fn same_pipe(a: &OpenFile, b: &OpenFile) -> bool {
    Arc::ptr_eq(a.path().inode(), b.path().inode())
}

pub(crate) fn sys_splice(task: &mut Task, args: &Args) -> SysResult {
    let (from, to) = (task.fds.get(args.int(0))?, task.fds.get(args.int(2))?);
    if !is_pipe(&from) && !is_pipe(&to) {
        return Err(Errno::EINVAL);
    }
    if (is_pipe(&from) && args.ptr(1) != 0) || (is_pipe(&to) && args.ptr(3) != 0) {
        return Err(Errno::ESPIPE);
    }
    from.check_readable()?;
    to.check_writable()?;
    if is_pipe(&from) && is_pipe(&to) && same_pipe(&from, &to) {
        return Err(Errno::EINVAL);
    }
    let from = Side {
        file: from,
        offset: offset(task, args.ptr(1))?,
    };
    let to = Side {
        file: to,
        offset: offset(task, args.ptr(3))?,
    };
    if [&from, &to]
        .iter()
        .any(|side| side.offset.is_some() && !side.seekable())
    {
        return Err(Errno::EINVAL);
    }
    if !has_pages(&from.file) {
        return Err(Errno::EINVAL);
    }
    if !is_pipe(&from.file) {
        check_end(&from.file, from.offset, args.long(4))?;
    }
    let nonblock = args.uint(5) & libc::SPLICE_F_NONBLOCK != 0;
    let copied = run(task, from, to, args.size(4), (nonblock, true))?;
    finish(task, copied, args.ptr(1), args.ptr(3))
}

pub(crate) fn sys_tee(task: &mut Task, args: &Args) -> SysResult {
    let (from, to) = (task.fds.get(args.int(0))?, task.fds.get(args.int(1))?);
    from.check_readable()?;
    to.check_writable()?;
    let end = from.ops().as_any().downcast_ref::<PipeEnd>();
    let end = end.filter(|_| is_pipe(&to) && !same_pipe(&from, &to));
    let end = end.ok_or(Errno::EINVAL)?;
    if args.size(2) == 0 {
        return Ok(0usize.into());
    }
    let nonblock = args.uint(3) & libc::SPLICE_F_NONBLOCK != 0;
    let bytes = end.peek(args.size(2).min(CHUNK));
    if bytes.is_empty() {
        if from.readiness().contains(Ready::HUP) {
            return Ok(0usize.into());
        }
        return if nonblock {
            Err(Errno::EAGAIN)
        } else {
            wait_for(task, &from, false)
        };
    }
    match to.write(&mut BufSrc::new(&bytes)) {
        Ok(count) => Ok(count.into()),
        Err(Errno::EAGAIN) if !nonblock => wait_for(task, &to, true),
        Err(error) => {
            if error == Errno::EPIPE {
                raise(task, libc::SIGPIPE);
            }
            Err(error)
        }
    }
}
