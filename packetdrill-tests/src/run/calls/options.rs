//! fcntl, socket options and ioctl.

use super::{Args, Attempt, Returned, Row, Runner, arg, values};
use crate::ast::Expr;
use nix::errno::Errno;

impl Runner<'_> {
    /// The runner keeps O_NONBLOCK itself: targets never block.
    pub(super) fn sys_fcntl(&mut self, args: &[Expr]) -> Args<Attempt> {
        let fd = values::int(arg(args, 0)?)?;
        let command = values::int32(arg(args, 1)?)?;
        let value = match args.get(2) {
            Some(expr) => values::int32(expr)?,
            None => 0,
        };
        let Some(socket) = self.socket_mut(fd) else {
            return Ok(Err(Errno::EBADF).into());
        };
        match command {
            libc::F_SETFL => {
                socket.nonblock = value & libc::O_NONBLOCK != 0;
                Ok(Ok(0).into())
            }
            libc::F_GETFL => {
                let nonblock = if socket.nonblock { libc::O_NONBLOCK } else { 0 };
                Ok(Ok(i64::from(libc::O_RDWR | nonblock)).into())
            }
            _ => Err("only F_GETFL and F_SETFL are supported".to_owned()),
        }
    }

    pub(super) fn sys_setsockopt(&mut self, args: &[Expr]) -> Args<Attempt> {
        let level = values::int32(arg(args, 1)?)?;
        let name = values::int32(arg(args, 2)?)?;
        let len = values::length(arg(args, 4)?)?;
        let value = values::option_bytes(arg(args, 3)?, len)?;
        let done = self.with_socket(args, |runner, socket| {
            runner
                .target
                .set_option(socket.handle, level, name, &value)?;
            Ok(0)
        })?;
        let fd = values::int(arg(args, 0)?)?;
        if let Attempt::Done(Returned { value: Ok(_), .. }) = &done
            && (level, name) == (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)
            && let Some(socket) = self.socket_mut(fd)
        {
            socket.fast_connect = value.iter().any(|byte| *byte != 0);
        }
        Ok(done)
    }

    pub(super) fn sys_getsockopt(&mut self, args: &[Expr]) -> Args<Attempt> {
        let level = values::int32(arg(args, 1)?)?;
        let name = values::int32(arg(args, 2)?)?;
        let expected = arg(args, 3)?;
        let len = match arg(args, 4)? {
            Expr::Ellipsis => 4,
            expr => values::length(expr)?,
        };
        let socket = match self.socket(values::int(arg(args, 0)?)?) {
            Ok(socket) => socket,
            Err(errno) => return Ok(Err(errno).into()),
        };
        let value = match self.target.get_option(socket.handle, level, name, len) {
            Ok(value) => value,
            Err(errno) => return Ok(Err(errno).into()),
        };
        let rows = match expected {
            Expr::Ellipsis => Vec::new(),
            expr => vec![value_row(expr, &value)?],
        };
        Ok(Attempt::Done(Returned { value: Ok(0), rows }))
    }

    pub(super) fn sys_ioctl(&mut self, args: &[Expr]) -> Args<Attempt> {
        let request = values::int(arg(args, 1)?)?;
        let socket = match self.socket(values::int(arg(args, 0)?)?) {
            Ok(socket) => socket,
            Err(errno) => return Ok(Err(errno).into()),
        };
        let value = match self.target.ioctl(socket.handle, request as u64) {
            Ok(value) => value,
            Err(errno) => return Ok(Err(errno).into()),
        };
        let rows = match args.get(2) {
            None | Some(Expr::Ellipsis) => Vec::new(),
            Some(expr) => vec![Row::new(
                "value",
                values::int(expr)?.to_string(),
                value.to_string(),
            )],
        };
        Ok(Attempt::Done(Returned { value: Ok(0), rows }))
    }
}

/// Compares an option's bytes with the number, string or structure in the script.
fn value_row(expected: &Expr, seen: &[u8]) -> Args<Row> {
    let is_text = matches!(expected, Expr::Str(_));
    let mut wanted = values::option_bytes(expected, seen.len())?;
    if is_text {
        let end = seen.iter().position(|byte| *byte == 0);
        let seen = &seen[..end.unwrap_or(seen.len())];
        wanted.truncate(wanted.iter().position(|b| *b == 0).unwrap_or(wanted.len()));
        return Ok(Row::new(
            "value",
            String::from_utf8_lossy(&wanted),
            String::from_utf8_lossy(seen),
        ));
    }
    Ok(Row::new("value", numbers(&wanted), numbers(seen)))
}

/// Bytes as the integers that they usually are.
fn numbers(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes
        .chunks(4)
        .map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            i32::from_le_bytes(word).to_string()
        })
        .collect();
    words.join(" ")
}
