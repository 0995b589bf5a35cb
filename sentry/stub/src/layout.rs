//! Where things are in a stub's address space and in the memory that it shares with the Sentry.
//! Compiled into both: a number that differed between them would be a hole.

#![allow(missing_docs, dead_code, unreachable_pub)] // names say it; each side uses its part

/// The stub's own addresses: `[BASE, END)`. Guests map only below. The range lies under the host's
/// randomised stack (at most 16 GiB below the top), so that the fixed text never collides with it.
pub const BASE: u64 = 0x7ff0_0000_0000;
/// Private scratch of the zygote: its stack, and the stub's until its command loop runs.
pub const SCRATCH: u64 = BASE + 0x20_0000;
pub const SCRATCH_LEN: u64 = 0x4000;
/// Orders of the Sentry; mapped read-only in the stub.
pub const ORDER: u64 = BASE + 0x40_0000;
pub const ORDER_LEN: u64 = 0x4000;
/// Contexts: one slot per guest thread; slot 0 holds the status word of the command thread.
pub const SLOTS: u64 = BASE + 0x1000_0000;
pub const SLOT: u64 = 0x8000;
pub const SLOT_COUNT: u64 = 8192;
pub const SLOTS_LEN: u64 = SLOT * SLOT_COUNT;
/// Where patched call sites jump through (`jmp *disp32` reaches only the low 2 GiB): a gate's address
/// each. Bits 16 to 23 of these addresses are 6: what a patch leaves in the place of the first byte of
/// `syscall` is an invalid instruction, so that a jump there traps.
pub const TABLE: u64 = 0x6_0000;
pub const TABLE_LEN: u64 = GATE_COUNT * 8;
/// A few instructions per patched call site, and how many there can be.
pub const GATES: u64 = BASE + 0x60_0000;
pub const GATE: u64 = 128;
/// Where in a gate the instructions end that lead into the stub; behind it are those that lead back.
pub const GATE_END: u64 = 50;
pub const GATE_COUNT: u64 = 4096;
pub const GATES_LEN: u64 = GATE * GATE_COUNT;
/// Where gates enter the stub's text: r11 = slot, rcx = return address, all else the guest's.
pub const CALL_ENTRY: u64 = BASE + 16;
/// Lowest guest address.
pub const USER_START: u64 = 0x7_0000;
pub const USER_END: u64 = BASE;

/// The same in the file behind them: orders, table, gates, slots.
pub const TABLE_AT: u64 = ORDER_LEN;
pub const GATES_AT: u64 = TABLE_AT + TABLE_LEN;
pub const SLOTS_AT: u64 = GATES_AT + GATES_LEN;

/// Descriptors of a stub.
pub const FD_MEMORY: u64 = 0;
/// Zygote: requests. Stub: wakes its command thread; end of file ends the stub.
pub const FD_WAKE: u64 = 1;
/// The file behind `ORDER`, `TABLE`, `GATES` and `SLOTS`; results are written through it.
pub const FD_SHARED: u64 = 2;
/// Files to map arrive here ...
pub const FD_FILES: u64 = 3;
/// ... and land here, the lowest free number.
pub const FD_INCOMING: u64 = 4;

/// Order page, byte offsets. Only the Sentry writes, but for `DONE`, `ERROR` and `INDEX`, which the
/// command thread writes through `FD_SHARED` (guest code can make no such call, and the page is
/// read-only to it: a result can't be forged).
pub mod order {
    /// u32: number of the newest order.
    pub const SEQ: usize = 0x00;
    /// u32: number of the newest order that was carried out.
    pub const DONE: usize = 0x04;
    /// u32: errno of the operation that failed, 0 if none did; the rest was skipped.
    pub const ERROR: usize = 0x08;
    /// u32: index of that operation, modulo 256.
    pub const INDEX: usize = 0x0c;
    /// u32: the Sentry sleeps on `DONE`.
    pub const WAITS: usize = 0x10;
    /// u32: TSC cycles to poll for the next order before sleeping.
    pub const SPIN: usize = 0x14;
    /// u32: operations in this order.
    pub const COUNT: usize = 0x18;
    /// A CPU set with all CPUs, for `sched_setaffinity`.
    pub const ALL_CPUS: usize = 0x80;
    pub const ALL_CPUS_LEN: usize = 128;
    /// Operations: eight u64 each: number, six arguments, unused.
    pub const OPS: usize = 0x100;
    pub const OP_LEN: usize = 64;
    pub const MAX_OPS: usize = 240;
}

/// Slot 0.
pub mod status {
    /// u32: the command thread sleeps in `read`. A guest can forge it, and only delays itself.
    pub const ASLEEP: usize = 0;
    /// `struct msghdr`, iovec and control data of the command thread's `recvmsg`.
    pub const MSGHDR: usize = 0x100;
    pub const IOV: usize = 0x180;
    pub const CONTROL: usize = 0x200;
    pub const DATA: usize = 0x300;
}

/// Header of a context slot. Both sides write; the guest can too.
pub mod slot {
    /// u32: who has control, and the futex that both sleep on. The host writes `DEAD` when the
    /// thread ends (CLONE_CHILD_CLEARTID).
    pub const STATE: usize = 0x00;
    /// u32: the Sentry sleeps on `STATE`.
    pub const SENTRY_SLEEPS: usize = 0x04;
    /// u32: the stub sleeps on `STATE`.
    pub const STUB_SLEEPS: usize = 0x08;
    /// u32: TSC cycles that the stub polls before it sleeps.
    pub const SPIN: usize = 0x0c;
    /// u64: address of the `ucontext` in the slot.
    pub const UCONTEXT: usize = 0x10;
    pub const FS_BASE: usize = 0x18;
    pub const GS_BASE: usize = 0x20;
    /// u32: thread id, written by the host (CLONE_PARENT_SETTID).
    pub const TID: usize = 0x28;
    /// u32 each: the CPU that each side was last seen on (as RDTSCP names it). On one and the same
    /// CPU, polling would only keep the other side from running.
    pub const SENTRY_CPU: usize = 0x2c;
    pub const STUB_CPU: usize = 0x30;
    /// u32: how guest code was left, one of the three below.
    pub const LEFT_BY: usize = 0x34;
    /// u32: the Sentry wants a frame instead of a return to guest code.
    pub const WANT_FRAME: usize = 0x38;
    /// u32: the reserved signal came while the thread was in the stub's code.
    pub const PENDING: usize = 0x3c;
    /// Registers of a thread that came through a gate, in the order of a signal frame (r8 to eflags).
    pub const CALL_REGS: usize = 0x40;
    /// The end of a stack of one word, for flags.
    pub const CALL_STACK: usize = 0x180;
    /// 0x180..0x1000: room for calls answered in the stub.
    pub const STACK: usize = 0x1000;

    /// By a signal: the registers are in the frame.
    pub const BY_FRAME: u32 = 0;
    /// Through a gate: the registers are in `CALL_REGS`, the extended state in the processor.
    pub const BY_CALL: u32 = 1;
    /// The same, and `PENDING` was set before it could return.
    pub const BY_INTERRUPT: u32 = 2;

    pub const DEAD: u32 = 0;
    pub const EVENT: u32 = 1;
    pub const RUN: u32 = 2;
    pub const EXIT: u32 = 3;
}

/// Flags of the two `clone` calls that a stub's filter admits.
/// CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | PARENT_SETTID | CHILD_CLEARTID
pub const CLONE_THREAD_FLAGS: u64 =
    0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x10_0000 | 0x20_0000;
/// CLONE_PARENT: stubs are the Sentry's children, not the zygote's; no signal at their end.
pub const CLONE_STUB_FLAGS: u64 = 0x8000;

/// The signal that makes a guest thread hand over (SIGUSR1).
pub const INTERRUPT_SIGNAL: i32 = 10;
/// Signals that a guest thread takes: ILL, TRAP, BUS, FPE, USR1, SEGV, SYS.
pub const HANDLED: [i32; 7] = [4, 5, 7, 8, 10, 11, 31];
