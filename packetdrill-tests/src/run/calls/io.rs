//! Calls that move data. `...` as a buffer means the pattern of [`super::super::pattern`], written on
//! the way out and verified on the way in.

use std::net::SocketAddr;

use super::super::pattern;
use super::super::target::Received;
use super::{Args, Attempt, Progress, Returned, Row, Runner, Socket, arg, control, values};
use crate::ast::Expr;
use nix::errno::Errno;

/// The arguments of any of the sending or receiving calls.
struct Io {
    /// Content that the script gives, if it does.
    content: Option<Vec<u8>>,
    len: usize,
    flags: i32,
    address: Option<SocketAddr>,
    /// What a script says of a message: its flags, and what comes or goes beside it.
    msg_flags: Option<i32>,
    control: Option<Vec<control::Message>>,
}

impl Runner<'_> {
    pub(super) fn sys_send(
        &mut self,
        name: &str,
        args: &[Expr],
        progress: &mut Progress,
    ) -> Args<Attempt> {
        let fd = values::int(arg(args, 0)?)?;
        let mut io = arguments(name, args)?;
        if io
            .control
            .as_ref()
            .is_some_and(|control| !control.is_empty())
        {
            return Err("control messages to send are not supported".to_owned());
        }
        io.address = io.address.map(|address| self.config.for_socket(address));
        let socket = match self.socket(fd) {
            Ok(socket) => socket,
            Err(errno) => return Ok(Err(errno).into()),
        };
        if progress.opening {
            io.flags &= !libc::MSG_FASTOPEN;
            io.address = None;
            return self.send_on(fd, &socket, &io, progress);
        }
        let fast_open = io.flags & libc::MSG_FASTOPEN != 0;
        if io.address.is_none() && (name == "sendto" || name == "sendmsg") {
            let explicit = matches!(args.get(4), Some(Expr::Ellipsis));
            if fast_open || (explicit && !socket.stream) {
                io.address = Some(self.config.for_socket(self.config.addresses.remote));
            }
        }
        if io.content.is_some() {
            self.verify_sent_data = false;
        }
        let opens = fast_open || socket.deferred;
        if opens && let Some(socket) = self.socket_mut(fd) {
            socket.deferred = false;
        }
        let waits = !socket.nonblock && io.flags & libc::MSG_DONTWAIT == 0;
        let attempt = match opens && waits {
            true => self.send_opening(fd, &socket, &io, progress)?,
            false => self.send_on(fd, &socket, &io, progress)?,
        };
        let refused =
            |value: &Result<i64, Errno>| value.is_err_and(|errno| errno != Errno::EINPROGRESS);
        let begun = match &attempt {
            Attempt::Wait => true,
            Attempt::Done(returned) => !refused(&returned.value),
        };
        if fast_open && begun {
            self.files.current = Some(fd);
            match self.target.peer_address(socket.handle) {
                Ok(peer) => self.select_flow(socket.handle, peer),
                Err(_) => self.flows.open(),
            }
        }
        Ok(attempt)
    }

    /// The first attempt of a blocking call that connects: whatever has left with the SYN, it waits
    /// for the connection.
    fn send_opening(
        &mut self,
        fd: i64,
        socket: &Socket,
        io: &Io,
        progress: &mut Progress,
    ) -> Args<Attempt> {
        let data = self.data_to_send(socket, io, progress)?;
        let result = self.target.send(socket.handle, &data, io.flags, io.address);
        progress.opening = true;
        Ok(match result {
            Ok(count) => {
                progress.moved += count;
                if let Some(socket) = self.socket_mut(fd) {
                    socket.sent += count as u64;
                }
                Attempt::Wait
            }
            Err(Errno::EINPROGRESS) => Attempt::Wait,
            Err(errno) => Err(errno).into(),
        })
    }

    fn data_to_send(&self, socket: &Socket, io: &Io, progress: &Progress) -> Args<Vec<u8>> {
        let offset = if socket.stream { socket.sent } else { 0 };
        match &io.content {
            Some(content) if content.len() >= io.len => {
                Ok(content[progress.moved..io.len].to_vec())
            }
            Some(_) => Err("the string is shorter than the length".to_owned()),
            None => Ok(pattern::bytes(offset, io.len - progress.moved)),
        }
    }

    fn send_on(
        &mut self,
        fd: i64,
        socket: &Socket,
        io: &Io,
        progress: &mut Progress,
    ) -> Args<Attempt> {
        let data = self.data_to_send(socket, io, progress)?;
        let blocking = !socket.nonblock && io.flags & libc::MSG_DONTWAIT == 0;
        let flags = match blocking {
            true => io.flags,
            false => io.flags | libc::MSG_DONTWAIT,
        };
        let result = self.target.send(socket.handle, &data, flags, io.address);
        let opening = progress.opening && result != Err(Errno::EAGAIN);
        progress.opening &= !opening;
        if let (Ok(count), Some(socket)) = (&result, self.socket_mut(fd)) {
            socket.sent += *count as u64;
        }
        Ok(match result {
            Ok(count) => {
                progress.moved += count;
                if blocking && progress.moved < io.len && count < data.len() {
                    return Ok(Attempt::Wait);
                }
                Ok(progress.moved as i64).into()
            }
            Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY) if blocking => Attempt::Wait,
            // Part of it went out before the error: that is what the call returns.
            Err(_) if progress.moved > 0 && !opening => Ok(progress.moved as i64).into(),
            Err(errno) => Err(errno).into(),
        })
    }

    pub(super) fn sys_receive(
        &mut self,
        name: &str,
        args: &[Expr],
        progress: &mut Progress,
    ) -> Args<Attempt> {
        let fd = values::int(arg(args, 0)?)?;
        let io = arguments(name, args)?;
        let socket = match self.socket(fd) {
            Ok(socket) => socket,
            Err(errno) => return Ok(Err(errno).into()),
        };
        // Neither the urgent byte nor a report is waited for.
        let never_waits = libc::MSG_DONTWAIT | libc::MSG_OOB | libc::MSG_ERRQUEUE;
        let blocking = !socket.nonblock && io.flags & never_waits == 0;
        let errors = io.flags & libc::MSG_ERRQUEUE != 0;
        let all = io.flags & libc::MSG_WAITALL != 0 && io.flags & libc::MSG_PEEK == 0;
        let ask = io.len - progress.moved;
        let flags = io.flags & !libc::MSG_WAITALL;
        let received = match self.target.recv(socket.handle, ask, flags) {
            Ok(received) => received,
            Err(Errno::EAGAIN) if blocking => return Ok(Attempt::Wait),
            Err(_) if progress.moved > 0 => return Ok(Ok(progress.moved as i64).into()),
            Err(errno) => return Ok(Err(errno).into()),
        };
        let offset = if socket.stream { socket.received } else { 0 };
        let row = match errors {
            // The packet that a report is about, headers and all.
            true => None,
            false => content_row(&io, progress.moved, offset, &received.data),
        };
        if let Some(socket) = self.socket_mut(fd)
            && io.flags & libc::MSG_PEEK == 0
            && !errors
        {
            socket.received += received.len as u64;
        }
        let wait = all && blocking && received.len > 0 && received.len < ask;
        progress.moved += received.len;
        if wait && row.is_none() {
            return Ok(Attempt::Wait);
        }
        Ok(Attempt::Done(Returned {
            value: Ok(progress.moved as i64),
            rows: row
                .into_iter()
                .chain(self.message_rows(&io, &received))
                .collect(),
        }))
    }

    /// What came beside the data, compared with what the script says of it.
    fn message_rows(&self, io: &Io, received: &Received) -> Vec<Row> {
        let flags = io.msg_flags.map(|wanted| {
            let text = |flags: i32| format!("{flags:#x}");
            Row::new("msg_flags", text(wanted), text(received.flags))
        });
        let control = io.control.iter();
        let tolerance = self.config.tolerance;
        let control =
            control.flat_map(|wanted| control::rows(wanted, &received.control, tolerance));
        flags.into_iter().chain(control).collect()
    }
}

/// A row about the received bytes, if they are not what they should be.
fn content_row(io: &Io, moved: usize, offset: u64, data: &[u8]) -> Option<Row> {
    match &io.content {
        Some(content) => {
            let expected = content.get(moved..)?;
            let len = expected.len().min(data.len());
            (expected[..len] != data[..len]).then(|| {
                Row::new(
                    "data",
                    String::from_utf8_lossy(expected),
                    String::from_utf8_lossy(data),
                )
            })
        }
        None => pattern::first_difference(offset, data).map(|at| {
            Row::new(
                "data",
                "as sent by the peer",
                format!("other bytes from {at} on"),
            )
        }),
    }
}

/// Sorts out the arguments of the sending and receiving calls.
fn arguments(name: &str, args: &[Expr]) -> Args<Io> {
    let flags = |index: usize| match args.get(index) {
        Some(expr) => values::int32(expr),
        None => Ok(0),
    };
    match name {
        "read" | "write" | "recv" | "send" | "recvfrom" | "sendto" => Ok(Io {
            content: values::content(arg(args, 1)?)?,
            len: values::length(arg(args, 2)?)?,
            flags: flags(3)?,
            address: match args.get(4) {
                Some(expr) if name == "sendto" => values::address(expr)?.map(SocketAddr::V4),
                _ => None,
            },
            msg_flags: None,
            control: None,
        }),
        "readv" | "writev" => gather(values::iovec(arg(args, 1)?)?, 0),
        _ => {
            let Expr::Struct(fields) = arg(args, 1)? else {
                return Err("a msghdr is needed here".to_owned());
            };
            let iov = values::field(fields, "msg_iov").ok_or("a msghdr needs msg_iov")?;
            let mut io = gather(values::iovec(iov)?, flags(2)?)?;
            io.msg_flags = match values::field(fields, "msg_flags") {
                None | Some(Expr::Ellipsis) => None,
                Some(expr) => Some(values::int32(expr)?),
            };
            io.control = match values::field(fields, "msg_control") {
                None | Some(Expr::Ellipsis) => None,
                Some(expr) => Some(control::messages(expr)?),
            };
            if let Some(address) = values::field(fields, "msg_name") {
                io.address = values::address(address)?.map(SocketAddr::V4);
            }
            Ok(io)
        }
    }
}

fn gather(parts: Vec<values::Buffer>, flags: i32) -> Args<Io> {
    let len = parts.iter().map(|(_, len)| len).sum();
    let given = parts.iter().any(|(content, _)| content.is_some());
    let content = given
        .then(|| {
            parts
                .iter()
                .map(|(content, len)| content.as_ref()?.get(..*len).map(<[u8]>::to_vec))
                .collect::<Option<Vec<_>>>()
                .map(|parts| parts.concat())
        })
        .flatten();
    if given && content.is_none() {
        return Err("either all buffers or none are strings of their length".to_owned());
    }
    Ok(Io {
        content,
        len,
        flags,
        address: None,
        msg_flags: None,
        control: None,
    })
}
