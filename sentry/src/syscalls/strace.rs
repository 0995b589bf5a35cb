//! `--strace`: each call with its arguments and result, as strace(1) shows them.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use crate::syscalls::{Args, Outcome, Row};
use crate::task::Task;
use crate::task::block::Waited;

mod signatures;

use signatures::{Kind, signature};

/// Longest string that is shown.
const SHOWN: usize = 64;

/// Where the trace goes. One write per line, so that lines of several threads don't mix.
pub struct Sink(File);

impl Sink {
    /// Writes to `fd`.
    pub fn new(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    fn line(&self, line: &str) {
        // A trace that nobody can take is no reason to stop the guest.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

/// A call as far as it is known before it is served.
pub(crate) struct Shown {
    text: String,
    rest: usize,
}

/// Shows the arguments that are inputs. For execve and exit this is all there will be.
pub(crate) fn enter(task: &Task, row: &Row, args: &Args) -> Shown {
    let kinds = signature(row.number);
    let mut text = String::with_capacity(80);
    let name = if row.name.is_empty() {
        format!("syscall_{}", row.number)
    } else {
        row.name.to_owned()
    };
    let _ = write!(text, "[{:5}] {name}(", task.tid());
    let outputs = kinds.iter().position(|kind| kind.is_output());
    let rest = outputs.unwrap_or(kinds.len());
    show(task, &mut text, kinds, args, 0..rest, None);
    if row.number == libc::SYS_exit as u16 || row.number == libc::SYS_exit_group as u16 {
        emit(task, &format!("{text}) = ?\n"));
    }
    Shown { text, rest }
}

/// Shows a signal that the running code has brought upon itself.
pub(crate) fn signal(task: &Task, info: &crate::signals::SigInfo) {
    if task.kernel.strace().is_some() {
        let line = format!(
            "[{:5}] --- signal {} code {} address {:#x} at {:#x} ---\n",
            task.tid(),
            info.signo,
            info.code,
            info.fields[0],
            task.regs.rip
        );
        emit(task, &line);
    }
}

/// Shows the rest and the result.
pub(crate) fn leave(task: &Task, row: &Row, args: &Args, shown: Shown, waited: &Waited) {
    let Shown { mut text, rest } = shown;
    let kinds = signature(row.number);
    let result = match waited {
        Waited::Restart => "? ERESTARTSYS (to be restarted)".to_owned(),
        Waited::Done(Ok(Outcome::Exit)) => return,
        Waited::Done(Ok(Outcome::Value(value))) => result_of(row, *value),
        Waited::Done(Ok(_)) => "0".to_owned(),
        Waited::Done(Err(errno)) => format!("-1 {errno}"),
    };
    let count = match waited {
        Waited::Done(Ok(Outcome::Value(value))) => Some(*value as usize),
        _ => None,
    };
    show(task, &mut text, kinds, args, rest..kinds.len(), count);
    let _ = writeln!(text, ") = {result}");
    emit(task, &text);
}

fn result_of(row: &Row, value: u64) -> String {
    let address = [libc::SYS_mmap, libc::SYS_brk, libc::SYS_mremap];
    if address.contains(&i64::from(row.number)) {
        format!("{value:#x}")
    } else {
        format!("{}", value as i64)
    }
}

fn emit(task: &Task, line: &str) {
    if let Some(sink) = task.kernel.strace() {
        sink.line(line);
    }
}

fn show(
    task: &Task,
    text: &mut String,
    kinds: &[Kind],
    args: &Args,
    range: std::ops::Range<usize>,
    count: Option<usize>,
) {
    for at in range {
        if at > 0 {
            text.push_str(", ");
        }
        let value = args.0[at];
        // Writing to a String cannot fail.
        let _ = match kinds[at] {
            Kind::Int => write!(text, "{}", value as i32),
            Kind::Long => write!(text, "{}", value as i64),
            Kind::Octal => write!(text, "{:#o}", value as u32),
            Kind::Hex | Kind::Out => write!(text, "{value:#x}"),
            Kind::Fd if value as i32 == libc::AT_FDCWD => write!(text, "AT_FDCWD"),
            Kind::Fd => write!(text, "{}", value as i32),
            Kind::Path => write!(text, "{}", path(task, value)),
            Kind::BufIn => write!(text, "{}", buffer(task, value, args.size(at + 1))),
            Kind::BufOut => write!(text, "{}", buffer(task, value, count.unwrap_or(0))),
        };
    }
}

fn path(task: &Task, addr: u64) -> String {
    match task.mm.read_cstr(addr, libc::PATH_MAX as usize) {
        Ok(path) => format!("\"{}\"", path.escape_ascii()),
        Err(_) => format!("{addr:#x}"),
    }
}

fn buffer(task: &Task, addr: u64, len: usize) -> String {
    match task.mm.read_vec(addr, len.min(SHOWN)) {
        Ok(bytes) => {
            let more = if len > SHOWN { "..." } else { "" };
            format!("\"{}\"{more}", bytes.escape_ascii())
        }
        Err(_) => format!("{addr:#x}"),
    }
}
