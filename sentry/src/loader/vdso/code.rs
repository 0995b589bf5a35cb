//! The code of the vDSO, and the counter that it reads.
//!
//! The code lies in the Sentry's text only to be copied from there. It is position-independent, and
//! finds the parameters [`PARAMS_BELOW`] bytes below its first byte.
#![allow(unsafe_code)]

use std::arch::global_asm;

/// Distance from the parameters to the code: a page of parameters, and what precedes the code in the
/// image.
pub(super) const PARAMS_BELOW: u64 = 4096 + super::image::CODE_AT as u64;

// `now`: edi names a clock (0 and 5: real time, 1 and 6: monotonic); rax: nanoseconds; carry set: ask
// the kernel. Parameters: +0 sequence, +4 valid, +8 counter at the base, +16 most cycles since then,
// +24 nanoseconds per cycle (32.32), +32 monotonic base, +40 real base.
global_asm!(
    ".globl sentry_vdso_start", ".hidden sentry_vdso_start",
    ".globl sentry_vdso_gettimeofday", ".hidden sentry_vdso_gettimeofday",
    ".globl sentry_vdso_time", ".hidden sentry_vdso_time",
    ".globl sentry_vdso_getcpu", ".hidden sentry_vdso_getcpu",
    ".globl sentry_vdso_getres", ".hidden sentry_vdso_getres",
    ".globl sentry_vdso_end", ".hidden sentry_vdso_end",
    ".balign 16",
    "sentry_vdso_start:",
    // clock_gettime(edi: clock, rsi: timespec)
    "cmp edi, 7",
    "ja 8f",
    "mov eax, 0x63",
    "bt eax, edi",
    "jnc 8f",
    "call 2f",
    "jc 8f",
    "xor edx, edx",
    "mov ecx, 1000000000",
    "div rcx",
    "mov qword ptr [rsi], rax",
    "mov qword ptr [rsi + 8], rdx",
    "xor eax, eax",
    "ret",
    "8:",
    "mov eax, 228",
    "syscall",
    "ret",
    // now
    "2:",
    "lea r8, [rip + sentry_vdso_start - {below}]",
    "3:",
    "mov r9d, dword ptr [r8]",
    "test r9d, 1",
    "jnz 4f",
    "cmp dword ptr [r8 + 4], 0",
    "je 4f",
    "lfence",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "xor ecx, ecx",
    "sub rax, qword ptr [r8 + 8]",
    "cmovc rax, rcx",
    "cmp rax, qword ptr [r8 + 16]",
    "ja 4f",
    "mul qword ptr [r8 + 24]",
    "shrd rax, rdx, 32",
    "mov ecx, 0x21",
    "bt ecx, edi",
    "jc 5f",
    "add rax, qword ptr [r8 + 32]",
    "jmp 6f",
    "5:",
    "add rax, qword ptr [r8 + 40]",
    "6:",
    "cmp r9d, dword ptr [r8]",
    "jne 3b",
    "clc",
    "ret",
    "4:",
    "stc",
    "ret",
    // gettimeofday(rdi: timeval, rsi: timezone)
    ".balign 16",
    "sentry_vdso_gettimeofday:",
    "test rdi, rdi",
    "jz 7f",
    "test rsi, rsi",
    "jnz 7f",
    "mov r10, rdi",
    "xor edi, edi",
    "call 2b",
    "mov rdi, r10",
    "jc 7f",
    "xor edx, edx",
    "mov ecx, 1000000000",
    "div rcx",
    "mov qword ptr [rdi], rax",
    "mov rax, rdx",
    "xor edx, edx",
    "mov ecx, 1000",
    "div rcx",
    "mov qword ptr [rdi + 8], rax",
    "xor eax, eax",
    "ret",
    "7:",
    "mov eax, 96",
    "syscall",
    "ret",
    // time(rdi: time_t or null)
    ".balign 16",
    "sentry_vdso_time:",
    "mov r10, rdi",
    "xor edi, edi",
    "call 2b",
    "mov rdi, r10",
    "jc 9f",
    "xor edx, edx",
    "mov ecx, 1000000000",
    "div rcx",
    "test rdi, rdi",
    "jz 11f",
    "mov qword ptr [rdi], rax",
    "11:",
    "ret",
    "9:",
    "mov eax, 201",
    "syscall",
    "ret",
    // getcpu and clock_getres: the kernel knows.
    ".balign 16",
    "sentry_vdso_getcpu:",
    "mov eax, 309",
    "syscall",
    "ret",
    ".balign 16",
    "sentry_vdso_getres:",
    "mov eax, 229",
    "syscall",
    "ret",
    "sentry_vdso_end:",
    below = const PARAMS_BELOW,
);

unsafe extern "C" {
    static sentry_vdso_start: u8;
    static sentry_vdso_gettimeofday: u8;
    static sentry_vdso_time: u8;
    static sentry_vdso_getcpu: u8;
    static sentry_vdso_getres: u8;
    static sentry_vdso_end: u8;
}

/// The code.
pub(super) fn bytes() -> &'static [u8] {
    let start = &raw const sentry_vdso_start;
    let len = (&raw const sentry_vdso_end).addr() - start.addr();
    // SAFETY: the range is that of the assembly above: initialised, never written, 'static.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// The functions: name, and offset in the code.
pub(super) fn functions() -> [(&'static str, u64); 5] {
    let offset = |at: *const u8| (at.addr() - (&raw const sentry_vdso_start).addr()) as u64;
    [
        ("__vdso_clock_gettime", 0),
        (
            "__vdso_gettimeofday",
            offset(&raw const sentry_vdso_gettimeofday),
        ),
        ("__vdso_time", offset(&raw const sentry_vdso_time)),
        ("__vdso_getcpu", offset(&raw const sentry_vdso_getcpu)),
        ("__vdso_clock_getres", offset(&raw const sentry_vdso_getres)),
    ]
}

/// The time-stamp counter; `None` if it does not count at one rate for ever.
pub(super) fn counter() -> Option<u64> {
    use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
    const POWER: u32 = 0x8000_0007;
    static INVARIANT: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let invariant = INVARIANT.get_or_init(|| {
        let highest = __cpuid(0x8000_0000).eax;
        highest >= POWER && __cpuid(POWER).edx & (1 << 8) != 0
    });
    if !invariant {
        return None;
    }
    // SAFETY: both instructions exist on every x86-64 processor and touch no memory.
    Some(unsafe {
        _mm_lfence();
        _rdtsc()
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Vdso, image};
    use super::*;
    use crate::mm::MemoryFile;

    #[test]
    fn the_code_tells_the_time_that_the_host_tells() {
        let Some(first) = counter() else {
            let why = "test of the vdso SKIPPED: no invariant time-stamp counter";
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), format!("{why}\n").as_bytes());
            return;
        };
        let memory = MemoryFile::new().unwrap();
        let vdso = Vdso::of(&memory).unwrap();
        // A baseline: some work, until the counter has moved enough to be calibrated.
        while !vdso.refresh() {
            assert!(counter().unwrap() - first < 1 << 40, "never calibrated");
        }
        // SAFETY: a new mapping of two pages that this test owns; the function at the entry has the
        // C signature of clock_gettime, and reads the page below.
        let (seconds, nanos, code) = unsafe {
            use std::os::fd::AsRawFd;
            let map = libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_SHARED,
                memory.fd().as_raw_fd(),
                vdso.offset() as i64,
            );
            assert_ne!(map, libc::MAP_FAILED);
            let entry = map.cast::<u8>().add(4096 + image::CODE_AT);
            let clock_gettime: extern "C" fn(i32, *mut [u64; 2]) -> i32 =
                std::mem::transmute(entry);
            let mut time = [0; 2];
            let code = clock_gettime(1, &mut time);
            (time[0], time[1], code)
        };
        let after = crate::time::monotonic_ns();
        assert_eq!(code, 0);
        let told = seconds * 1_000_000_000 + nanos;
        assert!(after.abs_diff(told) < 1_000_000_000, "{told} {after}");
    }
}
