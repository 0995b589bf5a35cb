//! Calls that make, name and end sockets.

use std::net::SocketAddr;

use super::super::config::IpVersion;
use super::super::flow::Ports;
use super::{Args, Attempt, File, Progress, Runner, Socket, arg, values};
use crate::ast::Expr;
use nix::errno::Errno;

impl Runner<'_> {
    pub(super) fn sys_socket(&mut self, args: &[Expr], result: &Expr) -> Args<Attempt> {
        // `...` stands for the family under test.
        let domain = match arg(args, 0)? {
            Expr::Ellipsis if self.config.ip_version == IpVersion::V4 => libc::AF_INET,
            Expr::Ellipsis => libc::AF_INET6,
            expr => values::int32(expr)?,
        };
        let kind = values::int32(arg(args, 1)?)?;
        let protocol = values::int32(arg(args, 2)?)?;
        let plain = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
        let handle = match self.target.socket(domain, plain, protocol) {
            Ok(handle) => handle,
            Err(errno) => return Ok(Err(errno).into()),
        };
        self.flows.open();
        let socket = Socket {
            handle,
            nonblock: kind & libc::SOCK_NONBLOCK != 0,
            stream: plain == libc::SOCK_STREAM,
            received: 0,
            sent: 0,
            fast_connect: false,
            deferred: false,
        };
        let fd = self.install(result, File::Socket(socket))?;
        self.files.current = Some(fd);
        Ok(Ok(fd).into())
    }

    /// Gives a new file the number that the script expects, which must be free.
    pub(super) fn install(&mut self, result: &Expr, file: File) -> Args<i64> {
        let fd = match result {
            Expr::Ellipsis => self.lowest_free(),
            // The script expects an error, but the call worked: any number will show that.
            expr => match values::int(expr)? {
                fd if fd < 0 => self.lowest_free(),
                fd => fd,
            },
        };
        if let Some(old) = self.files.table.remove(&fd) {
            if !self.config.lenient {
                return Err(format!("descriptor {fd} is in use already"));
            }
            // The classic tool lets the newer one have the name; the older stays open.
            let hidden = self
                .files
                .table
                .keys()
                .next()
                .map_or(-1, |least| least.min(&0) - 1);
            self.files.table.insert(hidden, old);
        }
        self.files.table.insert(fd, file);
        Ok(fd)
    }

    fn lowest_free(&self) -> i64 {
        (3..)
            .find(|fd| !self.files.table.contains_key(fd))
            .unwrap_or(3)
    }

    pub(super) fn sys_bind(&mut self, args: &[Expr]) -> Args<Attempt> {
        let address = values::address(arg(args, 1)?)?.map(SocketAddr::V4);
        let address = address.unwrap_or(self.config.addresses.local);
        let address = self.config.for_socket(address);
        self.with_socket(args, |runner, socket| {
            runner.target.bind(socket.handle, address)?;
            Ok(0)
        })
    }

    pub(super) fn sys_listen(&mut self, args: &[Expr]) -> Args<Attempt> {
        let backlog = values::int32(arg(args, 1)?)?;
        self.flows.open();
        self.with_socket(args, |runner, socket| {
            runner.target.listen(socket.handle, backlog)?;
            Ok(0)
        })
    }

    pub(super) fn sys_accept(&mut self, args: &[Expr], result: &Expr) -> Args<Attempt> {
        let listener = match self.socket(values::int(arg(args, 0)?)?) {
            Ok(listener) => listener,
            Err(errno) => return Ok(Err(errno).into()),
        };
        match self.target.accept(listener.handle) {
            Err(Errno::EAGAIN) if !listener.nonblock => Ok(Attempt::Wait),
            Err(errno) => Ok(Err(errno).into()),
            Ok((handle, peer)) => {
                let socket = Socket {
                    handle,
                    nonblock: false,
                    stream: true,
                    received: 0,
                    sent: 0,
                    fast_connect: false,
                    deferred: false,
                };
                let fd = self.install(result, File::Socket(socket))?;
                self.files.current = Some(fd);
                self.select_flow(handle, peer);
                Ok(Ok(fd).into())
            }
        }
    }

    /// Lines without ports are about this connection from now on.
    pub(super) fn select_flow(&mut self, handle: usize, peer: SocketAddr) {
        if let Ok(local) = self.target.local_address(handle) {
            self.flows.select(Ports {
                local: local.port(),
                remote: peer.port(),
            });
        }
    }

    pub(super) fn sys_connect(&mut self, args: &[Expr], progress: &mut Progress) -> Args<Attempt> {
        let fd = values::int(arg(args, 0)?)?;
        let address = values::address(arg(args, 1)?)?.map(SocketAddr::V4);
        let address = address.unwrap_or(self.config.addresses.remote);
        let address = self.config.for_socket(address);
        let socket = match self.socket(fd) {
            Ok(socket) => socket,
            Err(errno) => return Ok(Err(errno).into()),
        };
        let result = self.target.connect(socket.handle, address);
        if let (false, true, Ok(())) = (progress.again, socket.fast_connect, &result)
            && let Some(socket) = self.socket_mut(fd)
        {
            socket.deferred = true;
        }
        if !progress.again && matches!(result, Ok(()) | Err(Errno::EINPROGRESS)) {
            self.files.current = Some(fd);
            self.flows.open();
        }
        Ok(match result {
            Err(Errno::EINPROGRESS | Errno::EALREADY) if !socket.nonblock => Attempt::Wait,
            Err(Errno::EISCONN) if progress.again => Ok(0).into(),
            result => result.map(|()| 0).into(),
        })
    }

    pub(super) fn sys_close(&mut self, args: &[Expr]) -> Args<Attempt> {
        let fd = values::int(arg(args, 0)?)?;
        Ok(match self.files.table.remove(&fd) {
            None => Err(Errno::EBADF),
            Some(File::Epoll(_) | File::TargetEpoll(_)) => Ok(0),
            Some(File::Socket(socket)) => {
                for file in self.files.table.values_mut() {
                    if let File::Epoll(interest) = file {
                        interest.forget(fd);
                    }
                }
                self.target.close(socket.handle).map(|()| 0)
            }
        }
        .into())
    }

    pub(super) fn sys_shutdown(&mut self, args: &[Expr]) -> Args<Attempt> {
        let how = values::int32(arg(args, 1)?)?;
        self.with_socket(args, |runner, socket| {
            runner.target.shutdown(socket.handle, how)?;
            Ok(0)
        })
    }

    /// getsockname and getpeername: an address in the script is compared.
    pub(super) fn sys_name(&mut self, name: &str, args: &[Expr]) -> Args<Attempt> {
        let wanted = match args.get(1) {
            Some(expr) => values::address(expr)?,
            None => None,
        };
        let socket = match self.socket(values::int(arg(args, 0)?)?) {
            Ok(socket) => socket,
            Err(errno) => return Ok(Err(errno).into()),
        };
        let address = if name == "getsockname" {
            self.target.local_address(socket.handle)
        } else {
            self.target.peer_address(socket.handle)
        };
        let mut attempt = Attempt::from(address.map(|_| 0));
        if let (Attempt::Done(returned), Some(wanted), Ok(address)) =
            (&mut attempt, wanted, address)
        {
            let wanted = self.config.for_socket(SocketAddr::V4(wanted));
            let row = super::Row::new("address", wanted.to_string(), address.to_string());
            returned.rows.push(row);
        }
        Ok(attempt)
    }

    /// A call on the socket that the first argument names.
    pub(super) fn with_socket(
        &mut self,
        args: &[Expr],
        call: impl FnOnce(&mut Self, &Socket) -> Result<i64, Errno>,
    ) -> Args<Attempt> {
        let fd = values::int(arg(args, 0)?)?;
        Ok(match self.socket(fd) {
            Ok(socket) => call(self, &socket),
            Err(errno) => Err(errno),
        }
        .into())
    }
}
