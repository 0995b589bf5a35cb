//! Raw system calls, and the memory functions that the compiler expects.

use core::arch::{asm, naked_asm};

/// A system call.
///
/// # Safety
/// The caller answers for what the call does to this process's memory.
pub unsafe fn syscall(nr: u64, args: [u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: the registers that the kernel changes are declared; memory is by default.
    unsafe {
        asm!("syscall", inlateout("rax") nr as i64 => ret, in("rdi") args[0], in("rsi") args[1],
             in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

/// Ends the process.
pub fn exit_group(code: u64) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { syscall(231, [code, 0, 0, 0, 0, 0]) };
    }
}

/// `memcpy` of C.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, len: usize) -> *mut u8 {
    naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// `memset` of C.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memset(dst: *mut u8, byte: i32, len: usize) -> *mut u8 {
    naked_asm!(
        "mov r8, rdi",
        "mov eax, esi",
        "mov rcx, rdx",
        "rep stosb",
        "mov rax, r8",
        "ret"
    )
}
