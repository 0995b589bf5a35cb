//! The program that guest code runs in: a few pages at a fixed address, without a library, a heap or
//! writable data. Its first process is the zygote, which forks a stub for each guest address space
//! on the Sentry's request; a stub's main thread is the command thread (`text`), its other threads
//! run guest code under seccomp filters.

#![no_std]
#![no_main]

mod layout;
mod sys;
mod text;
mod zygote;

// The kernel enters here. The stack that it made is left at once, to be unmapped.
core::arch::global_asm!(
    r#"
    .text
    .globl _start
_start:
    mov eax, 9
    movabs rdi, {scratch}
    mov esi, {scratch_len}
    mov edx, 3
    mov r10d, 0x32
    mov r8, -1
    xor r9d, r9d
    syscall
    movabs rcx, {scratch}
    cmp rax, rcx
    jne 1f
    lea rsp, [rcx + {scratch_len}]
    xor ebp, ebp
    call zygote_main
1:  mov edi, 1
    mov eax, 231
    syscall
    ud2
    "#,
    scratch = const layout::SCRATCH,
    scratch_len = const layout::SCRATCH_LEN,
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit_group(2)
}
