//! Sockets: making, naming and connecting them, and their options.

use std::sync::Arc;

use sentry_abi::Errno;
use smallvec::smallvec;

use super::table::Row;
use super::{Args, Block, OnSignal, Outcome, QueueRef, SysResult, WaitOn};
use crate::net::file::SocketFile;
use crate::net::inet::groups::is_question;
use crate::net::{Caller, Shutdown, Socket, SocketType};
use crate::task::Task;
use crate::vfs::OpenFile;
use crate::wait::Ready;

/// Longest address that is read (`struct sockaddr_storage`).
const ADDR_MAX: usize = 128;

/// Longest option value that is read or written.
const OPTION_MAX: usize = 4096;

/// This family's rows of the table.
pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        libc::SYS_socket,
        "socket",
        sys_socket,
        "AF_INET and AF_INET6 (stream, datagram, raw, ping), AF_UNIX, AF_PACKET (without rings), AF_NETLINK (route); with --network=host stream, datagram and AF_UNIX only",
    ),
    Row::full(libc::SYS_socketpair, "socketpair", sys_socketpair),
    Row::full(libc::SYS_bind, "bind", sys_bind),
    Row::full(libc::SYS_listen, "listen", sys_listen),
    Row::full(libc::SYS_accept, "accept", sys_accept),
    Row::full(libc::SYS_accept4, "accept4", sys_accept4),
    Row::full(libc::SYS_connect, "connect", sys_connect),
    Row::full(libc::SYS_getsockname, "getsockname", sys_getsockname),
    Row::full(libc::SYS_getpeername, "getpeername", sys_getpeername),
    Row::full(libc::SYS_shutdown, "shutdown", sys_shutdown),
    Row::partial(
        libc::SYS_setsockopt,
        "setsockopt",
        sys_setsockopt,
        "an unknown option is ENOPROTOOPT",
    ),
    Row::partial(
        libc::SYS_getsockopt,
        "getsockopt",
        sys_getsockopt,
        "an unknown option is ENOPROTOOPT",
    ),
];

/// The open file and the socket behind a descriptor.
pub(super) struct Target {
    pub(super) file: Arc<OpenFile>,
    pub(super) socket: Arc<dyn Socket>,
}

impl Target {
    /// # Errors
    /// EBADF, ENOTSOCK.
    pub(super) fn of(task: &Task, fd: i32) -> Result<Self, Errno> {
        let file = task.fds.get(fd)?;
        let socket = Arc::clone(SocketFile::of(&file)?.socket());
        Ok(Self { file, socket })
    }

    pub(super) fn socket_file(&self) -> &SocketFile {
        SocketFile::of(&self.file).expect("checked when the target was made")
    }

    /// Waits until the socket is ready for `mask`, unless the call must not wait: then EAGAIN, or
    /// `timeout_error` once `timeout_ns` has passed.
    pub(super) fn wait(
        &self,
        task: &mut Task,
        mask: Ready,
        timeout_ns: Option<u64>,
        dont_wait: bool,
    ) -> SysResult {
        if dont_wait || self.file.nonblocking() || task.call_state.timed_out {
            return Err(Errno::EAGAIN);
        }
        let deadline_ns = timeout_ns.map(|ns| task.deadline_after(ns));
        // With a timeout set, Linux does not restart the call (sock_intr_errno).
        let interrupted = if deadline_ns.is_some() {
            OnSignal::Interrupt
        } else {
            OnSignal::RestartIfAsked
        };
        let on = smallvec![WaitOn {
            queue: QueueRef::File(Arc::clone(self.file.ops())),
            mask
        }];
        Ok(Outcome::Block(Block {
            on,
            deadline_ns,
            interrupted,
        }))
    }
}

/// Reads a `struct sockaddr` of the length that the caller gave.
pub(super) fn read_addr(task: &Task, addr: u64, len: i32) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(len)
        .ok()
        .filter(|&len| len <= ADDR_MAX)
        .ok_or(Errno::EINVAL)?;
    let mut bytes = vec![0; len];
    task.mm.read(addr, &mut bytes)?;
    Ok(bytes)
}

/// Writes an address into the caller's buffer, cut to the space there is, and its full length
/// (`move_addr_to_user`).
pub(super) fn write_addr(task: &Task, bytes: &[u8], addr: u64, len_addr: u64) -> Result<(), Errno> {
    let space: i32 = task.mm.read_val(len_addr)?;
    let space = usize::try_from(space).map_err(|_| Errno::EINVAL)?;
    task.mm.write(addr, &bytes[..bytes.len().min(space)])?;
    task.mm.write_val(len_addr, &(bytes.len() as i32))
}

/// Splits the type argument of socket(2) into type and flags.
fn split_type(kind: i32) -> Result<(i32, i32), Errno> {
    const FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let (kind, flags) = (kind & 0xf, kind & !0xf);
    if flags & !FLAGS != 0 {
        Err(Errno::EINVAL)
    } else {
        Ok((kind, flags))
    }
}

fn install(task: &Task, socket: Arc<dyn Socket>, flags: i32) -> Result<i32, Errno> {
    // SOCK_NONBLOCK is O_NONBLOCK, SOCK_CLOEXEC is O_CLOEXEC.
    let file = SocketFile::open(socket, task.path_context(), flags);
    task.kernel.network().note_open(&file);
    task.fds.install(
        file,
        flags & libc::SOCK_CLOEXEC != 0,
        0,
        task.nofile_limit(),
    )
}

fn sys_socket(task: &mut Task, args: &Args) -> SysResult {
    let (kind, flags) = split_type(args.int(1))?;
    let wanted = SocketType {
        family: args.int(0),
        kind,
        protocol: args.int(2),
    };
    let cx = task.path_context();
    let socket = task
        .kernel
        .network()
        .socket(&Caller { path: &cx }, wanted)?;
    Ok((install(task, socket, flags)? as u64).into())
}

fn sys_socketpair(task: &mut Task, args: &Args) -> SysResult {
    let (kind, flags) = split_type(args.int(1))?;
    let wanted = SocketType {
        family: args.int(0),
        kind,
        protocol: args.int(2),
    };
    let cx = task.path_context();
    let (a, b) = task.kernel.network().pair(&Caller { path: &cx }, wanted)?;
    let a = install(task, a, flags)?;
    let done = install(task, b, flags).and_then(|b| {
        task.mm.write_val(args.ptr(3), &[a, b]).inspect_err(|_| {
            let _ = task.fds.close(b);
        })
    });
    if let Err(error) = done {
        task.fds.close(a)?;
        return Err(error);
    }
    Ok(0_u64.into())
}

fn sys_bind(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let addr = read_addr(task, args.ptr(1), args.int(2))?;
    let cx = task.path_context();
    target.socket.bind(&Caller { path: &cx }, &addr)?;
    Ok(0_u64.into())
}

fn sys_listen(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let cx = task.path_context();
    target.socket.listen(&Caller { path: &cx }, args.int(1))?;
    Ok(0_u64.into())
}

fn sys_accept(task: &mut Task, args: &Args) -> SysResult {
    accept(task, args, 0)
}

fn sys_accept4(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(3);
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    accept(task, args, flags)
}

fn accept(task: &mut Task, args: &Args, flags: i32) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let accepted = match target.socket.accept() {
        Err(Errno::EAGAIN) => {
            let timeout = target.socket_file().recv_timeout_ns();
            return target.wait(task, Ready::IN, timeout, false);
        }
        result => result?,
    };
    let peer = accepted.peer_addr().unwrap_or_default();
    let fd = install(task, accepted, flags)?;
    if args.ptr(1) != 0
        && let Err(error) = write_addr(task, &peer, args.ptr(1), args.ptr(2))
    {
        task.fds.close(fd)?;
        return Err(error);
    }
    Ok((fd as u64).into())
}

/// Set in `call_state.progress` once a handshake has begun.
const HANDSHAKE: u64 = 1;

fn sys_connect(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    if task.call_state.progress == HANDSHAKE {
        return finish_connect(task, &target);
    }
    let addr = read_addr(task, args.ptr(1), args.int(2))?;
    let cx = task.path_context();
    match target.socket.connect(&Caller { path: &cx }, &addr) {
        Err(Errno::EINPROGRESS) if !target.file.nonblocking() => {
            task.call_state.progress = HANDSHAKE;
            finish_connect(task, &target)
        }
        // An earlier, interrupted connect is still going on: a blocking call joins it.
        Err(Errno::EALREADY) if !target.file.nonblocking() => {
            task.call_state.progress = HANDSHAKE;
            finish_connect(task, &target)
        }
        Err(Errno::EINPROGRESS) => {
            target.file.note_no_space();
            Err(Errno::EINPROGRESS)
        }
        // A Unix listener whose backlog is full.
        Err(Errno::EAGAIN) => {
            let timeout = target.socket_file().send_timeout_ns();
            target.wait(task, Ready::OUT, timeout, false)
        }
        result => result.map(|()| 0_u64.into()),
    }
}

/// Waits for the end of a handshake, and tells how it ended.
fn finish_connect(task: &mut Task, target: &Target) -> SysResult {
    if !target
        .socket
        .readiness()
        .intersects(Ready::OUT | Ready::ERR | Ready::HUP)
    {
        if task.call_state.timed_out {
            return Err(Errno::EINPROGRESS);
        }
        let timeout = target.socket_file().send_timeout_ns();
        return target.wait(task, Ready::OUT | Ready::ERR | Ready::HUP, timeout, false);
    }
    target.socket.connect_result().map(|()| 0_u64.into())
}

fn sys_getsockname(task: &mut Task, args: &Args) -> SysResult {
    let addr = Target::of(task, args.int(0))?.socket.local_addr()?;
    write_addr(task, &addr, args.ptr(1), args.ptr(2))?;
    Ok(0_u64.into())
}

fn sys_getpeername(task: &mut Task, args: &Args) -> SysResult {
    let addr = Target::of(task, args.int(0))?.socket.peer_addr()?;
    write_addr(task, &addr, args.ptr(1), args.ptr(2))?;
    Ok(0_u64.into())
}

fn sys_shutdown(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    target.socket.shutdown(Shutdown::from_how(args.int(1))?)?;
    Ok(0_u64.into())
}

/// True for the two options that are the file's and not the provider's.
fn is_timeout(level: i32, name: i32) -> bool {
    level == libc::SOL_SOCKET && matches!(name, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO)
}

fn sys_setsockopt(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let (level, name, len) = (args.int(1), args.int(2), args.int(4));
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if level == libc::SOL_SOCKET && len < size_of::<i32>() && name != libc::SO_BINDTODEVICE {
        return Err(Errno::EINVAL);
    }
    let mut value = vec![0; len.min(OPTION_MAX)];
    task.mm.read(args.ptr(3), &mut value)?;
    if is_timeout(level, name) {
        let ns = parse_timeval(&value)?;
        target
            .socket_file()
            .set_timeout_ns(name == libc::SO_RCVTIMEO, ns);
        return Ok(0_u64.into());
    }
    if (level, name) == (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER) {
        value = read_program(task, &value)?;
    }
    let cx = task.path_context();
    target
        .socket
        .set_option(&Caller { path: &cx }, level, name, &value)?;
    Ok(0_u64.into())
}

/// The instructions that a `struct sock_fprog` names.
fn read_program(task: &Task, value: &[u8]) -> Result<Vec<u8>, Errno> {
    let fprog: &[u8; 16] = value.try_into().map_err(|_| Errno::EINVAL)?;
    let count = usize::from(u16::from_ne_bytes([fprog[0], fprog[1]]));
    let at = u64::from_ne_bytes(std::array::from_fn(|i| fprog[8 + i]));
    if count == 0 || count > netstack::bpf::INSNS_MAX || at == 0 {
        return Err(Errno::EINVAL);
    }
    let mut program = vec![0; count * netstack::bpf::INSN_LEN];
    task.mm.read(at, &mut program)?;
    Ok(program)
}

/// A `struct timeval` as nanoseconds; a negative time is none (`sock_set_timeout`).
fn parse_timeval(value: &[u8]) -> Result<u64, Errno> {
    let word = |at: usize| -> Result<i64, Errno> {
        let bytes = value.get(at..at + 8).ok_or(Errno::EINVAL)?;
        Ok(i64::from_ne_bytes(bytes.try_into().expect("eight bytes")))
    };
    let (seconds, micros) = (word(0)?, word(8)?);
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EDOM);
    }
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Ok(seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(micros as u64 * 1000))
}

fn sys_getsockopt(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let (level, name) = (args.int(1), args.int(2));
    let space: i32 = task.mm.read_val(args.ptr(4))?;
    let space = usize::try_from(space).map_err(|_| Errno::EINVAL)?;
    let value = if is_timeout(level, name) {
        let file = target.socket_file();
        let ns = if name == libc::SO_RCVTIMEO {
            file.recv_timeout_ns()
        } else {
            file.send_timeout_ns()
        };
        let ns = ns.unwrap_or(0);
        [ns / 1_000_000_000, ns % 1_000_000_000 / 1000]
            .iter()
            .flat_map(|n| n.to_ne_bytes())
            .collect()
    } else if is_question(level, name) {
        let mut asked = vec![0; space.min(OPTION_MAX)];
        task.mm.read(args.ptr(3), &mut asked)?;
        target.socket.ask_option(level, name, &asked)?
    } else {
        target.socket.get_option(level, name)?
    };
    let len = value.len().min(space);
    task.mm.write(args.ptr(3), &value[..len])?;
    task.mm.write_val(args.ptr(4), &(len as i32))?;
    Ok(0_u64.into())
}
