//! System calls, registers, mappings.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use sentry::Regs;
use sentry::platform::{Access, Event, MapOp, MapSource, PlatformError};

use crate::guest::{CODE, DATA, Guest, Host, R, RW, STACK_TOP, kinds, programs};

programs! {
    getpid_twice:
        "mov eax, 39", "syscall",
        "mov rbx, rax",
        "mov eax, 60", "syscall",
        "ud2";
    system_calls: "2: syscall", "jmp 2b";
    undefined: "ud2";
    copy: "2: mov rax, [rsi]", "mov [rdi], rax", "syscall", "jmp 2b";
    int80: "int 0x80";
    x32: "mov eax, 0x40000027", "syscall";
}

#[test]
fn a_system_call_comes_and_goes() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, getpid_twice());
        assert_eq!(guest.syscall(), 39);
        assert_eq!(guest.regs.rax as i64, -38);
        assert_eq!(guest.regs.rip, CODE + 7);
        guest.regs.rax = 4242;
        assert_eq!(guest.syscall(), 60);
        assert_eq!(guest.regs.rbx, 4242);
        let illegal = Event::Exception {
            signo: libc::SIGILL,
            code: 2,
            addr: CODE + 17,
        };
        assert_eq!(guest.run().expect("alive"), illegal);
    }
}

fn patterned() -> Regs {
    Regs {
        r15: 0x1515_0000_0000_0015,
        r14: 0x1414_0000_0000_0014,
        r13: 13 << 40,
        r12: 12 << 40,
        rbp: 5 << 40,
        rbx: 3 << 40,
        r11: 11 << 40,
        r10: 10 << 40,
        r9: 9 << 40,
        r8: 8 << 40,
        rax: 0x27,
        rcx: 1 << 40,
        rdx: 2 << 40,
        rsi: 6 << 40,
        rdi: 7 << 40,
        orig_rax: u64::MAX,
        rip: CODE,
        rsp: 0xdead_0000,
        eflags: 0x202 | 1 | 0x40 | 0x800 | 0x400,
        fs_base: 0x7123_4567_8000,
        gs_base: 0x7fff_0000_1000,
        cs: 0x33,
        ss: 0x2b,
        ..Regs::default()
    }
}

#[test]
fn all_registers_survive() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, undefined());
        for _ in 0..3 {
            guest.regs = patterned();
            assert!(matches!(
                guest.run().expect("alive"),
                Event::Exception { signo: 4, .. }
            ));
            // The resume flag is the processor's own affair.
            guest.regs.eflags &= !0x1_0000;
            assert_eq!(guest.regs, patterned());
        }
        let mut guest = Guest::new(&host, system_calls());
        guest.regs = patterned();
        for _ in 0..3 {
            guest.regs.rax = 0x27;
            assert_eq!(guest.syscall(), 0x27);
            let expected = Regs {
                rcx: CODE + 2,
                r11: guest.regs.r11,
                rax: -38_i64 as u64,
                orig_rax: 0x27,
                rip: CODE + 2,
                ..patterned()
            };
            assert_eq!(guest.regs, expected);
        }
    }
}

#[test]
fn many_calls_in_a_row() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, system_calls());
        for i in 0..20_000 {
            // uretprobe and uprobe, 335 and 336, are exempt from filters; they end in SIGILL.
            guest.regs.rax = i % 335;
            assert_eq!(guest.syscall(), i % 335);
        }
    }
}

#[test]
fn other_entries_are_not_system_calls_of_ours() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, int80());
        guest.regs.rax = 20;
        let fault = Event::Exception {
            signo: libc::SIGSEGV,
            code: 0x80,
            addr: 0,
        };
        assert_eq!(guest.run().expect("alive"), fault);
        assert_eq!(guest.regs.rip, CODE);
        let mut guest = Guest::new(&host, x32());
        assert_eq!(guest.syscall(), 0x4000_0027);
    }
}

#[test]
fn memory_is_the_memory_file() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, copy());
        host.memory
            .write_all_at(b"from the", 0x1000)
            .expect("write");
        (guest.regs.rsi, guest.regs.rdi) = (DATA, DATA + 0x1ff8);
        guest.syscall();
        let mut bytes = [0; 8];
        host.memory.read_exact_at(&mut bytes, 0x2ff8).expect("read");
        assert_eq!(&bytes, b"from the");
    }
}

#[test]
fn files_are_mapped_from_their_descriptor() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut file = std::fs::File::from(
            nix::sys::memfd::memfd_create("file", nix::sys::memfd::MFdFlags::empty())
                .expect("memfd"),
        );
        file.write_all(&[b'x'; 0x3000]).expect("write");
        let mut guest = Guest::new(&host, copy());
        let map = |addr, prot, offset, shared| MapOp::Map {
            addr,
            len: 0x1000,
            prot,
            source: MapSource::File {
                fd: file.as_fd(),
                offset,
                shared,
            },
        };
        let at = 0x7000_0000_0000;
        for round in 0..20 {
            let ops = [
                map(at, R, 0x1000, false),
                map(at + 0x1000, RW, 0x2000, true),
            ];
            guest.space.apply(&ops).expect("map");
            file.write_all_at(&[b'a' + round; 8], 0x1000)
                .expect("write");
            guest.regs.rip = CODE;
            (guest.regs.rsi, guest.regs.rdi) = (at, at + 0x1000);
            guest.syscall();
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, 0x2000).expect("read");
            assert_eq!(bytes, [b'a' + round; 8]);
        }
        // One that the host refuses does not upset the next.
        let socket = std::os::unix::net::UnixDatagram::unbound().expect("socket");
        let bad = MapOp::Map {
            addr: at,
            len: 0x1000,
            prot: R,
            source: MapSource::File {
                fd: socket.as_fd(),
                offset: 0,
                shared: true,
            },
        };
        let refused = guest.space.apply(&[bad]);
        assert!(
            matches!(refused, Err(PlatformError::Host { .. })),
            "{refused:?}"
        );
        guest
            .space
            .apply(&[map(at + 0x5000, RW, 0, true)])
            .expect("map");
        guest.regs.rip = CODE;
        (guest.regs.rsi, guest.regs.rdi) = (DATA, at + 0x5000);
        guest.syscall();
    }
}

#[test]
fn unmapping_and_protecting_take_effect() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, copy());
        (guest.regs.rsi, guest.regs.rdi) = (DATA, DATA + 0x1000);
        guest.syscall();
        let protect = MapOp::Protect {
            addr: DATA + 0x1000,
            len: 0x1000,
            prot: R,
        };
        guest.space.apply(&[protect]).expect("protect");
        guest.regs.rip = CODE;
        let fault = |addr, access| Event::Fault { addr, access };
        assert_eq!(
            guest.run().expect("alive"),
            fault(DATA + 0x1000, Access::Write)
        );
        let unmap = MapOp::Unmap {
            addr: DATA,
            len: 0x1000,
        };
        guest.space.apply(&[unmap]).expect("unmap");
        guest.regs.rip = CODE;
        assert_eq!(guest.run().expect("alive"), fault(DATA, Access::Read));
        // A large batch, out of order in memory.
        let ops: Vec<_> = (0..1000)
            .map(|i| MapOp::Map {
                addr: STACK_TOP + 0x10_0000 + (i * 7919 % 1000) * 0x1000,
                len: 0x1000,
                prot: RW,
                source: MapSource::Memory {
                    offset: 0x10_0000 + i * 0x1000,
                },
            })
            .collect();
        guest.space.apply(&ops).expect("map");
        host.memory
            .write_all_at(b"page 999", 0x10_0000 + 999 * 0x1000)
            .expect("write");
        guest.regs.rip = CODE;
        guest.regs.rsi = STACK_TOP + 0x10_0000 + (999 * 7919 % 1000) * 0x1000;
        guest.regs.rdi = STACK_TOP - 8;
        guest.syscall();
    }
}

#[test]
fn mappings_outside_the_user_range_are_refused() {
    for kind in kinds() {
        let host = Host::new(kind);
        let guest = Guest::new(&host, undefined());
        let range = host.platform.user_range();
        let around = [
            (0, 0x1000),
            (range.end, 0x1000),
            (range.end - 0x1000, 0x2000),
            (CODE, 0),
        ];
        for (addr, len) in around
            .into_iter()
            .chain([(u64::MAX - 0xfff, 0x1000), (CODE + 1, 0x1000)])
        {
            let result = guest.space.apply(&[MapOp::Unmap { addr, len }]);
            assert!(
                matches!(result, Err(PlatformError::Host { .. })),
                "{addr:x} {len:x}"
            );
        }
    }
}
