//! Patched call sites (systrap): the guest and the Sentry see what they would see without.

use std::os::unix::fs::FileExt;
use std::sync::mpsc;

use sentry::Regs;
use sentry::platform::{CallShape, CallSite, Event, PlatformKind};

use crate::guest::{CODE, DATA, Guest, Host, programs};

const GETPPID: u64 = 110;

programs! {
    // The sites are at offset 0, and what follows stores the flags.
    numbered: "mov eax, 110", "syscall", "2:", "pushfq", "pop rdi", "syscall", "jmp 2b";
    compared: "syscall", "cmp rax, -4096", "2:", "pushfq", "pop rdi", "syscall", "jmp 2b";
    numbered_loop: "2:", "mov eax, 110", "syscall", "inc qword ptr [rsi]", "jmp 2b";
    // A jump to the `syscall` of the site at offset 0.
    jumped_into: "mov eax, 110", "syscall", "ud2", "mov eax, 39", "lea rcx, [rip - 16]", "jmp rcx";
    vectors: "mov eax, 110", "syscall", "movups [rdi], xmm3", "syscall";
    through_gs: "mov eax, 110", "syscall", "mov rdi, gs:[0]", "syscall";
}

fn host() -> Host {
    Host::new(PlatformKind::Systrap)
}

fn site(shape: CallShape) -> CallSite {
    CallSite { addr: CODE, shape }
}

/// A guest with `code`, whose first instructions are replaced.
fn patched(host: &Host, code: &[u8], shape: CallShape) -> Guest {
    let guest = Guest::new(host, code);
    let site = site(shape);
    let made = guest.space.patch(site, &mut |patch| {
        assert!(patch.alone);
        let bytes = &patch.bytes[..site.size()];
        host.memory.write_all_at(bytes, 0).expect("write");
    });
    assert!(made);
    guest
}

/// Registers with a different value in each.
fn marked(seed: u64) -> Regs {
    let value = |n: u64| n.wrapping_mul(0x0123_4567_89ab_cdef) ^ seed;
    let mut regs = crate::guest::start_regs();
    let all = [
        &mut regs.r15,
        &mut regs.r14,
        &mut regs.r13,
        &mut regs.r12,
        &mut regs.rbp,
        &mut regs.rbx,
        &mut regs.r10,
        &mut regs.r9,
        &mut regs.r8,
        &mut regs.rdx,
        &mut regs.rsi,
        &mut regs.rdi,
    ];
    for (n, field) in (1..).zip(all) {
        *field = value(n);
    }
    regs.rax = GETPPID;
    regs
}

/// All that can be seen of a run: events, and registers at each.
fn history(guest: &mut Guest, results: &[u64]) -> Vec<(Event, Regs)> {
    let mut history = Vec::new();
    for result in results {
        // The second call of each round is not patched and shows the flags after the first.
        for _ in 0..2 {
            let event = guest.run().expect("alive");
            history.push((event, guest.regs));
            guest.regs.rax = *result;
        }
        guest.regs.rip = CODE;
    }
    history
}

#[test]
fn registers_and_flags_are_the_same_with_and_without() {
    let results = [
        0,
        1,
        u64::MAX,
        -4096_i64 as u64,
        -4095_i64 as u64,
        1 << 63,
        0x7fff_0000,
    ];
    for (code, shape) in [
        (numbered(), CallShape::Number(110)),
        (compared(), CallShape::Compared(-4096)),
    ] {
        for seed in 0..20 {
            let host = host();
            let flags = if seed % 2 == 0 { 0x202 } else { 0xad7 };
            let run = |mut guest: Guest| {
                guest.regs = Regs {
                    eflags: flags,
                    ..marked(seed)
                };
                history(&mut guest, &results)
            };
            let without = run(Guest::new(&host, code));
            let with = run(patched(&host, code, shape));
            assert_eq!(with, without, "{shape:?}");
        }
    }
}

#[test]
fn a_jump_to_the_replaced_call_is_served() {
    let host = host();
    let mut guest = patched(&host, jumped_into(), CallShape::Number(110));
    guest.regs.rip = CODE + 9;
    assert_eq!(guest.syscall(), 39);
    assert_eq!((guest.regs.rip, guest.regs.rcx), (CODE + 7, CODE + 7));
    // And a restart of the call, as a signal has it.
    guest.regs.rip = CODE + 5;
    guest.regs.rax = 110;
    assert_eq!(guest.syscall(), 110);
    assert_eq!(guest.regs.rip, CODE + 7);
    assert!(matches!(guest.run(), Ok(Event::Exception { signo: 4, .. })));
}

#[test]
fn vector_state_is_kept_read_and_set() {
    let host = host();
    let mut guest = patched(&host, vectors(), CallShape::Number(110));
    guest.regs.rdi = DATA;
    for round in 0..3_u8 {
        guest.regs.rip = CODE;
        assert_eq!(guest.syscall(), GETPPID);
        let mut area = guest.context.fp_state();
        let xmm3 = 160 + 3 * 16;
        let before = if round == 0 { 0 } else { round };
        assert_eq!(area[xmm3..xmm3 + 16], [before; 16]);
        area[xmm3..xmm3 + 16].fill(round + 1);
        area[512] |= 2;
        guest.context.set_fp_state(Some(&area)).expect("valid");
        guest.syscall();
        let mut stored = [0; 16];
        host.memory
            .read_exact_at(&mut stored, 0x1000)
            .expect("read");
        assert_eq!(stored, [round + 1; 16]);
    }
}

#[test]
fn a_guest_with_a_gs_base_of_its_own_has_it() {
    let host = host();
    host.memory
        .write_all_at(&77_u64.to_ne_bytes(), 0x1000)
        .expect("write");
    let mut guest = patched(&host, through_gs(), CallShape::Number(110));
    assert_eq!(guest.syscall(), GETPPID);
    assert_eq!(guest.regs.gs_base, 0);
    // As after arch_prctl(ARCH_SET_GS).
    guest.regs.gs_base = DATA;
    guest.syscall();
    assert_eq!((guest.regs.rdi, guest.regs.gs_base), (77, DATA));
    // The gate now traps.
    guest.regs.rip = CODE;
    assert_eq!(guest.syscall(), GETPPID);
    assert_eq!((guest.regs.rip, guest.regs.rcx), (CODE + 7, CODE + 7));
    assert_eq!(guest.regs.gs_base, DATA);
}

#[test]
fn a_fork_has_the_same_gates() {
    let host = host();
    let mut guest = patched(&host, numbered_loop(), CallShape::Number(110));
    guest.regs.rsi = DATA;
    for _ in 0..3 {
        assert_eq!(guest.syscall(), GETPPID);
    }
    let space = guest.space.fork().expect("a fork");
    let map = |addr, prot, offset| sentry::platform::MapOp::Map {
        addr,
        len: 0x1000,
        prot,
        source: sentry::platform::MapSource::Memory { offset },
    };
    space
        .apply(&[map(CODE, 5, 0), map(DATA, 3, 0x1000)])
        .expect("mapped");
    let mut context = space.new_context(None).expect("context");
    let mut regs = guest.regs;
    for _ in 0..3 {
        assert_eq!(context.run(&mut regs).expect("alive"), Event::Syscall);
        assert_eq!((regs.orig_rax, regs.rip), (GETPPID, CODE + 7));
    }
}

#[test]
fn interrupts_are_never_lost() {
    const ROUNDS: u32 = 20_000;
    let host = host();
    let mut guest = patched(&host, numbered_loop(), CallShape::Number(110));
    guest.regs.rsi = DATA;
    let handle = guest.context.interrupt_handle();
    let (seen, acknowledged) = mpsc::channel();
    let interrupter = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            handle.interrupt();
            // Each is seen before the next is sent: one that was lost would hang the test.
            acknowledged.recv().expect("the guest runs");
        }
    });
    let mut calls = 0_u64;
    for _ in 0..ROUNDS {
        loop {
            match guest.run().expect("alive") {
                Event::Interrupted => break,
                Event::Syscall => {
                    assert_eq!((guest.regs.orig_rax, guest.regs.rip), (GETPPID, CODE + 7));
                    calls += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        seen.send(()).expect("the interrupter runs");
    }
    interrupter.join().expect("no panic");
    // The loop went round once for each call, less the one it may be in.
    let mut count = [0; 8];
    host.memory.read_exact_at(&mut count, 0x1000).expect("read");
    let count = u64::from_ne_bytes(count);
    assert!(calls - count <= 1, "{calls} calls, {count} rounds");
}
