//! `ptrace` and `wait` on one thread, by the thread that attached to it.

use std::io;

use sentry_abi::Regs;
use zerocopy::IntoBytes;

/// A thread that this thread traces.
#[derive(Clone, Copy)]
pub(crate) struct Tracee(i32);

/// Why a tracee stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the entry of a system call.
    Syscall,
    /// A signal is to be delivered.
    Signal(i32),
    /// Something of ptrace's own.
    Other,
    /// It is gone.
    Gone,
}

/// What `PTRACE_GETSIGINFO` says.
pub(crate) struct Info {
    pub(crate) code: i32,
    pub(crate) addr: u64,
}

const SYSEMU: libc::c_uint = 31;
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const SETSIGMASK: libc::c_uint = 0x420b;
const NT_X86_XSTATE: usize = 0x202;

impl Tracee {
    /// Attaches to a running thread, without stopping it. It dies with the tracer.
    pub(crate) fn seize(tid: i32) -> io::Result<Self> {
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        let tracee = Self(tid);
        tracee.call(libc::PTRACE_SEIZE, 0, options as usize)?;
        Ok(tracee)
    }

    /// `ptrace` on this tracee. `data` is a number or the address of memory of the caller's that is
    /// valid for the request.
    fn call(self, request: libc::c_uint, addr: usize, data: usize) -> io::Result<i64> {
        // SAFETY: the callers in this file pass memory that fits the request.
        match unsafe { libc::ptrace(request, self.0, addr, data) } {
            -1 => Err(io::Error::last_os_error()),
            value => Ok(value),
        }
    }

    /// Registers of a stopped tracee.
    pub(crate) fn registers(self) -> io::Result<Regs> {
        let mut regs = Regs::default();
        self.call(libc::PTRACE_GETREGS, 0, &raw mut regs as usize)?;
        Ok(regs)
    }

    /// Sets them.
    pub(crate) fn set_registers(self, regs: &Regs) -> io::Result<()> {
        self.call(libc::PTRACE_SETREGS, 0, regs as *const Regs as usize)
            .map(drop)
    }

    /// Runs it; its system calls are not carried out.
    pub(crate) fn run(self) -> io::Result<()> {
        self.call(SYSEMU, 0, 0).map(drop)
    }

    /// Delivers a signal; it stops at the first instruction of the handler.
    pub(crate) fn deliver(self, signal: i32) -> io::Result<()> {
        self.call(libc::PTRACE_SINGLESTEP, 0, signal as usize)
            .map(drop)
    }

    /// Lets it go on untraced.
    pub(crate) fn detach(self) -> io::Result<()> {
        self.call(libc::PTRACE_DETACH, 0, 0).map(drop)
    }

    /// Code and address of the signal that it stopped for.
    pub(crate) fn signal_info(self) -> io::Result<Info> {
        let mut info = [0u64; 16];
        self.call(libc::PTRACE_GETSIGINFO, 0, info.as_mut_ptr() as usize)?;
        Ok(Info {
            code: (info[1] as u32).cast_signed(),
            addr: info[2],
        })
    }

    /// The architecture of the system call that it stopped at (`AUDIT_ARCH_*`).
    pub(crate) fn syscall_arch(self) -> io::Result<u32> {
        let mut info = [0u32; 32];
        let len = size_of_val(&info);
        self.call(GET_SYSCALL_INFO, len, info.as_mut_ptr() as usize)?;
        Ok(info[1])
    }

    /// Sets its signal mask.
    pub(crate) fn set_signal_mask(self, mask: u64) -> io::Result<()> {
        self.call(SETSIGMASK, size_of::<u64>(), &raw const mask as usize)
            .map(drop)
    }

    /// The XSAVE area, `size` bytes at most.
    pub(crate) fn xstate(self, size: usize) -> io::Result<Vec<u8>> {
        let mut area = vec![0; size];
        let mut iov = libc::iovec {
            iov_base: area.as_mut_ptr().cast(),
            iov_len: size,
        };
        self.call(libc::PTRACE_GETREGSET, NT_X86_XSTATE, &raw mut iov as usize)?;
        area.truncate(iov.iov_len);
        Ok(area)
    }

    /// Sets it.
    pub(crate) fn set_xstate(self, area: &[u8]) -> io::Result<()> {
        let iov = libc::iovec {
            iov_base: area.as_bytes().as_ptr().cast_mut().cast(),
            iov_len: area.len(),
        };
        self.call(
            libc::PTRACE_SETREGSET,
            NT_X86_XSTATE,
            &raw const iov as usize,
        )
        .map(drop)
    }

    /// Waits until it stops or ends.
    pub(crate) fn wait(self) -> Stop {
        let mut status = 0;
        loop {
            // SAFETY: the status is this frame's.
            let got = unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) };
            if got == self.0 {
                break;
            }
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return Stop::Gone;
            }
        }
        const SYSCALL: i32 = libc::SIGTRAP | 0x80;
        match libc::WIFSTOPPED(status) {
            false => Stop::Gone,
            true if status >> 16 != 0 => Stop::Other,
            true => match libc::WSTOPSIG(status) {
                SYSCALL => Stop::Syscall,
                signal => Stop::Signal(signal),
            },
        }
    }
}

/// Whether the thread belongs to the process.
pub(crate) fn is_thread_of(pid: i32, tid: i32) -> bool {
    // SAFETY: no memory is involved; signal 0 only asks.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) == 0 }
}
