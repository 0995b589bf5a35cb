//! Guests that try to get out of a systrap stub, or to hang the Sentry. They know everything: where
//! the stub's code and data are, and the numbers of its descriptors.

use std::os::unix::fs::FileExt;

use sentry::platform::{Access, Event, PlatformError, PlatformKind};

use crate::guest::{CODE, DATA, Guest, Host, programs};

const BASE: u64 = 0x7ff0_0000_0000;
const ORDER: u64 = BASE + 0x40_0000;
const SLOT: u64 = BASE + 0x1000_0000 + 0x8000;

programs! {
    copy_page: "mov ecx, 4096", "rep movsb", "syscall";
    store: "mov dword ptr [rdi], esi", "2: syscall", "jmp 2b";
    store_and_spin: "mov dword ptr [rdi], esi", "2: jmp 2b";
    system_calls: "2: syscall", "jmp 2b";
}

fn host() -> Host {
    Host::new(PlatformKind::Systrap)
}

/// Addresses of all `syscall` instructions (at any alignment) in the stub's text.
fn stub_syscalls(host: &Host) -> Vec<u64> {
    let mut guest = Guest::new(host, copy_page());
    (guest.regs.rsi, guest.regs.rdi) = (BASE, DATA);
    guest.syscall();
    let mut page = [0; 4096];
    host.memory.read_exact_at(&mut page, 0x1000).expect("read");
    let sites: Vec<u64> = (0..4094)
        .filter(|&at| page[at..at + 2] == [0x0f, 0x05])
        .map(|at| BASE + at as u64)
        .collect();
    assert!(sites.len() > 10);
    sites
}

/// A call with chosen arguments from each `syscall` instruction of the stub traps.
#[test]
fn the_stubs_own_instructions_are_of_no_use() {
    let host = host();
    let sites = stub_syscalls(&host);
    let mut guest = Guest::new(&host, system_calls());
    // mmap of another guest's memory, munmap, mprotect of the stub, write and pwrite of results,
    // recvmsg, clone, fork, execve, exit_group, seccomp, prctl, getpid, kill, read.
    let calls: [[u64; 7]; 15] = [
        [9, DATA, 0x1000, 3, 0x11, 0, 0x8000],
        [11, ORDER, 0x1000, 0, 0, 0, 0],
        [10, BASE, 0x1000, 7, 0, 0, 0],
        [1, 1, DATA, 1, 0, 0, 0],
        [18, 2, DATA, 4, 4, 0, 0],
        [47, 3, DATA, 0, 0, 0, 0],
        [56, 0x0035_0f00, DATA, DATA, DATA, 0, 0],
        [57, 0, 0, 0, 0, 0, 0],
        [59, DATA, 0, 0, 0, 0, 0],
        [231, 0, 0, 0, 0, 0, 0],
        [317, 1, 0, DATA, 0, 0, 0],
        [157, 38, 0, 0, 0, 0, 0],
        [39, 0, 0, 0, 0, 0, 0],
        [62, 1, 9, 0, 0, 0, 0],
        [0, 1, DATA, 1, 0, 0, 0],
    ];
    for site in sites {
        for [nr, rdi, rsi, rdx, r10, r8, r9] in calls {
            guest.regs.rip = site;
            guest.regs.rax = nr;
            guest.regs.rdi = rdi;
            guest.regs.rsi = rsi;
            guest.regs.rdx = rdx;
            guest.regs.r10 = r10;
            guest.regs.r8 = r8;
            guest.regs.r9 = r9;
            assert_eq!(guest.syscall(), nr, "{site:x}");
            assert_eq!(guest.regs.rip, site + 2);
        }
    }
}

/// Futex on anything but the slots traps, also from the two instructions that may make it.
#[test]
fn futex_is_for_the_slots_only() {
    let host = host();
    let sites = stub_syscalls(&host);
    let mut guest = Guest::new(&host, system_calls());
    for site in sites {
        for (addr, op) in [
            (DATA, 1),
            (ORDER, 1),
            (SLOT, 3),
            (SLOT, 129),
            (SLOT + 0x1000_0000, 1),
        ] {
            guest.regs.rip = site;
            (guest.regs.rax, guest.regs.rdi, guest.regs.rsi) = (202, addr, op);
            assert_eq!(guest.syscall(), 202);
        }
    }
}

#[test]
fn the_order_page_and_the_text_are_read_only() {
    let host = host();
    for addr in [BASE, BASE + 0x400, ORDER, ORDER + 4, ORDER + 0x100] {
        let mut guest = Guest::new(&host, store());
        (guest.regs.rdi, guest.regs.rsi) = (addr, 1);
        let fault = Event::Fault {
            addr,
            access: Access::Write,
        };
        assert_eq!(guest.run().expect("alive"), fault);
    }
}

/// Whatever a guest writes into its header: it gets on, or only it is dead.
#[test]
fn a_corrupt_slot_is_its_owners_loss() {
    let host = host();
    let mut bystander = Guest::new(&host, store());
    bystander.regs.rdi = DATA;
    let slot = SLOT;
    for at in (0..0x180).step_by(4) {
        for value in [0, 1, 3, 77, u64::from(u32::MAX)] {
            let mut guest = Guest::new(&host, store());
            (guest.regs.rdi, guest.regs.rsi) = (slot + at, value);
            for _ in 0..3 {
                match guest.run() {
                    Ok(_) | Err(PlatformError::Dead(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            bystander.syscall();
        }
    }
}

/// A state word without meaning is noticed while the guest still runs.
#[test]
fn nonsense_in_the_state_word_is_death() {
    let host = host();
    for value in [0, 3, 77] {
        let mut guest = Guest::new(&host, store_and_spin());
        (guest.regs.rdi, guest.regs.rsi) = (SLOT, value);
        assert!(
            matches!(guest.run(), Err(PlatformError::Dead(_))),
            "{value}"
        );
        assert!(
            matches!(guest.run(), Err(PlatformError::Dead(_))),
            "{value}"
        );
        let unmap = sentry::platform::MapOp::Unmap {
            addr: DATA,
            len: 0x1000,
        };
        assert!(matches!(
            guest.space.apply(&[unmap]),
            Err(PlatformError::Dead(_))
        ));
        assert!(guest.space.new_context(None).is_err());
    }
}

/// A guest that ends its own thread behind the Sentry's back.
#[test]
fn a_thread_that_exits_by_itself_is_death() {
    let host = host();
    let mut dead = 0;
    for site in stub_syscalls(&host) {
        let mut guest = Guest::new(&host, system_calls());
        guest.regs.rip = site;
        guest.regs.rax = 60;
        match guest.run() {
            Ok(Event::Syscall) => {}
            Err(PlatformError::Dead(_)) => dead += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(dead, 1);
}

/// A forged signal frame can block the signals that traps need: the host then kills the process.
#[test]
fn blocking_signals_by_a_forged_frame_is_death() {
    let host = host();
    let mut outcomes = (0, 0);
    for site in stub_syscalls(&host) {
        let mut guest = Guest::new(&host, system_calls());
        let mut frame = [0u64; 38];
        let gregs = 5;
        frame[gregs + 15] = DATA + 0x1800;
        frame[gregs + 16] = CODE;
        frame[gregs + 17] = 0x202;
        frame[gregs + 18] = 0x002b_0000_0000_0033;
        frame[37] = u64::MAX;
        let bytes: Vec<u8> = frame.iter().flat_map(|word| word.to_le_bytes()).collect();
        host.memory.write_all_at(&bytes, 0x1000).expect("write");
        guest.regs.rip = site;
        guest.regs.rax = 15;
        guest.regs.rsp = DATA;
        match guest.run() {
            Ok(Event::Syscall) => outcomes.0 += 1,
            Err(PlatformError::Dead(_)) => outcomes.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(outcomes.1, 1);
    assert!(outcomes.0 > 10);
}
