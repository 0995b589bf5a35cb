//! The zygote: cleans its address space, then forks stubs on request. It never sees guest input.
//!
//! Request: one message on `FD_WAKE` with three descriptors (shared file, wake socket, file socket).
//! Reply: the stub's process id as an i32, or a negative errno.

use crate::layout::*;
use crate::sys::{exit_group, syscall};

unsafe extern "C" {
    fn stub_handler();
    fn command_loop() -> !;
    static base_prog: u8;
}

const MMAP: u64 = 9;
const MUNMAP: u64 = 11;
const CLOSE: u64 = 3;
const DUP2: u64 = 33;

/// Calls the host; the arguments left out are 0.
fn call<const N: usize>(nr: u64, args: [u64; N]) -> i64 {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    // SAFETY: every use in this file names memory of its own, or memory that nothing uses.
    unsafe { syscall(nr, all) }
}

/// Ends the process unless `result` is a success.
fn must(result: i64) -> i64 {
    if result < 0 {
        exit_group(3);
    }
    result
}

#[unsafe(no_mangle)]
extern "C" fn zygote_main() -> ! {
    const RLIMIT_CORE: u64 = 4;
    call(112, []); // setsid: a terminal's signals are the Sentry's
    must(call(160, [RLIMIT_CORE, &[0u64; 2] as *const _ as u64]));
    must(call(157, [38, 1])); // PR_SET_NO_NEW_PRIVS
    drop_capabilities();
    block_signals();
    handle_signals();
    unmap(0x1000, SCRATCH_FLOOR);
    unmap(SCRATCH + SCRATCH_LEN, TASK_END);
    must(call(317, [1, 0, &raw const base_prog as u64]));
    must(reply(0));
    loop {
        serve();
    }
}

/// The first address of the program's image.
const SCRATCH_FLOOR: u64 = BASE;
/// The end of user space with four-level page tables.
const TASK_END: u64 = 0x7fff_ffff_f000;

/// Gives up all capabilities: a Sentry without any must still be allowed to trace stubs.
fn drop_capabilities() {
    const VERSION_3: u64 = 0x2008_0522;
    must(call(126, [&VERSION_3 as *const _ as u64, &[0u32; 6] as *const _ as u64]));
}

fn block_signals() {
    must(call(14, [2, &u64::MAX as *const _ as u64, 0, 8]));
}

/// Hands all signals that guest code can cause to the handler. Threads of stubs inherit it.
fn handle_signals() {
    const SA_SIGINFO: u64 = 4;
    const SA_ONSTACK: u64 = 0x0800_0000;
    const SA_RESTORER: u64 = 0x0400_0000;
    let handler = stub_handler as *const () as u64;
    // The handler never returns to the restorer.
    let action = [
        handler,
        SA_SIGINFO | SA_ONSTACK | SA_RESTORER,
        BASE,
        u64::MAX,
    ];
    for signal in HANDLED {
        must(call(13, [signal as u64, &action as *const _ as u64, 0, 8]));
    }
}

/// Unmaps a range; where the kernel refuses a part (sealed mappings), all but that part.
fn unmap(start: u64, end: u64) {
    if call(MUNMAP, [start, end - start]) == 0 || end - start <= 0x1000 {
        return;
    }
    let middle = (start + (end - start) / 2) & !0xfff;
    unmap(start, middle);
    unmap(middle, end);
}

#[repr(C)]
struct MsgHdr {
    name: u64,
    name_len: u64,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u64,
}

/// Takes one request. The Sentry closing its end is the end.
fn serve() {
    let mut data = 0u64;
    let mut control = [0u64; 8];
    let iov = [&raw mut data as u64, 8];
    let mut header = MsgHdr {
        name: 0,
        name_len: 0,
        iov: &iov as *const _ as u64,
        iov_len: 1,
        control: &raw mut control as u64,
        control_len: 64,
        flags: 0,
    };
    let got = call(47, [FD_WAKE, &raw mut header as u64]);
    if got == -4 {
        return;
    }
    if got <= 0 {
        exit_group(0);
    }
    // Three descriptors were received, as 2, 3 and 4: 16 bytes of header and 12 of numbers.
    if control[0] != 28 {
        exit_group(4);
    }
    let pid = call(56, [CLONE_STUB_FLAGS]);
    if pid == 0 {
        become_stub();
    }
    for fd in [2, 3, 4] {
        call(CLOSE, [fd]);
    }
    must(reply(pid as i32));
}

fn reply(value: i32) -> i64 {
    call(1, [FD_WAKE, &value as *const _ as u64, 4])
}

/// In the new process: puts the descriptors in their places, maps the shared file, takes orders.
fn become_stub() -> ! {
    must(call(DUP2, [3, FD_WAKE]));
    must(call(DUP2, [4, FD_FILES]));
    must(call(CLOSE, [4]));
    // MAP_SHARED | MAP_FIXED
    for [at, len, prot, offset] in [
        [ORDER, ORDER_LEN, 1, 0],
        [TABLE, TABLE_LEN, 1, TABLE_AT],
        [GATES, GATES_LEN, 5, GATES_AT],
        [SLOTS, SLOTS_LEN, 3, SLOTS_AT],
    ] {
        must(call(MMAP, [at, len, prot, 0x11, FD_SHARED, offset]));
    }
    // SAFETY: it uses no stack and does not return.
    unsafe { command_loop() }
}
