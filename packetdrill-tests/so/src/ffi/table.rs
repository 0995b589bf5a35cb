//! The structure of function pointers, in the order that the tool has it.
//!
//! `fcntl` and `ioctl` have `...` in C. Callers pass what follows in the registers of ordinary arguments
//! on the targets that Linux runs this on (x86-64 and aarch64), so that one fixed argument takes it.

use std::ffi::{c_int, c_long, c_uint, c_ulong, c_void};

use libc::{
    epoll_event, iovec, loff_t, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t,
    timeval, useconds_t,
};

use super::calls::*;
use super::device::*;

/// Declares the structure, and its making from the functions of the same names.
macro_rules! interface {
    ($($(#[$doc:meta])* $name:ident: fn($($arg:ty),*) $(-> $result:ty)?;)*) => {
        /// The tool's `struct packetdrill_interface`.
        #[repr(C)]
        #[derive(Debug)]
        pub struct PacketdrillInterface {
            /// The first argument of every function.
            pub userdata: *mut c_void,
            $(
                $(#[$doc])*
                pub $name: unsafe extern "C" fn(*mut c_void $(, $arg)*) $(-> $result)?,
            )*
        }

        impl PacketdrillInterface {
            pub(super) fn new(userdata: *mut c_void) -> Self {
                Self { userdata, $($name),* }
            }
        }
    };
}

interface! {
    /// Ends the instance; no call may be under way.
    free: fn();
    /// socket(2).
    socket: fn(c_int, c_int, c_int) -> c_int;
    /// bind(2).
    bind: fn(c_int, *const sockaddr, socklen_t) -> c_int;
    /// listen(2).
    listen: fn(c_int, c_int) -> c_int;
    /// accept(2).
    accept: fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    /// connect(2).
    connect: fn(c_int, *const sockaddr, socklen_t) -> c_int;
    /// read(2).
    read: fn(c_int, *mut c_void, size_t) -> ssize_t;
    /// readv(2).
    readv: fn(c_int, *const iovec, c_int) -> ssize_t;
    /// recv(2).
    recv: fn(c_int, *mut c_void, size_t, c_int) -> ssize_t;
    /// recvfrom(2).
    recvfrom: fn(c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;
    /// recvmsg(2).
    recvmsg: fn(c_int, *mut msghdr, c_int) -> ssize_t;
    /// write(2).
    write: fn(c_int, *const c_void, size_t) -> ssize_t;
    /// writev(2).
    writev: fn(c_int, *const iovec, c_int) -> ssize_t;
    /// send(2).
    send: fn(c_int, *const c_void, size_t, c_int) -> ssize_t;
    /// sendto(2).
    sendto: fn(c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t;
    /// sendmsg(2).
    sendmsg: fn(c_int, *const msghdr, c_int) -> ssize_t;
    /// fcntl(2).
    fcntl: fn(c_int, c_int, c_long) -> c_int;
    /// ioctl(2).
    ioctl: fn(c_int, c_ulong, *mut c_int) -> c_int;
    /// close(2).
    close: fn(c_int) -> c_int;
    /// shutdown(2).
    shutdown: fn(c_int, c_int) -> c_int;
    /// getsockopt(2).
    getsockopt: fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
    /// setsockopt(2).
    setsockopt: fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
    /// poll(2).
    poll: fn(*mut pollfd, nfds_t, c_int) -> c_int;
    /// Hands the stack a packet that begins at its IP header.
    netdev_send: fn(*const c_void, size_t) -> c_int;
    /// Waits for a packet of the stack's; the count is 0 if none comes.
    netdev_receive: fn(*mut c_void, *mut size_t, *mut i64) -> c_int;
    /// usleep(3), in virtual time.
    usleep: fn(useconds_t) -> c_int;
    /// gettimeofday(2), of virtual time.
    gettimeofday: fn(*mut timeval, *mut c_void) -> c_int;
    /// epoll_create(2).
    epoll_create: fn(c_int) -> c_int;
    /// epoll_ctl(2).
    epoll_ctl: fn(c_int, c_int, c_int, *mut epoll_event) -> c_int;
    /// epoll_wait(2).
    epoll_wait: fn(c_int, *mut epoll_event, c_int, c_int) -> c_int;
    /// pipe(2): ENOSYS.
    pipe: fn(*mut c_int) -> c_int;
    /// splice(2): ENOSYS.
    splice: fn(c_int, *mut loff_t, c_int, *mut loff_t, size_t, c_uint) -> ssize_t;
}
