//! Signal frames: what a handler finds on its stack, and the way back (rt_sigreturn).
//!
//! The layout is Linux's `struct rt_sigframe` for x86-64: return address, `ucontext`, `siginfo`, with the
//! extended state above it, aligned to 64 bytes. Everything that comes back was in the guest's hands.

use sentry_abi::{Errno, Regs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::signals::action::SigAction;
use crate::signals::info::SIGINFO_SIZE;
use crate::signals::{SigInfo, SigSet};
use crate::task::Task;
use crate::task::thread::{AltStack, ThreadSignals};

/// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS.
const UC_FLAGS: u64 = 1 | 2 | 4;
/// The x86-64 ABI's red zone below the stack pointer.
const RED_ZONE: u64 = 128;
/// SS_AUTODISARM of sigaltstack(2).
pub(crate) const SS_AUTODISARM: i32 = 1 << 31;
/// Flags that a frame may change: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
const FLAGS_FROM_FRAME: u64 = 0x0005_0DD5;
/// The code segment of 64-bit programs, and the privilege level that a frame's is given.
const USER_CS: u16 = 0x33;
const USER_RPL: u16 = 3;
/// The processor's number of a general protection fault.
const GENERAL_PROTECTION: u64 = 13;
/// SA_RESTORER: without it there is no way back from a handler.
const SA_RESTORER: i32 = 0x0400_0000;
/// Flags that are clear when a handler starts: TF, DF, RF.
const FLAGS_CLEARED: u64 = 0x100 | 0x400 | 0x1_0000;
/// FP_XSTATE_MAGIC1.
const XSTATE_MAGIC1: u32 = 0x4650_5853;
/// FP_XSTATE_MAGIC2.
const XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Offset of the XSAVE header, whose first byte names the legacy components.
const XSTATE_HEADER: usize = 512;
const XSTATE_FP_SSE: u8 = 3;
/// Largest extended state that is read back from a frame.
const MAX_XSTATE: u32 = 16 << 10;
/// Offset of the software-reserved bytes in the legacy area.
const SW_RESERVED: u64 = 464;

/// `stack_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct StackT {
    pub(crate) sp: u64,
    pub(crate) flags: i32,
    pub(crate) pad: i32,
    pub(crate) size: u64,
}

/// `struct sigcontext`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct ucontext`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct UContext {
    flags: u64,
    link: u64,
    stack: StackT,
    context: SigContext,
    sigmask: u64,
}

/// `struct rt_sigframe`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Frame {
    return_address: u64,
    ucontext: UContext,
    info: [u8; SIGINFO_SIZE],
}

impl SigContext {
    fn save(regs: &Regs, mask: SigSet, signals: &ThreadSignals, fpstate: u64) -> Self {
        Self {
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            rdi: regs.rdi,
            rsi: regs.rsi,
            rbp: regs.rbp,
            rbx: regs.rbx,
            rdx: regs.rdx,
            rax: regs.rax,
            rcx: regs.rcx,
            rsp: regs.rsp,
            rip: regs.rip,
            eflags: regs.eflags,
            cs: regs.cs as u16,
            ss: regs.ss as u16,
            oldmask: mask.0,
            cr2: signals.fault_addr,
            trapno: signals.trap.0,
            err: signals.trap.1,
            fpstate,
            ..Self::default()
        }
    }

    fn restore(&self, regs: &mut Regs) {
        regs.r8 = self.r8;
        regs.r9 = self.r9;
        regs.r10 = self.r10;
        regs.r11 = self.r11;
        regs.r12 = self.r12;
        regs.r13 = self.r13;
        regs.r14 = self.r14;
        regs.r15 = self.r15;
        regs.rdi = self.rdi;
        regs.rsi = self.rsi;
        regs.rbp = self.rbp;
        regs.rbx = self.rbx;
        regs.rdx = self.rdx;
        regs.rax = self.rax;
        regs.rcx = self.rcx;
        regs.rsp = self.rsp;
        regs.rip = self.rip;
        regs.eflags = regs.eflags & !FLAGS_FROM_FRAME | self.eflags & FLAGS_FROM_FRAME;
        regs.orig_rax = u64::MAX;
    }
}

impl AltStack {
    /// True if `sp` is on it.
    pub(crate) fn holds(&self, sp: u64) -> bool {
        self.size > 0 && sp > self.addr && sp - self.addr <= self.size
    }

    /// As sigaltstack(2) shows it to code that runs at `sp`.
    pub(crate) fn shown(&self, sp: u64) -> StackT {
        let state = if self.size == 0 {
            libc::SS_DISABLE
        } else if self.flags & SS_AUTODISARM == 0 && self.holds(sp) {
            libc::SS_ONSTACK
        } else {
            0
        };
        StackT {
            sp: self.addr,
            flags: state | self.flags & SS_AUTODISARM,
            pad: 0,
            size: self.size,
        }
    }

    /// Sets it as sigaltstack(2) would, for code that runs at `sp`.
    ///
    /// # Errors
    /// EPERM while on it, EINVAL (flags), ENOMEM (too small).
    pub(crate) fn change(&mut self, new: &StackT, sp: u64) -> Result<(), Errno> {
        if self.flags & SS_AUTODISARM == 0 && self.holds(sp) {
            return Err(Errno::EPERM);
        }
        if *self
            == (Self {
                addr: new.sp,
                size: new.size,
                flags: new.flags,
            })
        {
            // No change is no error, whatever it says (`do_sigaltstack`).
            return Ok(());
        }
        match new.flags & !SS_AUTODISARM {
            libc::SS_DISABLE => *self = Self::default(),
            0 | libc::SS_ONSTACK => {
                if new.size < 2048 {
                    return Err(Errno::ENOMEM);
                }
                *self = Self {
                    addr: new.sp,
                    size: new.size,
                    flags: new.flags & SS_AUTODISARM,
                };
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

/// Makes the task run the handler of `ready` when it next runs guest code.
///
/// # Errors
/// EFAULT if the stack cannot hold the frame: the caller raises SIGSEGV.
pub(crate) fn push(task: &mut Task, info: SigInfo, action: SigAction) -> Result<(), Errno> {
    if !action.has(SA_RESTORER) {
        return Err(Errno::EFAULT);
    }
    let mask = task.shared.mask();
    let saved = task.signals.saved_mask.take().unwrap_or(mask);
    let fp = task.context.fp_state();
    let (top, on_alt) = stack_top(task, &action);
    let fpstate = top.wrapping_sub(fp.len() as u64) & !63;
    let at = (fpstate.wrapping_sub(size_of::<Frame>() as u64) & !15).wrapping_sub(8);
    let alt = task.signals.alt_stack;
    if on_alt && !alt.holds(at) {
        return Err(Errno::EFAULT);
    }
    let frame = Frame {
        return_address: action.restorer,
        ucontext: UContext {
            flags: UC_FLAGS,
            link: 0,
            stack: alt.shown(task.regs.rsp),
            context: SigContext::save(&task.regs, saved, &task.signals, fpstate),
            sigmask: saved.0,
        },
        info: info.to_bytes(),
    };
    task.mm.write(fpstate, &fp)?;
    task.mm.write(at, frame.as_bytes())?;
    enter_handler(task, info.signo, &action, at);
    let mut blocked = mask | SigSet(action.mask);
    if !action.has(libc::SA_NODEFER) {
        blocked.insert(info.signo);
    }
    task.shared.set_mask(blocked);
    if alt.flags & SS_AUTODISARM != 0 && on_alt {
        task.signals.alt_stack = AltStack::default();
    }
    Ok(())
}

/// Where the frame begins to grow down from, and whether that is the alternate stack.
fn stack_top(task: &Task, action: &SigAction) -> (u64, bool) {
    let alt = &task.signals.alt_stack;
    let sp = task.regs.rsp;
    let on_it = alt.flags & SS_AUTODISARM == 0 && alt.holds(sp);
    if action.has(libc::SA_ONSTACK) && alt.size > 0 && !on_it {
        return (alt.addr.wrapping_add(alt.size), true);
    }
    (sp.wrapping_sub(RED_ZONE), on_it)
}

fn enter_handler(task: &mut Task, signo: i32, action: &SigAction, at: u64) {
    let ucontext = at + 8;
    let info = ucontext + size_of::<UContext>() as u64;
    let regs = &mut task.regs;
    regs.rdi = signo as u64;
    regs.rsi = info;
    regs.rdx = ucontext;
    regs.rax = 0;
    regs.rsp = at;
    regs.rip = action.handler;
    regs.eflags &= !FLAGS_CLEARED;
    regs.orig_rax = u64::MAX;
    // The handler starts with the reset state, as in Linux. A thread that is gone shows in `run`.
    let _ = task.context.set_fp_state(None);
}

/// rt_sigreturn(2): takes the frame above the stack pointer back.
///
/// # Errors
/// EFAULT or EINVAL if there is no valid frame: the caller raises SIGSEGV.
pub(crate) fn pop(task: &mut Task) -> Result<(), Errno> {
    let ucontext: UContext = task.mm.read_val(task.regs.rsp)?;
    let context = ucontext.context;
    let fp = match context.fpstate {
        0 => None,
        at => Some(read_xstate(task, at)?),
    };
    task.context
        .set_fp_state(fp.as_deref())
        .map_err(|_| Errno::EINVAL)?;
    let foreign_code = context.cs | USER_RPL != USER_CS;
    context.restore(&mut task.regs);
    task.shared.set_mask(SigSet(ucontext.sigmask));
    // Linux ignores a frame whose stack cannot be set, too.
    let sp = task.regs.rsp;
    let _ = task.signals.alt_stack.change(&ucontext.stack, sp);
    task.shared.kick();
    if foreign_code {
        task.signals.trap = (GENERAL_PROTECTION, 0);
        // There is no other code segment here: returning to one is a general protection fault.
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// The extended state at `at`. What does not describe itself properly is a plain FXSAVE area, as
/// for Linux (`check_xstate_in_sigframe`): the rest of the state is then reset.
fn read_xstate(task: &mut Task, at: u64) -> Result<Vec<u8>, Errno> {
    if !at.is_multiple_of(64) {
        return Err(Errno::EFAULT);
    }
    let reserved = at.checked_add(SW_RESERVED).ok_or(Errno::EFAULT)?;
    let [magic, size, _, _, xstate_size]: [u32; 5] = task.mm.read_val(reserved)?;
    let described = magic == XSTATE_MAGIC1
        && size <= MAX_XSTATE
        && xstate_size
            .checked_add(4)
            .is_some_and(|needed| needed <= size)
        && task.mm.read_val(at + u64::from(xstate_size)) == Ok(XSTATE_MAGIC2);
    if described {
        return task.mm.read_vec(at, size as usize);
    }
    let legacy = task.mm.read_vec(at, SW_RESERVED as usize)?;
    task.context.set_fp_state(None).map_err(|_| Errno::EINVAL)?;
    let mut area = task.context.fp_state();
    area[..legacy.len()].copy_from_slice(&legacy);
    area[XSTATE_HEADER] |= XSTATE_FP_SSE;
    Ok(area)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_linux() {
        assert_eq!(size_of::<SigContext>(), 256);
        assert_eq!(size_of::<UContext>(), 304);
        assert_eq!(size_of::<Frame>(), 440);
        assert_eq!(std::mem::offset_of!(UContext, sigmask), 296);
    }

    #[test]
    fn a_frame_cannot_change_privileged_flags_or_segments() {
        let mut regs = Regs {
            eflags: 0x202,
            cs: 0x33,
            ss: 0x2b,
            ..Regs::default()
        };
        let hostile = SigContext {
            eflags: u64::MAX,
            cs: 0x10,
            ss: 0x18,
            ..SigContext::default()
        };
        hostile.restore(&mut regs);
        assert_eq!(regs.eflags & 0x3000, 0, "IOPL stays 0");
        assert_eq!((regs.cs, regs.ss), (0x33, 0x2b));
        assert_eq!(regs.eflags & 0x200, 0x200, "interrupts stay on");
    }

    #[test]
    fn an_alternate_stack_is_not_changed_while_in_use() {
        let mut alt = AltStack::default();
        let new = |size| StackT {
            sp: 0x1000,
            size,
            ..StackT::default()
        };
        assert_eq!(alt.change(&new(100), 0), Err(Errno::ENOMEM));
        assert_eq!(alt.change(&new(8192), 0), Ok(()));
        assert_eq!(alt.change(&new(8192), 0x2000), Err(Errno::EPERM));
        assert_eq!(alt.shown(0x2000).flags, libc::SS_ONSTACK);
        assert_eq!(alt.shown(0x9000).flags, 0);
    }
}
