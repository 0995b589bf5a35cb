//! What runs in a stub beside guest code (`text.s`, `gates.s`), and the seccomp programs (`filters.s`), in one
//! section at a fixed address, so that the assembler knows the address of each `syscall` instruction.

use crate::layout::*;

core::arch::global_asm!(
    include_str!("text.s"),
    include_str!("gates.s"),
    include_str!("filters.s"),
    slot = const SLOT,
    state = const slot::STATE,
    sentry_sleeps = const slot::SENTRY_SLEEPS,
    stub_sleeps = const slot::STUB_SLEEPS,
    spin = const slot::SPIN,
    sentry_cpu = const slot::SENTRY_CPU,
    stub_cpu = const slot::STUB_CPU,
    ucontext = const slot::UCONTEXT,
    left_by = const slot::LEFT_BY,
    want_frame = const slot::WANT_FRAME,
    pending = const slot::PENDING,
    call_regs = const slot::CALL_REGS,
    call_stack = const slot::CALL_STACK,
    by_frame = const slot::BY_FRAME,
    by_call = const slot::BY_CALL,
    by_interrupt = const slot::BY_INTERRUPT,
    interrupt = const INTERRUPT_SIGNAL,
    uc_rip = const UC_RIP,
    uc_rbx = const UC_RBX,
    gate = const GATE,
    gate_end = const GATE_END,
    gates_start = const GATES - BASE,
    gates_end = const GATES + GATES_LEN - BASE,
    fs_base = const slot::FS_BASE,
    gs_base = const slot::GS_BASE,
    event = const slot::EVENT,
    run = const slot::RUN,
    order = const ORDER,
    slots = const SLOTS,
    o_seq = const order::SEQ,
    o_done = const order::DONE,
    o_error = const order::ERROR,
    o_index = const order::INDEX,
    o_waits = const order::WAITS,
    o_spin = const order::SPIN,
    o_count = const order::COUNT,
    o_ops = const order::OPS,
    op_len = const order::OP_LEN,
    c_asleep = const status::ASLEEP,
    c_data = const status::DATA,
    fd_wake = const FD_WAKE,
    fd_shared = const FD_SHARED,
    base = const BASE,
    base_hi = const BASE >> 32,
    base_lo = const BASE & 0xffff_ffff,
    slots_hi = const SLOTS >> 32,
    slots_lo = const SLOTS & 0xffff_ffff,
    slots_end_lo = const (SLOTS + SLOTS_LEN) & 0xffff_ffff,
    fd_memory = const FD_MEMORY,
    fd_files = const FD_FILES,
    fd_incoming = const FD_INCOMING,
    clone_thread = const CLONE_THREAD_FLAGS,
    clone_stub = const CLONE_STUB_FLAGS,
);

/// Offsets of registers in a `ucontext`.
const UC_RBX: usize = 40 + 11 * 8;
const UC_RIP: usize = 40 + 16 * 8;

// The filters compare only the low words of addresses within one 4 GiB.
const _: () = assert!(SLOTS >> 32 == BASE >> 32 && (SLOTS + SLOTS_LEN - 1) >> 32 == BASE >> 32);
