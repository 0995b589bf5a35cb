//! The thread that traces one guest thread: it does what it is asked to, one thing at a time.

use sentry_abi::Regs;

use crate::platform::fp::FpLayout;
use crate::platform::sys::trace::{Stop, Tracee};
use crate::platform::systrap::{TEXT, Thread};
use crate::platform::{Access, Event};

/// The tracee has ended, or does what no guest thread does.
#[derive(Debug)]
pub(super) struct Lost;

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// A traced guest thread, stopped.
pub(super) struct Tracer {
    tracee: Tracee,
    pub(super) fp: FpLayout,
}

impl Tracer {
    /// Attaches to a thread that waits in the stub, and has it load its first frame, which ends at
    /// an undefined instruction: its signal stack and mask are then as they should be.
    pub(super) fn attach(thread: &Thread) -> Result<Self, Lost> {
        let tracee = Tracee::seize(thread.tid().ok_or(Lost)?)?;
        let regs = Regs {
            rip: TEXT,
            eflags: 0x202,
            ..Regs::default()
        };
        thread.resume(&regs);
        loop {
            match tracee.wait() {
                Stop::Signal(libc::SIGILL) if tracee.registers()?.rip == TEXT => break,
                Stop::Gone => return Err(Lost),
                _ => tracee.run()?,
            }
        }
        Ok(Self {
            tracee,
            fp: thread.fp_layout(),
        })
    }

    /// Runs guest code until something happens; `None` is the reserved signal.
    pub(super) fn run(&self, thread: &Thread, regs: &mut Regs) -> Result<Option<Event>, Lost> {
        let start = Regs {
            // No system call is to be restarted; segments are not the guest's to set.
            orig_rax: u64::MAX,
            cs: 0x33,
            ss: 0x2b,
            ds: 0,
            es: 0,
            fs: 0,
            gs: 0,
            ..*regs
        };
        self.tracee.set_registers(&start)?;
        loop {
            self.tracee.run()?;
            let event = match self.tracee.wait() {
                Stop::Syscall => {
                    *regs = self.tracee.registers()?;
                    return self.system_call(regs).map(Some);
                }
                Stop::Signal(libc::SIGUSR1) => None,
                Stop::Signal(signal) => match self.exception(thread, signal)? {
                    Some(event) => Some(event),
                    None => continue,
                },
                Stop::Other => continue,
                Stop::Gone => return Err(Lost),
            };
            *regs = self.tracee.registers()?;
            regs.orig_rax = u64::MAX;
            return Ok(event);
        }
    }

    fn system_call(&self, regs: &mut Regs) -> Result<Event, Lost> {
        const ARCH_X86_64: u32 = 0xc000_003e;
        const INT80_LEN: u64 = 2;
        if self.tracee.syscall_arch()? == ARCH_X86_64 {
            return Ok(Event::Syscall);
        }
        regs.rip = regs.rip.wrapping_sub(INT80_LEN);
        regs.rax = std::mem::replace(&mut regs.orig_rax, u64::MAX);
        Ok(Event::Exception {
            signo: libc::SIGSEGV,
            code: 0x80,
            addr: 0,
        })
    }

    /// What a signal stands for; `None` if somebody sent it.
    fn exception(&self, thread: &Thread, signo: i32) -> Result<Option<Event>, Lost> {
        let info = self.tracee.signal_info()?;
        let ours = [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
        ];
        if info.code <= 0 || !ours.contains(&signo) {
            return Ok(None);
        }
        let page_fault = signo == libc::SIGSEGV && (1..0x80).contains(&info.code);
        Ok(Some(match page_fault {
            true => Event::Fault {
                addr: info.addr,
                access: self.access(thread)?,
            },
            false => Event::Exception {
                signo,
                code: info.code,
                addr: info.addr,
            },
        }))
    }

    /// What a faulting instruction wanted. Only a signal frame says it: one is made, and taken back.
    fn access(&self, thread: &Thread) -> Result<Access, Lost> {
        let regs = self.tracee.registers()?;
        let xstate = self.tracee.xstate(self.fp.size)?;
        self.tracee.deliver(libc::SIGSEGV)?;
        match self.tracee.wait() {
            Stop::Signal(libc::SIGTRAP) => {}
            _ => return Err(Lost),
        }
        let frame = self.tracee.registers()?;
        let access = thread.fault_access(frame.rdx).ok_or(Lost)?;
        self.tracee.set_signal_mask(Thread::signal_mask())?;
        self.tracee.set_xstate(&xstate)?;
        self.tracee.set_registers(&Regs {
            orig_rax: u64::MAX,
            ..regs
        })?;
        Ok(access)
    }

    /// The extended state, as in a signal frame.
    pub(super) fn fp_state(&self) -> Result<Vec<u8>, Lost> {
        Ok(self.fp.frame_area(&self.tracee.xstate(self.fp.size)?))
    }

    /// Sets the extended state from an area that has been checked.
    pub(super) fn set_fp_state(&self, area: &[u8]) -> Result<(), Lost> {
        Ok(self.tracee.set_xstate(&FpLayout::plain_area(area))?)
    }

    /// Lets the thread go: it ends up waiting in the stub, as threads of systrap do.
    pub(super) fn release(self) -> Result<(), Lost> {
        let mut regs = self.tracee.registers()?;
        (regs.rip, regs.orig_rax) = (TEXT, u64::MAX);
        self.tracee.set_registers(&regs)?;
        Ok(self.tracee.detach()?)
    }
}
