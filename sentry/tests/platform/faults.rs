//! Faults and exceptions.

use sentry::platform::{Access, Event};

use crate::guest::{CODE, Guest, Host, STACK_TOP, kinds, programs};

programs! {
    load: "mov al, [rdi]";
    store: "mov byte ptr [rdi], 1";
    call: "call rdi";
    breakpoint: "int3", "nop";
    divide: "xor edx, edx", "xor ecx, ecx", "div ecx";
    step: "nop", "nop", "syscall";
    privileged: "hlt";
}

fn event_of(host: &Host, code: &[u8], rdi: u64) -> (Event, u64) {
    let mut guest = Guest::new(host, code);
    guest.regs.rdi = rdi;
    let event = guest.run().expect("alive");
    (event, guest.regs.rip)
}

#[test]
fn page_faults_name_address_and_access() {
    for kind in kinds() {
        let host = Host::new(kind);
        let fault = |addr, access| Event::Fault { addr, access };
        for addr in [0, 8, 0x1234_5677, CODE - 1, STACK_TOP + 1, 0x7fef_ffff_fffe] {
            let of = |code| event_of(&host, code, addr).0;
            assert_eq!(of(load()), fault(addr, Access::Read));
            assert_eq!(of(store()), fault(addr, Access::Write));
            assert_eq!(of(call()), fault(addr, Access::Execute));
        }
        // Mapped, but not for that.
        assert_eq!(
            event_of(&host, store(), CODE + 5).0,
            fault(CODE + 5, Access::Write)
        );
        let stack = STACK_TOP - 16;
        assert_eq!(
            event_of(&host, call(), stack).0,
            fault(stack, Access::Execute)
        );
        // The legacy vsyscall page, when not a call of one of its three.
        let (event, _) = event_of(&host, load(), 0xffff_ffff_ff60_0000);
        assert!(
            matches!(
                event,
                Event::Fault {
                    access: Access::Read,
                    ..
                }
            ),
            "{event:?}"
        );
    }
}

#[test]
fn exceptions_become_their_signals() {
    for kind in kinds() {
        let host = Host::new(kind);
        let of = |code: &[u8], rdi| match event_of(&host, code, rdi) {
            (Event::Exception { signo, code, addr }, rip) => (signo, code, addr, rip - CODE),
            other => panic!("{other:x?}"),
        };
        let non_canonical = 0x8000_0000_0000_0000;
        assert_eq!(of(load(), non_canonical), (libc::SIGSEGV, 0x80, 0, 0));
        assert_eq!(of(privileged(), 0), (libc::SIGSEGV, 0x80, 0, 0));
        assert_eq!(of(breakpoint(), 0), (libc::SIGTRAP, 0x80, 0, 1));
        assert_eq!(of(divide(), 0), (libc::SIGFPE, 1, CODE + 4, 4));
    }
}

#[test]
fn single_steps() {
    const TF: u64 = 0x100;
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, step());
        for offset in 1..=2 {
            guest.regs.eflags |= TF;
            let event = guest.run().expect("alive");
            let addr = CODE + offset;
            assert_eq!(
                event,
                Event::Exception {
                    signo: libc::SIGTRAP,
                    code: 2,
                    addr
                }
            );
            assert_eq!(guest.regs.rip, addr);
        }
        guest.regs.eflags &= !TF;
        guest.syscall();
    }
}
