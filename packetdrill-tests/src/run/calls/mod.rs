//! System calls: the table of them, the script's descriptors, and the blocking.
//!
//! A call is attempted, and if it would block it is attempted again whenever something has happened,
//! until it returns. So a script can hold several blocking calls open.

mod control;
mod io;
mod names;
mod options;
mod poll;

use std::collections::BTreeMap;

use super::target::{Handle, SysResult};
use super::times::{self, Due};
use super::{Outcome, Runner, symbols, values};
use crate::ast::{Call, Expr, Micros, Pos};
use crate::report::{Failure, Row};
use nix::errno::Errno;

/// What a descriptor of the script stands for.
#[derive(Clone, Debug)]
enum File {
    Socket(Socket),
    Epoll(super::epoll::Epoll),
    /// An instance of the target's own.
    TargetEpoll(Handle),
}

/// A socket of the target, and what the runner keeps beside it.
#[derive(Clone, Debug)]
struct Socket {
    handle: Handle,
    nonblock: bool,
    stream: bool,
    /// Bytes of the stream so far, each way: where the pattern goes on.
    received: u64,
    sent: u64,
    /// TCP_FASTOPEN_CONNECT is set.
    fast_connect: bool,
    /// `connect` has returned before there was a SYN: the first write sends it.
    deferred: bool,
}

/// The script's descriptors, and the calls that have not returned yet.
#[derive(Debug, Default)]
pub(super) struct Files {
    table: BTreeMap<i64, File>,
    open_calls: Vec<OpenCall>,
    /// The socket that assertions are about.
    current: Option<i64>,
}

#[derive(Clone, Debug)]
struct OpenCall {
    pos: Pos,
    call: Call,
    progress: Progress,
    end: Micros,
    tolerance: Micros,
}

/// What a call that blocks has done so far.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Bytes moved.
    moved: usize,
    /// It has been attempted before.
    again: bool,
    /// It has begun a connection, and waits for that.
    opening: bool,
    /// When poll gives up.
    deadline: Option<Micros>,
}

/// How far an attempt got.
enum Attempt {
    /// It would block.
    Wait,
    /// It returned.
    Done(Returned),
}

/// What a call returned, and outputs to compare beside it.
struct Returned {
    value: Result<i64, Errno>,
    rows: Vec<Row>,
}

impl From<SysResult<i64>> for Attempt {
    fn from(value: SysResult<i64>) -> Self {
        Self::Done(Returned {
            value,
            rows: Vec::new(),
        })
    }
}

/// Errors of arguments: the script's fault.
type Args<T> = Result<T, String>;

impl Runner<'_> {
    pub(super) fn call(&mut self, pos: Pos, call: &Call, due: Due) -> Outcome {
        let tolerance = due.tolerance(self.config.tolerance, self.config.tolerance_percent);
        let mut progress = Progress::default();
        match self.attempt(pos, call, &mut progress)? {
            Attempt::Done(returned) => {
                self.check(pos, call, returned)?;
                match call.end {
                    Some(end) => self.check_return_time(pos, due.base + end, tolerance),
                    None => Ok(()),
                }?;
                self.pump()
            }
            Attempt::Wait => {
                let Some(end) = call.end else {
                    let rows = vec![Row::new(
                        "returns",
                        describe_result(call),
                        "nothing: it blocks",
                    )];
                    return Err(Failure::mismatch(pos, "the call blocks", rows));
                };
                self.note(format!("{}(...) blocks", call.name));
                self.files.open_calls.push(OpenCall {
                    pos,
                    call: call.clone(),
                    progress,
                    end: due.base + end,
                    tolerance,
                });
                self.pump()
            }
        }
    }

    fn attempt(&mut self, pos: Pos, call: &Call, progress: &mut Progress) -> Outcome<Attempt> {
        let attempt = self.dispatch(call, progress);
        progress.again = true;
        attempt
            .map_err(|message| Box::new(Failure::error(pos, format!("{}: {message}", call.name))))
    }

    fn dispatch(&mut self, call: &Call, progress: &mut Progress) -> Args<Attempt> {
        let args = &call.args;
        match call.name.as_str() {
            "socket" => self.sys_socket(args, &call.result),
            "bind" => self.sys_bind(args),
            "listen" => self.sys_listen(args),
            "accept" => self.sys_accept(args, &call.result),
            "connect" => self.sys_connect(args, progress),
            "close" => self.sys_close(args),
            "shutdown" => self.sys_shutdown(args),
            "getsockname" | "getpeername" => self.sys_name(&call.name, args),
            "read" | "recv" | "recvfrom" | "recvmsg" | "readv" => {
                self.sys_receive(&call.name, args, progress)
            }
            "write" | "send" | "sendto" | "sendmsg" | "writev" => {
                self.sys_send(&call.name, args, progress)
            }
            "fcntl" => self.sys_fcntl(args),
            "setsockopt" => self.sys_setsockopt(args),
            "getsockopt" => self.sys_getsockopt(args),
            "ioctl" => self.sys_ioctl(args),
            "poll" => self.sys_poll(args, progress),
            "epoll_create" | "epoll_create1" => self.sys_epoll_create(&call.result),
            "epoll_ctl" => self.sys_epoll_ctl(args),
            "epoll_wait" => self.sys_epoll_wait(args, progress),
            _ => Err("this system call is not supported".to_owned()),
        }
    }

    /// Lets every open call look again; those that return are checked.
    pub(super) fn retry_calls(&mut self) -> Outcome {
        self.note_edges();
        let mut index = 0;
        while index < self.files.open_calls.len() {
            let mut open = self.files.open_calls[index].clone();
            match self.attempt(open.pos, &open.call, &mut open.progress)? {
                Attempt::Wait => {
                    self.refuse_late(&open)?;
                    self.files.open_calls[index] = open;
                    index += 1;
                }
                Attempt::Done(returned) => {
                    self.files.open_calls.remove(index);
                    self.check(open.pos, &open.call, returned)?;
                    self.check_return_time(open.pos, open.end, open.tolerance)?;
                }
            }
        }
        Ok(())
    }

    /// When the first open call gives up by itself.
    pub(super) fn next_poll_timeout(&self) -> Option<Micros> {
        let open = self.files.open_calls.iter();
        open.filter_map(|open| open.progress.deadline).min()
    }

    fn refuse_late(&self, open: &OpenCall) -> Outcome {
        if self.target.now() <= open.end + open.tolerance {
            return Ok(());
        }
        let rows = vec![
            Row::new("returns", describe_result(&open.call), "nothing: it blocks"),
            Row::new(
                "time",
                times::text(open.end),
                format!("still open at {}", times::text(self.target.now())),
            ),
        ];
        Err(Failure::mismatch(
            open.pos,
            "the call has not returned in time",
            rows,
        ))
    }

    fn check_return_time(&self, pos: Pos, end: Micros, tolerance: Micros) -> Outcome {
        let now = self.target.now();
        if (now - end).abs() <= tolerance {
            return Ok(());
        }
        let rows = vec![Row::new("time", times::text(end), times::text(now))];
        Err(Failure::mismatch(
            pos,
            "the call returned at another time",
            rows,
        ))
    }

    /// After the last event: waits for the calls that are still open.
    pub(super) fn finish_calls(&mut self) -> Outcome {
        while let Some(open) = self.files.open_calls.first() {
            let deadline = open.end + open.tolerance + 1;
            self.wait_until(deadline)?;
        }
        Ok(())
    }

    /// Compares what a call returned with what the script says.
    fn check(&mut self, pos: Pos, call: &Call, returned: Returned) -> Outcome {
        self.note(format!(
            "{}(...) = {}",
            call.name,
            describe(&returned.value)
        ));
        let mut rows = returned.rows;
        let wanted = match &call.result {
            Expr::Ellipsis => None,
            expr => Some(values::int(expr).map_err(|message| Failure::error(pos, message))?),
        };
        if wanted.is_some_and(|wanted| wanted >= 0)
            && let Some(lack) = self.lacks(call, &returned.value)
        {
            return Err(Box::new(Failure::error(pos, lack)));
        }
        match (wanted, &call.errno, &returned.value) {
            (Some(-1), Some(name), value) => {
                let errno = symbols::errno(name)
                    .ok_or_else(|| Failure::error(pos, format!("{name} is no known error")))?;
                rows.insert(
                    0,
                    Row::new("returns", describe(&Err(errno)), describe(value)),
                );
            }
            (Some(-1), None, Err(_)) | (None, _, _) => {}
            (Some(wanted), _, value) => {
                rows.insert(
                    0,
                    Row::new("returns", describe(&Ok(wanted)), describe(value)),
                );
            }
        }
        if rows.iter().all(|row| row.agrees) {
            return Ok(());
        }
        Err(Failure::mismatch(
            pos,
            "the call returned something else",
            rows,
        ))
    }

    /// What a script asks for that netstack does not have: that is no difference in behaviour. (The host's
    /// kernel is the oracle: what it refuses is what Linux does.)
    fn lacks(&self, call: &Call, value: &Result<i64, Errno>) -> Option<String> {
        let what = match (call.name.as_str(), value) {
            ("setsockopt" | "getsockopt", Err(Errno::ENOPROTOOPT)) => match call.args.get(2)? {
                Expr::Word(name) => format!("the socket option {name}"),
                _ => "this socket option".to_owned(),
            },
            ("socket", Err(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT)) => {
                "sockets of this kind".to_owned()
            }
            (name, Err(Errno::EOPNOTSUPP)) if name.starts_with("send") => {
                "these flags of a call that sends".to_owned()
            }
            (name, Err(Errno::EOPNOTSUPP)) if name.starts_with("recv") => {
                "these flags of a call that receives".to_owned()
            }
            _ => return None,
        };
        let virtual_time = self.target.is_virtual();
        virtual_time.then(|| format!("the stack under test does not have {what}"))
    }

    fn socket(&self, fd: i64) -> Result<Socket, Errno> {
        match self.files.table.get(&fd) {
            Some(File::Socket(socket)) => Ok(socket.clone()),
            Some(File::Epoll(_) | File::TargetEpoll(_)) => Err(Errno::ENOTSOCK),
            None => Err(Errno::EBADF),
        }
    }

    fn socket_mut(&mut self, fd: i64) -> Option<&mut Socket> {
        match self.files.table.get_mut(&fd) {
            Some(File::Socket(socket)) => Some(socket),
            _ => None,
        }
    }

    /// The open socket that assertions are about: the one made, accepted or connected last.
    pub(super) fn current_socket(&self) -> Option<Handle> {
        let current = self.files.current?;
        self.socket(current).ok().map(|socket| socket.handle)
    }
}

/// The argument at `index`.
fn arg(args: &[Expr], index: usize) -> Args<&Expr> {
    args.get(index)
        .ok_or_else(|| format!("argument {} is missing", index + 1))
}

fn describe(value: &Result<i64, Errno>) -> String {
    match value {
        Ok(value) => value.to_string(),
        Err(errno) => format!("-1 {errno:?}"),
    }
}

fn describe_result(call: &Call) -> String {
    match (&call.errno, values::int(&call.result)) {
        (Some(name), _) => format!("-1 {name}"),
        (None, Ok(value)) => value.to_string(),
        (None, Err(_)) => "any".to_owned(),
    }
}
