//! Signal frames of x86-64 (`struct ucontext`, `struct sigcontext`, `siginfo_t`) in a context slot:
//! where the registers are, and what a frame says happened.

use std::sync::atomic::Ordering::Relaxed;

use sentry_abi::Regs;

use super::layout::{HANDLED, SLOT, slot};
use crate::platform::sys::shared::Shared;
use crate::platform::{Access, Event};

/// Offsets from the `ucontext`.
const UC_FLAGS: usize = 0;
const UC_LINK: usize = 8;
const UC_STACK: usize = 16;
const GREGS: usize = 40;
const FPSTATE: usize = GREGS + 23 * 8;
const SIGMASK: usize = 296;
const SIGINFO: usize = 304;
/// What is read and written, siginfo's first 32 bytes included.
pub(super) const LEN: usize = SIGINFO + 32;

/// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
const FLAGS: u64 = 7;
const CS_SS: u64 = 0x002b_0000_0000_0033;
const ARCH_X86_64: u32 = 0xc000_003e;

/// Index among the registers of the frame.
mod greg {
    pub(super) const RAX: usize = 13;
    pub(super) const EFLAGS: usize = 17;
    pub(super) const CS_SS: usize = 18;
    pub(super) const ERR: usize = 19;
    pub(super) const TRAPNO: usize = 20;
    pub(super) const CR2: usize = 22;
}

/// Why a handed-over frame is of no use.
#[derive(Debug)]
pub(super) struct Nonsense;

/// What the guest left: the event, or `None` for the reserved signal.
pub(super) fn read(shared: &Shared, uc: usize, regs: &mut Regs) -> Result<Option<Event>, Nonsense> {
    let greg = |i: usize| shared.u64(uc + GREGS + 8 * i).load(Relaxed);
    let order = fields(regs);
    for (i, field) in order.into_iter().enumerate() {
        *field = greg(i);
    }
    regs.orig_rax = u64::MAX;
    (regs.cs, regs.ss) = (0x33, 0x2b);
    (regs.ds, regs.es, regs.fs, regs.gs) = (0, 0, 0, 0);

    let info = uc + SIGINFO;
    let signo = shared.u32(info).load(Relaxed) as i32;
    let code = shared.u32(info + 8).load(Relaxed) as i32;
    let addr = shared.u64(info + 16).load(Relaxed);
    match signo {
        libc::SIGSYS => {
            let arch = shared.u32(info + 28).load(Relaxed);
            Ok(Some(system_call(regs, arch)))
        }
        libc::SIGUSR1 => Ok(None),
        libc::SIGSEGV | libc::SIGBUS if greg(greg::TRAPNO) == 14 && code > 0 && code < 0x80 => Ok(
            Some(page_fault(signo, code, greg(greg::ERR), greg(greg::CR2))),
        ),
        _ if HANDLED.contains(&signo) => Ok(Some(Event::Exception { signo, code, addr })),
        _ => Err(Nonsense),
    }
}

/// A trapped system call: the kernel has put `rax` back to the number. A call by another
/// architecture's entry (`int 0x80`) is what it is on a kernel without that: a general protection
/// fault. `rip` is then put back to the instruction.
fn system_call(regs: &mut Regs, arch: u32) -> Event {
    const INT80_LEN: u64 = 2;
    if arch != ARCH_X86_64 {
        regs.rip = regs.rip.wrapping_sub(INT80_LEN);
        return Event::Exception {
            signo: libc::SIGSEGV,
            code: SI_KERNEL,
            addr: 0,
        };
    }
    enter_call(regs)
}

/// The registers as a kernel has them while it serves a call.
pub(super) fn enter_call(regs: &mut Regs) -> Event {
    regs.orig_rax = regs.rax;
    regs.rax = (-i64::from(libc::ENOSYS)) as u64;
    Event::Syscall
}

const SI_KERNEL: i32 = 0x80;

fn page_fault(signo: i32, code: i32, err: u64, addr: u64) -> Event {
    if signo == libc::SIGBUS {
        return Event::Exception { signo, code, addr };
    }
    let access = access_of(err);
    Event::Fault { addr, access }
}

/// What an access wanted, by the processor's error code.
fn access_of(err: u64) -> Access {
    const ERR_WRITE: u64 = 1 << 1;
    const ERR_FETCH: u64 = 1 << 4;
    match err {
        _ if err & ERR_FETCH != 0 => Access::Execute,
        _ if err & ERR_WRITE != 0 => Access::Write,
        _ => Access::Read,
    }
}

/// What the access wanted that made this frame.
pub(super) fn fault_access(shared: &Shared, uc: usize) -> Access {
    access_of(shared.u64(uc + GREGS + 8 * greg::ERR).load(Relaxed))
}

/// Writes registers for the next return to guest code. `slot_addr` is the slot's address in the stub.
pub(super) fn write(shared: &Shared, uc: usize, slot_addr: u64, regs: &Regs) {
    let mut copy = *regs;
    for (i, field) in fields(&mut copy).into_iter().enumerate() {
        shared.u64(uc + GREGS + 8 * i).store(*field, Relaxed);
    }
    shared
        .u64(uc + GREGS + 8 * greg::CS_SS)
        .store(CS_SS, Relaxed);
    shared.u64(uc + UC_FLAGS).store(FLAGS, Relaxed);
    // The signal stack and the mask as they should be, whatever the guest did to them.
    shared
        .u64(uc + UC_STACK)
        .store(slot_addr + slot::STACK as u64, Relaxed);
    shared.u64(uc + UC_STACK + 8).store(0, Relaxed);
    shared
        .u64(uc + UC_STACK + 16)
        .store(SLOT - slot::STACK as u64, Relaxed);
    shared.u64(uc + SIGMASK).store(guest_mask(), Relaxed);
}

/// Clears a frame that the kernel has not written.
pub(super) fn init(shared: &Shared, uc: usize) {
    for at in (0..LEN).step_by(8) {
        shared.u64(uc + at).store(0, Relaxed);
    }
    shared.u64(uc + UC_LINK).store(0, Relaxed);
}

/// Address of the extended state in the stub; 0 for the reset state.
pub(super) fn fp_address(shared: &Shared, uc: usize) -> u64 {
    shared.u64(uc + FPSTATE).load(Relaxed)
}

/// Sets it.
pub(super) fn set_fp_address(shared: &Shared, uc: usize, addr: u64) {
    shared.u64(uc + FPSTATE).store(addr, Relaxed);
}

/// Guest threads block all signals but those that the stub handles.
pub(super) fn guest_mask() -> u64 {
    HANDLED
        .iter()
        .fold(u64::MAX, |mask, signal| mask & !(1 << (signal - 1)))
}

/// The registers in the frame's order, r8 to eflags.
pub(super) fn fields(regs: &mut Regs) -> [&mut u64; greg::EFLAGS + 1] {
    const _: () = assert!(greg::RAX == 13);
    [
        &mut regs.r8,
        &mut regs.r9,
        &mut regs.r10,
        &mut regs.r11,
        &mut regs.r12,
        &mut regs.r13,
        &mut regs.r14,
        &mut regs.r15,
        &mut regs.rdi,
        &mut regs.rsi,
        &mut regs.rbp,
        &mut regs.rbx,
        &mut regs.rdx,
        &mut regs.rax,
        &mut regs.rcx,
        &mut regs.rsp,
        &mut regs.rip,
        &mut regs.eflags,
    ]
}
