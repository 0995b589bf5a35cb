//! Socket calls.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::net::SocketAddr;

use libc::{iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use super::{answer, done, memory, on};
use crate::instance::Instance;
use crate::world::{Call, Outcome};
use nix::errno::Errno;
use packetdrill_tests::run::{Received, SysResult, Target};

// SAFETY (all functions below): the tool passes the `userdata` that it was given, which `on` wants, and
// pointers that are as the system call of the same name wants them, which is what `memory` wants.

pub(super) unsafe extern "C" fn free(userdata: *mut c_void) {
    if !userdata.is_null() {
        // SAFETY: made by `Box::into_raw` in `packetdrill_interface_init`; `free` is the last call on it.
        drop(unsafe { Box::from_raw(userdata.cast::<Instance>()) });
    }
}

pub(super) unsafe extern "C" fn socket(
    userdata: *mut c_void,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            instance.with(|world| world.open(domain, kind, protocol))
        })
    })
}

pub(super) unsafe extern "C" fn bind(
    userdata: *mut c_void,
    fd: c_int,
    to: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            let to = memory::address(to, len)?.ok_or(Errno::EFAULT)?;
            instance.with(|world| {
                let socket = world.socket(fd)?;
                world.stack.bind(socket.handle, to)
            })
        })
    })
}

pub(super) unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            instance.with(|world| {
                let socket = world.socket(fd)?;
                world.stack.listen(socket.handle, backlog)
            })
        })
    })
}

pub(super) unsafe extern "C" fn accept(
    userdata: *mut c_void,
    fd: c_int,
    from: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            match instance.call(Call::Accept { fd })? {
                Outcome::Accepted(fd, peer) => {
                    memory::store_address(from, len, Some(peer))?;
                    Ok(fd)
                }
                _ => Err(Errno::EIO),
            }
        })
    })
}

pub(super) unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    to: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            let to = memory::address(to, len)?.ok_or(Errno::EFAULT)?;
            let begun = false;
            instance.call(Call::Connect { fd, to, begun }).map(drop)
        })
    })
}

fn received(instance: &Instance, fd: c_int, len: usize, flags: c_int) -> SysResult<Received> {
    let call = Call::Receive {
        fd,
        len: len.min(memory::LENGTH_MAX),
        flags,
        data: Vec::new(),
    };
    match instance.call(call)? {
        Outcome::Received(received) => Ok(received),
        _ => Err(Errno::EIO),
    }
}

fn sent(
    instance: &Instance,
    fd: c_int,
    data: Vec<u8>,
    flags: c_int,
    to: Option<SocketAddr>,
) -> SysResult<ssize_t> {
    let call = Call::Send {
        fd,
        data,
        flags,
        to,
        moved: 0,
        opening: false,
    };
    match instance.call(call)? {
        Outcome::Value(count) => Ok(count as ssize_t),
        _ => Err(Errno::EIO),
    }
}

pub(super) unsafe extern "C" fn read(
    userdata: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: see above.
    unsafe { recv(userdata, fd, buffer, len, 0) }
}

pub(super) unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    let nobody = std::ptr::null_mut();
    // SAFETY: see above; the address is not asked for.
    unsafe {
        recvfrom(
            userdata,
            fd,
            buffer,
            len,
            flags,
            nobody,
            std::ptr::null_mut(),
        )
    }
}

pub(super) unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            let received = received(instance, fd, len, flags)?;
            memory::write(buffer, len, &received.data)?;
            memory::store_address(from, from_len, received.source)?;
            Ok(received.len as ssize_t)
        })
    })
}

pub(super) unsafe extern "C" fn readv(
    userdata: *mut c_void,
    fd: c_int,
    vector: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
            let buffers = memory::buffers(vector, count)?;
            let received = received(instance, fd, memory::room(buffers), 0)?;
            memory::scatter(buffers, &received.data)?;
            Ok(received.len as ssize_t)
        })
    })
}

pub(super) unsafe extern "C" fn recvmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            let message = message.as_mut().ok_or(Errno::EFAULT)?;
            let buffers = memory::buffers(message.msg_iov, message.msg_iovlen)?;
            let received = received(instance, fd, memory::room(buffers), flags)?;
            memory::scatter(buffers, &received.data)?;
            let name = message.msg_name.cast();
            memory::store_address(name, &raw mut message.msg_namelen, received.source)?;
            message.msg_controllen = 0;
            message.msg_flags = received.flags;
            Ok(received.len as ssize_t)
        })
    })
}

pub(super) unsafe extern "C" fn write(
    userdata: *mut c_void,
    fd: c_int,
    buffer: *const c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: see above.
    unsafe { send(userdata, fd, buffer, len, 0) }
}

pub(super) unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    buffer: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: see above; no address is given.
    unsafe { sendto(userdata, fd, buffer, len, flags, std::ptr::null(), 0) }
}

pub(super) unsafe extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    buffer: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            let data = memory::read(buffer, len)?;
            let to = memory::address(to, to_len)?;
            sent(instance, fd, data, flags, to)
        })
    })
}

pub(super) unsafe extern "C" fn writev(
    userdata: *mut c_void,
    fd: c_int,
    vector: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
            let data = memory::gather(memory::buffers(vector, count)?)?;
            sent(instance, fd, data, 0, None)
        })
    })
}

pub(super) unsafe extern "C" fn sendmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            let message = message.as_ref().ok_or(Errno::EFAULT)?;
            if message.msg_controllen > 0 {
                // The stack's calls take no control messages.
                return Err(Errno::EOPNOTSUPP);
            }
            let buffers = memory::buffers(message.msg_iov, message.msg_iovlen)?;
            let to = memory::address(message.msg_name.cast(), message.msg_namelen)?;
            sent(instance, fd, memory::gather(buffers)?, flags, to)
        })
    })
}

pub(super) unsafe extern "C" fn fcntl(
    userdata: *mut c_void,
    fd: c_int,
    command: c_int,
    value: c_long,
) -> c_int {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            instance.with(|world| world.fcntl(fd, command, value as c_int))
        })
    })
}

pub(super) unsafe extern "C" fn ioctl(
    userdata: *mut c_void,
    fd: c_int,
    request: c_ulong,
    value: *mut c_int,
) -> c_int {
    // SAFETY: see above; the requests that the stack knows fill an integer.
    done(unsafe {
        on(userdata, |instance| {
            let count = instance.with(|world| {
                let socket = world.socket(fd)?;
                world.stack.ioctl(socket.handle, request)
            })?;
            *value.as_mut().ok_or(Errno::EFAULT)? = count;
            Ok(())
        })
    })
}

pub(super) unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    // SAFETY: see above.
    done(unsafe { on(userdata, |instance| instance.with(|world| world.close(fd))) })
}

pub(super) unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            instance.with(|world| {
                let socket = world.socket(fd)?;
                world.stack.shutdown(socket.handle, how)
            })
        })
    })
}

pub(super) unsafe extern "C" fn getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            let len = len.as_mut().ok_or(Errno::EFAULT)?;
            let room = *len as usize;
            let seen = instance.with(|world| {
                let socket = world.socket(fd)?;
                world.stack.get_option(socket.handle, level, name, room)
            })?;
            memory::write(value, room, &seen)?;
            *len = seen.len() as socklen_t;
            Ok(())
        })
    })
}

pub(super) unsafe extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            let value = memory::read(value, len as usize)?;
            instance.with(|world| world.set_option(fd, level, name, &value))
        })
    })
}
