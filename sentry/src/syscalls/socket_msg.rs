//! Sockets: sending and receiving.

use std::sync::Arc;

use sentry_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::socket::{Target, read_addr, write_addr};
use super::table::Row;
use super::{Args, Outcome, SysResult};
use crate::mm::IoVecs;
use crate::net::control::{Control, SCM_MAX_FD, Ucred, Writer, parse};
use crate::net::{Caller, Received, SendMeta};
use crate::task::Task;
use crate::vfs::creds::cap;
use crate::wait::Ready;

/// Longest control buffer that is read (net.core.optmem_max).
const CONTROL_MAX: usize = 131_072;

/// Most messages in one sendmmsg or recvmmsg (UIO_MAXIOV).
const MESSAGES_MAX: u32 = 1024;

/// This family's rows of the table.
pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_sendto, "sendto", sys_sendto),
    Row::full(libc::SYS_recvfrom, "recvfrom", sys_recvfrom),
    Row::full(libc::SYS_sendmsg, "sendmsg", sys_sendmsg),
    Row::full(libc::SYS_recvmsg, "recvmsg", sys_recvmsg),
    Row::full(libc::SYS_sendmmsg, "sendmmsg", sys_sendmmsg),
    Row::partial(
        libc::SYS_recvmmsg,
        "recvmmsg",
        sys_recvmmsg,
        "the timeout ends the call also while the first message is awaited",
    ),
];

/// `struct msghdr`
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct MsgHdr {
    name: u64,
    name_len: i32,
    pad: i32,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: i32,
    pad2: i32,
}

/// `struct mmsghdr`
const MMSG_LEN: u64 = size_of::<MsgHdr>() as u64 + 8;

fn total_len(iovecs: &IoVecs) -> usize {
    iovecs.iter().map(|iovec| iovec.len as usize).sum()
}

/// What is left of `iovecs` after `done` bytes.
fn skip(mut iovecs: IoVecs, mut done: usize) -> IoVecs {
    for iovec in &mut iovecs {
        let now = done.min(iovec.len as usize);
        iovec.addr = iovec.addr.wrapping_add(now as u64);
        iovec.len -= now as u64;
        done -= now;
    }
    iovecs
}

fn read_iovecs(task: &Task, header: &MsgHdr) -> Result<IoVecs, Errno> {
    // More than IOV_MAX is EMSGSIZE here (`copy_msghdr_from_user`).
    let count = usize::try_from(header.iov_len).unwrap_or(usize::MAX);
    if count > 1024 {
        return Err(Errno::EMSGSIZE);
    }
    task.mm.read_iovecs(header.iov, count)
}

/// Sends what `iovecs` describe: the count, or `Err` with EAGAIN when it has to wait.
fn send(
    task: &mut Task,
    target: &Target,
    iovecs: IoVecs,
    to: Option<&[u8]>,
    control: Control,
    flags: i32,
) -> SysResult {
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    let total = total_len(&iovecs);
    let done = task.call_state.progress as usize;
    let cx = task.path_context();
    let caller = Caller { path: &cx };
    let waits = !dont_wait && !target.file.nonblocking();
    let flags = match done {
        0 => flags,
        // What connects has done so.
        _ => flags & !libc::MSG_FASTOPEN,
    };
    // Providers see from the flag whether the call waits for room.
    let flags = match waits {
        true => flags,
        false => flags | libc::MSG_DONTWAIT,
    };
    let meta = SendMeta { to, control, flags };
    let sent = target
        .socket
        .send(&caller, &mut task.mm.user_src(skip(iovecs, done)), meta);
    let sent = match sent {
        Ok(count) => done + count,
        Err(Errno::EAGAIN) if done > 0 && task.call_state.timed_out => return Ok(done.into()),
        Err(Errno::EAGAIN) => {
            target.file.note_no_space();
            let timeout = target.socket_file().send_timeout_ns();
            return target.wait(task, Ready::OUT, timeout, dont_wait);
        }
        // MSG_FASTOPEN, or a `connect` that has waited for data: the handshake has begun, and takes
        // none along.
        Err(Errno::EINPROGRESS | Errno::EALREADY) if waits && done == 0 => {
            let timeout = target.socket_file().send_timeout_ns();
            return target.wait(task, Ready::OUT | Ready::ERR | Ready::HUP, timeout, false);
        }
        Err(_) if done > 0 => done,
        Err(error) => {
            // Only streams raise it (`sk_stream_error`, `unix_stream_sendmsg`).
            let stream = target.socket.socket_type().kind == libc::SOCK_STREAM;
            if error == Errno::EPIPE && stream && flags & libc::MSG_NOSIGNAL == 0 {
                task.raise_sigpipe();
            }
            return Err(error);
        }
    };
    let blocks = !dont_wait
        && !target.file.nonblocking()
        && target.socket.socket_type().kind == libc::SOCK_STREAM;
    if sent < total && blocks && sent > done {
        task.call_state.progress = sent as u64;
        task.call_state.partly_done(sent as u64);
        let timeout = target.socket_file().send_timeout_ns();
        return target.wait(task, Ready::OUT, timeout, false);
    }
    Ok(sent.into())
}

fn sys_sendto(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let to = match args.ptr(4) {
        0 => None,
        addr => Some(read_addr(task, addr, args.int(5))?),
    };
    let iovecs = task.mm.message_iovec(args.ptr(1), args.ptr(2))?;
    send(
        task,
        &target,
        iovecs,
        to.as_deref(),
        Control::default(),
        args.int(3),
    )
}

fn sys_sendmsg(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    send_message(task, &target, args.ptr(1), args.int(2))
}

fn send_message(task: &mut Task, target: &Target, header: u64, flags: i32) -> SysResult {
    let header: MsgHdr = task.mm.read_val(header)?;
    let to = match header.name {
        0 => None,
        _ if header.name_len == 0 => None,
        addr => Some(read_addr(task, addr, header.name_len)?),
    };
    let iovecs = read_iovecs(task, &header)?;
    let control = read_control(task, &header)?;
    send(task, target, iovecs, to.as_deref(), control, flags)
}

fn sys_sendmmsg(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let flags = args.int(3);
    let mut sent = 0;
    while sent < u64::from(args.uint(2).min(MESSAGES_MAX)) {
        let header = args.ptr(1).wrapping_add(sent * MMSG_LEN);
        // Only the first message waits; then what has been sent is the answer.
        let wait = if sent == 0 { 0 } else { libc::MSG_DONTWAIT };
        match send_message(task, &target, header, flags | wait) {
            Ok(Outcome::Value(count)) => {
                task.mm
                    .write_val(header.wrapping_add(MMSG_LEN - 8), &(count as u32))?;
                task.call_state.progress = 0;
                sent += 1;
            }
            Ok(other) => {
                note_partial_message(task, header)?;
                return Ok(other);
            }
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent.into())
}

/// The first message of several waits: if it is interrupted with part of it done, that part is what the
/// call has done.
fn note_partial_message(task: &mut Task, header: u64) -> Result<(), Errno> {
    let done = task.call_state.progress;
    if done > 0 {
        let len = header.wrapping_add(MMSG_LEN - 8);
        task.mm.write_val(len, &(done as u32))?;
        task.call_state.partly_done(1);
    }
    Ok(())
}

fn read_control(task: &Task, header: &MsgHdr) -> Result<Control, Errno> {
    let mut control = Control::default();
    if header.control == 0 || header.control_len == 0 {
        return Ok(control);
    }
    let len = usize::try_from(header.control_len)
        .ok()
        .filter(|&len| len <= CONTROL_MAX);
    let mut buffer = vec![0; len.ok_or(Errno::ENOBUFS)?];
    task.mm.read(header.control, &mut buffer)?;
    for message in parse(&buffer)? {
        match (message.level, message.kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for fd in message.data.chunks_exact(4) {
                    let fd = i32::from_ne_bytes(fd.try_into().expect("four bytes"));
                    control.files.push(task.fds.get_any(fd)?);
                }
                if control.files.len() > SCM_MAX_FD {
                    return Err(Errno::EINVAL);
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                control.creds = Some(check_creds(task, message.data)?)
            }
            (libc::SOL_SOCKET, _) => return Err(Errno::EINVAL),
            (level, kind) => control.other.push((level, kind, message.data.to_vec())),
        }
    }
    Ok(control)
}

/// A task may claim only to be itself, unless it is privileged (`scm_check_creds`).
fn check_creds(task: &Task, data: &[u8]) -> Result<Ucred, Errno> {
    let word = |at: usize| {
        data.get(at..at + 4)
            .and_then(|b| b.first_chunk())
            .map(|b| u32::from_ne_bytes(*b))
            .ok_or(Errno::EINVAL)
    };
    let claimed = Ucred {
        pid: word(0)? as i32,
        uid: word(4)?,
        gid: word(8)?,
    };
    let creds = &task.creds;
    let uid = [creds.uid, creds.euid, creds.suid].contains(&claimed.uid) || creds.has(cap::SETUID);
    let gid = [creds.gid, creds.egid, creds.sgid].contains(&claimed.gid) || creds.has(cap::SETGID);
    let pid = claimed.pid == task.pid() || creds.has(cap::SYS_ADMIN);
    if uid && gid && pid {
        Ok(claimed)
    } else {
        Err(Errno::EPERM)
    }
}

/// Flags that the providers see.
const RECV_FLAGS: i32 = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_OOB | libc::MSG_ERRQUEUE;

/// Receives into `iovecs`. `Ok(Err(outcome))` says that the call has to wait.
fn receive(
    task: &mut Task,
    target: &Target,
    iovecs: &IoVecs,
    flags: i32,
) -> Result<Result<Received, Outcome>, Errno> {
    // Neither an urgent byte nor a report is waited for (`tcp_recv_urg`, `inet_recv_error`).
    let dont_wait = flags & (libc::MSG_DONTWAIT | libc::MSG_OOB | libc::MSG_ERRQUEUE) != 0;
    let done = task.call_state.progress as usize;
    let stream = target.socket.socket_type().kind == libc::SOCK_STREAM;
    let result = target.socket.recv(
        &mut task.mm.user_dst(skip(iovecs.clone(), done)),
        flags & RECV_FLAGS,
    );
    let once = flags & (libc::MSG_PEEK | libc::MSG_OOB | libc::MSG_ERRQUEUE) != 0;
    let waits_for_all = flags & libc::MSG_WAITALL != 0 && !once && stream;
    match result {
        Ok(mut received) => {
            let more = received.len > 0
                && done + received.len < total_len(iovecs)
                && received.control.files.is_empty()
                && received.control.creds.is_none();
            received.len += done;
            if waits_for_all && more && !dont_wait && !target.file.nonblocking() {
                task.call_state.progress = received.len as u64;
                task.call_state.partly_done(received.len as u64);
                return receive(task, target, iovecs, flags);
            }
            Ok(Ok(received))
        }
        Err(Errno::EAGAIN) if done > 0 && task.call_state.timed_out => Ok(Ok(Received {
            len: done,
            ..Received::default()
        })),
        Err(Errno::EAGAIN) => {
            let timeout = target.socket_file().recv_timeout_ns();
            target.wait(task, Ready::IN, timeout, dont_wait).map(Err)
        }
        Err(_) if done > 0 => Ok(Ok(Received {
            len: done,
            ..Received::default()
        })),
        Err(error) => Err(error),
    }
}

fn sys_recvfrom(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let iovecs = task.mm.message_iovec(args.ptr(1), args.ptr(2))?;
    match receive(task, &target, &iovecs, args.int(3))? {
        Ok(received) => {
            if args.ptr(4) != 0 {
                write_addr(task, &received.from, args.ptr(4), args.ptr(5))?;
            }
            Ok(received.len.into())
        }
        Err(outcome) => Ok(outcome),
    }
}

fn sys_recvmsg(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    receive_message(task, &target, args.ptr(1), args.int(2))
}

fn receive_message(task: &mut Task, target: &Target, addr: u64, flags: i32) -> SysResult {
    let mut header: MsgHdr = task.mm.read_val(addr)?;
    let iovecs = read_iovecs(task, &header)?;
    let received = match receive(task, target, &iovecs, flags)? {
        Ok(received) => received,
        Err(outcome) => return Ok(outcome),
    };
    if header.name != 0 {
        let space = usize::try_from(header.name_len).map_err(|_| Errno::EINVAL)?;
        task.mm.write(
            header.name,
            &received.from[..received.from.len().min(space)],
        )?;
        header.name_len = received.from.len() as i32;
    }
    header.flags = received.flags | flags & libc::MSG_CMSG_CLOEXEC;
    let space = if header.control == 0 {
        0
    } else {
        header.control_len as usize
    };
    let (control, truncated) = write_control(task, received.control, space, flags)?;
    if truncated {
        header.flags |= libc::MSG_CTRUNC;
    }
    if !control.is_empty() {
        task.mm.write(header.control, &control)?;
    }
    header.control_len = control.len() as u64;
    task.mm.write_val(addr, &header)?;
    Ok(received.len.into())
}

/// Turns what came along into control messages; files become descriptors as far as there is room.
fn write_control(
    task: &Task,
    control: Control,
    space: usize,
    flags: i32,
) -> Result<(Vec<u8>, bool), Errno> {
    let mut writer = Writer::new(space.min(CONTROL_MAX));
    if let Some(creds) = control.creds {
        writer.put(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &creds.to_bytes());
    }
    for (level, kind, data) in &control.other {
        writer.put(*level, *kind, data);
    }
    if !control.files.is_empty() {
        let room = writer.data_space().unwrap_or(0) / 4;
        let cloexec = flags & libc::MSG_CMSG_CLOEXEC != 0;
        let mut numbers = Vec::new();
        for file in control.files.iter().take(room) {
            match task
                .fds
                .install(Arc::clone(file), cloexec, 0, task.nofile_limit())
            {
                Ok(fd) => numbers.extend_from_slice(&fd.to_ne_bytes()),
                // Out of descriptors: the rest is lost, and MSG_CTRUNC says so.
                Err(_) => break,
            }
        }
        if numbers.len() / 4 < control.files.len() {
            writer.set_truncated();
        }
        if !numbers.is_empty() {
            writer.put(libc::SOL_SOCKET, libc::SCM_RIGHTS, &numbers);
        }
    }
    Ok(writer.finish())
}

/// Writes back what is left of a timeout (`do_recvmmsg`): that, in nanoseconds; `None` without one.
fn put_time_left(task: &Task, addr: u64) -> Result<Option<u64>, Errno> {
    let Some(deadline) = task.call_state.deadline_ns.filter(|_| addr != 0) else {
        return Ok(None);
    };
    let left = deadline.saturating_sub(task.now_ns());
    task.mm
        .write_val(addr, &[left / 1_000_000_000, left % 1_000_000_000])?;
    Ok(Some(left))
}

fn sys_recvmmsg(task: &mut Task, args: &Args) -> SysResult {
    let target = Target::of(task, args.int(0))?;
    let flags = args.int(3);
    if args.ptr(4) != 0 {
        let timeout: [i64; 2] = task.mm.read_val(args.ptr(4))?;
        let valid = timeout[0] >= 0 && (0..1_000_000_000).contains(&timeout[1]);
        if !valid {
            return Err(Errno::EINVAL);
        }
        if task.call_state.timed_out {
            return Ok(0_u64.into());
        }
        task.deadline_after(
            (timeout[0] as u64)
                .saturating_mul(1_000_000_000)
                .saturating_add(timeout[1] as u64),
        );
    }
    let mut count = 0;
    while count < u64::from(args.uint(2).min(MESSAGES_MAX)) {
        let header = args.ptr(1).wrapping_add(count * MMSG_LEN);
        let wait = if count == 0 { 0 } else { libc::MSG_DONTWAIT };
        match receive_message(task, &target, header, flags & !libc::MSG_WAITFORONE | wait) {
            Ok(Outcome::Value(len)) => {
                task.mm
                    .write_val(header.wrapping_add(MMSG_LEN - 8), &(len as u32))?;
                task.call_state.progress = 0;
                count += 1;
                if put_time_left(task, args.ptr(4))? == Some(0) {
                    break;
                }
            }
            Ok(Outcome::Block(mut block)) => {
                note_partial_message(task, header)?;
                block.deadline_ns = block.deadline_ns.or(task.call_state.deadline_ns);
                return Ok(Outcome::Block(block));
            }
            Ok(other) => return Ok(other),
            Err(_) if count > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(count.into())
}
