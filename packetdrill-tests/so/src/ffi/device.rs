//! Waiting, packets and time.

use std::ffi::{c_int, c_uint, c_void};

use libc::{epoll_event, loff_t, nfds_t, pollfd, size_t, ssize_t, timeval, useconds_t};

use super::{answer, done, memory, on};
use crate::instance::Instance;
use crate::world::{Call, Outcome};
use nix::errno::Errno;
use packetdrill_tests::ast::Micros;
use packetdrill_tests::run::Target;

// SAFETY (all functions below): the tool passes the `userdata` that it was given, which `on` wants, and
// pointers that are as the system call of the same name wants them, which is what `memory` wants.

/// When a call with this timeout in milliseconds gives up: never, if it is negative.
fn deadline(instance: &Instance, timeout: c_int) -> Option<Micros> {
    let wait = u32::try_from(timeout).ok()?;
    let now = instance.with(|world| world.stack.now());
    Some(now.saturating_add(Micros::from(wait) * 1_000))
}

pub(super) unsafe extern "C" fn poll(
    userdata: *mut c_void,
    entries: *mut pollfd,
    count: nfds_t,
    timeout: c_int,
) -> c_int {
    const ENTRIES_MAX: nfds_t = 1024;
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            if count > ENTRIES_MAX {
                return Err(Errno::EINVAL);
            }
            let entries = match count {
                0 => &mut [],
                _ if entries.is_null() => return Err(Errno::EFAULT),
                _ => std::slice::from_raw_parts_mut(entries, count as usize),
            };
            let call = Call::Poll {
                entries: entries
                    .iter()
                    .map(|entry| (entry.fd, entry.events))
                    .collect(),
                deadline: deadline(instance, timeout),
            };
            let Outcome::Ready(ready) = instance.call(call)? else {
                return Err(Errno::EIO);
            };
            for (entry, bits) in entries.iter_mut().zip(&ready) {
                entry.revents = *bits;
            }
            Ok(ready.iter().filter(|bits| **bits != 0).count() as c_int)
        })
    })
}

pub(super) unsafe extern "C" fn netdev_send(
    userdata: *mut c_void,
    packet: *const c_void,
    len: size_t,
) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            instance.inject(memory::read(packet, len)?)
        })
    })
}

pub(super) unsafe extern "C" fn netdev_receive(
    userdata: *mut c_void,
    buffer: *mut c_void,
    count: *mut size_t,
    time_usecs: *mut i64,
) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            let count = count.as_mut().ok_or(Errno::EFAULT)?;
            let time = time_usecs.as_mut().ok_or(Errno::EFAULT)?;
            let room = std::mem::replace(count, 0);
            if let Some((packet, at)) = instance.next_packet() {
                memory::write(buffer, room, &packet)?;
                *count = packet.len().min(room);
                *time = at;
            }
            Ok(())
        })
    })
}

pub(super) unsafe extern "C" fn usleep(userdata: *mut c_void, duration: useconds_t) -> c_int {
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            instance.sleep(Micros::from(duration));
            Ok(())
        })
    })
}

pub(super) unsafe extern "C" fn gettimeofday(
    userdata: *mut c_void,
    time: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    const SECOND: Micros = 1_000_000;
    // SAFETY: see above.
    done(unsafe {
        on(userdata, |instance| {
            let now = instance.now();
            *time.as_mut().ok_or(Errno::EFAULT)? = timeval {
                tv_sec: now.div_euclid(SECOND),
                tv_usec: now.rem_euclid(SECOND),
            };
            Ok(())
        })
    })
}

pub(super) unsafe extern "C" fn epoll_create(userdata: *mut c_void, size: c_int) -> c_int {
    // SAFETY: see above.
    answer(unsafe {
        on(userdata, |instance| {
            if size <= 0 {
                return Err(Errno::EINVAL);
            }
            instance.with(crate::world::World::epoll_create)
        })
    })
}

pub(super) unsafe extern "C" fn epoll_ctl(
    userdata: *mut c_void,
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: see above; the event is packed, and read as a whole.
    done(unsafe {
        on(userdata, |instance| {
            let (events, data) = match event.is_null() {
                true if operation == libc::EPOLL_CTL_DEL => (0, 0),
                true => return Err(Errno::EFAULT),
                false => {
                    let event = event.read_unaligned();
                    (event.events.cast_signed(), event.u64)
                }
            };
            instance.with(|world| world.epoll_control(epoll, operation, fd, events, data))
        })
    })
}

pub(super) unsafe extern "C" fn epoll_wait(
    userdata: *mut c_void,
    epoll: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: see above; no more than `max` events are written.
    answer(unsafe {
        on(userdata, |instance| {
            let max = usize::try_from(max).map_err(|_| Errno::EINVAL)?;
            if events.is_null() || max == 0 {
                return Err(if max == 0 {
                    Errno::EINVAL
                } else {
                    Errno::EFAULT
                });
            }
            let deadline = deadline(instance, timeout);
            let call = Call::EpollWait {
                epoll,
                max,
                deadline,
            };
            let Outcome::Events(ready) = instance.call(call)? else {
                return Err(Errno::EIO);
            };
            for (index, (bits, data)) in ready.iter().take(max).enumerate() {
                events.add(index).write_unaligned(epoll_event {
                    events: *bits,
                    u64: *data,
                });
            }
            Ok(ready.len().min(max) as c_int)
        })
    })
}

pub(super) unsafe extern "C" fn pipe(_userdata: *mut c_void, _ends: *mut c_int) -> c_int {
    done(Err(Errno::ENOSYS))
}

pub(super) unsafe extern "C" fn splice(
    _userdata: *mut c_void,
    _from: c_int,
    _from_offset: *mut loff_t,
    _to: c_int,
    _to_offset: *mut loff_t,
    _len: size_t,
    _flags: c_uint,
) -> ssize_t {
    answer(Err(Errno::ENOSYS))
}
