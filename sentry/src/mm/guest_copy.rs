//! The one place where the Sentry touches guest memory.
//!
//! Guest memory is never a Rust reference: other threads change it at any time, and a touch can fault
//! (a host file was truncated, a memory limit was hit). Each access is one of the short routines
//! below, in assembly; a fault table (their addresses) lets the handler of SIGBUS and SIGSEGV turn a
//! fault inside them into a short count. Any other fault goes to whoever had the signal before.
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::sync::OnceLock;

use super::sys::{self, Mapping};

// Every routine returns in rax; its faulting instructions are between `_start` and `_end`, and a
// fault continues at `_fixup` with the registers of that moment.
global_asm!(
    // copy(rdi: to, rsi: from, rdx: len) -> rax: bytes not copied
    ".globl sentry_mm_copy",
    ".hidden sentry_mm_copy",
    "sentry_mm_copy:",
    "mov rcx, rdx",
    "sentry_mm_copy_start:",
    "rep movsb",
    "sentry_mm_copy_end:",
    "sentry_mm_copy_fixup:",
    "mov rax, rcx",
    "ret",
    // load32(rdi: from, rsi: out) -> rax: 0 done, 1 fault
    ".globl sentry_mm_load32",
    ".hidden sentry_mm_load32",
    "sentry_mm_load32:",
    "sentry_mm_load32_start:",
    "mov ecx, dword ptr [rdi]",
    "sentry_mm_load32_end:",
    "mov dword ptr [rsi], ecx",
    "xor eax, eax",
    "ret",
    // cas32(rdi: at, esi: expected, edx: new, rcx: out) -> rax: 0 done (out = what was there), 1 fault
    ".globl sentry_mm_cas32",
    ".hidden sentry_mm_cas32",
    "sentry_mm_cas32:",
    "mov eax, esi",
    "sentry_mm_cas32_start:",
    "lock cmpxchg dword ptr [rdi], edx",
    "sentry_mm_cas32_end:",
    "mov dword ptr [rcx], eax",
    "xor eax, eax",
    "ret",
    // Where a faulting word access continues.
    "sentry_mm_word_fixup:",
    "mov eax, 1",
    "ret",
);

unsafe extern "C" {
    fn sentry_mm_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    fn sentry_mm_load32(from: *const u8, out: *mut u32) -> u64;
    fn sentry_mm_cas32(at: *mut u8, expected: u32, new: u32, out: *mut u32) -> u64;
    static sentry_mm_copy_start: u8;
    static sentry_mm_copy_end: u8;
    static sentry_mm_copy_fixup: u8;
    static sentry_mm_load32_start: u8;
    static sentry_mm_load32_end: u8;
    static sentry_mm_cas32_start: u8;
    static sentry_mm_cas32_end: u8;
    static sentry_mm_word_fixup: u8;
}

/// Copies out of a mapping; returns how many bytes came before a fault (0 if the range is not in it).
#[inline]
pub(super) fn read(map: &Mapping, offset: u64, to: &mut [u8]) -> usize {
    let Some(from) = map.at(offset, to.len()) else {
        return 0;
    };
    // SAFETY: `to` is ours; `from` lies in a mapping that lives for the call, and may fault or change.
    to.len() - unsafe { sentry_mm_copy(to.as_mut_ptr(), from, to.len()) }
}

/// Copies into a writable mapping; returns how many bytes went before a fault.
#[inline]
pub(super) fn write(map: &Mapping, offset: u64, from: &[u8]) -> usize {
    let Some(to) = map.at(offset, from.len()) else {
        return 0;
    };
    // SAFETY: `from` is ours; `to` lies in a mapping that lives for the call, and may fault (so does a
    // mapping that is not writable).
    from.len() - unsafe { sentry_mm_copy(to, from.as_ptr(), from.len()) }
}

/// Copies between two ranges of a mapping that do not overlap; returns how many bytes went.
pub(super) fn copy(map: &Mapping, from: u64, to: u64, len: usize) -> usize {
    let (Some(from), Some(to)) = (map.at(from, len), map.at(to, len)) else {
        return 0;
    };
    // SAFETY: both ranges lie in a mapping that lives for the call; either may fault.
    len - unsafe { sentry_mm_copy(to, from, len) }
}

/// Loads an aligned word; `None` on a fault, outside the mapping or if it is not aligned.
#[inline]
pub(super) fn load32(map: &Mapping, offset: u64) -> Option<u32> {
    let from = map.at(offset, 4).filter(|_| offset.is_multiple_of(4))?;
    let mut out = 0;
    // SAFETY: `from` lies in a mapping that lives for the call; `out` is ours.
    (unsafe { sentry_mm_load32(from, &mut out) } == 0).then_some(out)
}

/// Compares and exchanges an aligned word; the word that was there, `None` as [`load32`].
#[inline]
pub(super) fn cas32(map: &Mapping, offset: u64, expected: u32, new: u32) -> Option<u32> {
    let at = map.at(offset, 4).filter(|_| offset.is_multiple_of(4))?;
    let mut out = 0;
    // SAFETY: `at` lies in a mapping that lives for the call; `out` is ours.
    (unsafe { sentry_mm_cas32(at, expected, new, &mut out) } == 0).then_some(out)
}

static OLD_SEGV: OnceLock<libc::sigaction> = OnceLock::new();
static OLD_BUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Makes faults in the routines above recoverable. Called once, when the first memory file is made.
pub(super) fn install_fault_handler() {
    OLD_SEGV.get_or_init(|| sys::set_signal_handler(libc::SIGSEGV, on_fault));
    OLD_BUS.get_or_init(|| sys::set_signal_handler(libc::SIGBUS, on_fault));
}

/// Where execution continues after a fault at `rip`, if it is one of ours.
fn fixup_of(rip: usize) -> Option<usize> {
    // (first faulting instruction, end, continuation)
    let table = [
        (
            &raw const sentry_mm_copy_start,
            &raw const sentry_mm_copy_end,
            &raw const sentry_mm_copy_fixup,
        ),
        (
            &raw const sentry_mm_load32_start,
            &raw const sentry_mm_load32_end,
            &raw const sentry_mm_word_fixup,
        ),
        (
            &raw const sentry_mm_cas32_start,
            &raw const sentry_mm_cas32_end,
            &raw const sentry_mm_word_fixup,
        ),
    ];
    table
        .iter()
        .find(|(start, end, _)| (start.addr()..end.addr()).contains(&rip))
        .map(|(_, _, fixup)| fixup.addr())
}

extern "C" fn on_fault(signo: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context_ptr = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes the interrupted thread's context, which lives until we return.
    let rip = unsafe { &mut (*context_ptr).uc_mcontext.gregs[libc::REG_RIP as usize] };
    if let Some(fixup) = fixup_of(*rip as usize) {
        *rip = fixup as i64;
        return;
    }
    let old = match signo {
        libc::SIGBUS => OLD_BUS.get(),
        _ => OLD_SEGV.get(),
    };
    pass_on(signo, info, context, old);
}

/// Hands a fault that is not ours to the handler that was there before.
fn pass_on(
    signo: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
    old: Option<&libc::sigaction>,
) {
    match old.map(|old| (old.sa_sigaction, old.sa_flags)) {
        Some((handler, flags))
            if handler != libc::SIG_DFL
                && handler != libc::SIG_IGN
                && flags & libc::SA_SIGINFO != 0 =>
        {
            type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: a handler that was registered with SA_SIGINFO has this signature.
            let handler = unsafe { std::mem::transmute::<libc::sighandler_t, Handler>(handler) };
            handler(signo, info, context);
        }
        _ => {
            // SAFETY: sets the default action; the instruction faults again and ends the process.
            unsafe { libc::signal(signo, libc::SIG_DFL) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_touch_past_the_end_of_the_file_is_a_short_count() {
        install_fault_handler();
        let fd = sys::memory_file(4096).unwrap();
        let map = sys::Mapping::new(fd.as_fd(), 0, 8192, true).unwrap();
        assert_eq!(write(&map, 4000, &[7; 200]), 96);
        let mut out = [0; 200];
        assert_eq!(read(&map, 4000, &mut out), 96);
        assert_eq!(out[..96], [7; 96]);
        assert_eq!(load32(&map, 4096), None);
        assert_eq!(cas32(&map, 4096, 0, 1), None);
        assert_eq!(load32(&map, 8192), None);
        assert_eq!(cas32(&map, 0, 0, 5), Some(0));
        assert_eq!(load32(&map, 0), Some(5));
    }
}
