//! Starting the zygote: a process with exactly two descriptors that executes the stub.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Starts `exe` as a child that sends no signal when it ends, with `memory` as descriptor 0 and
/// `socket` as 1. Returns its process id.
pub(crate) fn spawn(
    exe: BorrowedFd<'_>,
    memory: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
) -> io::Result<i32> {
    // SAFETY: a plain fork without a signal at the end. The child makes only system calls and
    // touches only its own stack, whatever locks other threads held.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            become_stub(exe.as_raw_fd(), memory.as_raw_fd(), socket.as_raw_fd());
        }
        pid => Ok(pid as i32),
    }
}

fn become_stub(exe: RawFd, memory: RawFd, socket: RawFd) -> ! {
    const FIRST_FREE: i32 = 10;
    let argv = [c"stub".as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: only async-signal-safe calls in the child of a fork, on its own copy of everything.
    unsafe {
        // Out of the way of 0 and 1 first.
        let exe = libc::fcntl(exe, libc::F_DUPFD_CLOEXEC, FIRST_FREE);
        let memory = libc::fcntl(memory, libc::F_DUPFD_CLOEXEC, FIRST_FREE);
        let socket = libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, FIRST_FREE);
        if libc::dup2(memory, 0) == 0 && libc::dup2(socket, 1) == 1 {
            libc::syscall(
                libc::SYS_close_range,
                2,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            libc::syscall(
                libc::SYS_execveat,
                exe,
                c"".as_ptr(),
                argv.as_ptr(),
                envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        libc::_exit(127)
    }
}
