//! Interrupts, and several contexts in an address space.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use sentry::platform::{Event, Platform};

use crate::guest::{CODE, DATA, Guest, Host, kinds, programs, start_regs};

programs! {
    spin: "2: jmp 2b";
    system_calls: "2: syscall", "jmp 2b";
    count: "2: lock inc qword ptr [rdi]", "mov eax, 39", "syscall", "jmp 2b";
    count_and_spin: "lock inc qword ptr [rdi]", "2: jmp 2b";
}

#[test]
fn an_interrupt_before_run_is_kept() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, spin());
        guest.context.interrupt_handle().interrupt();
        guest.context.interrupt_handle().interrupt();
        assert_eq!(guest.run().expect("alive"), Event::Interrupted);
        assert_eq!(guest.regs, start_regs());
    }
}

#[test]
fn a_spinning_guest_is_interrupted() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, count_and_spin());
        guest.regs.rdi = DATA;
        let handle = guest.context.interrupt_handle();
        std::thread::scope(|scope| {
            let runner = scope.spawn(|| guest.run().expect("alive"));
            let mut count = [0; 8];
            while count == [0; 8] {
                std::thread::yield_now();
                host.memory.read_exact_at(&mut count, 0x1000).expect("read");
            }
            handle.interrupt();
            assert_eq!(runner.join().expect("runner"), Event::Interrupted);
        });
        assert_eq!(guest.regs.rip, CODE + 4);
    }
}

/// Interrupts from another thread at any moment: each is seen, none twice in a row without cause.
#[test]
fn no_interrupt_is_lost() {
    for kind in kinds() {
        let host = Host::new(kind);
        for code in [spin(), system_calls()] {
            let mut guest = Guest::new(&host, code);
            let handle = guest.context.interrupt_handle();
            let seen = AtomicBool::new(true);
            let rounds = 500;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        while !seen.swap(false, SeqCst) {
                            std::thread::yield_now();
                        }
                        handle.interrupt();
                    }
                });
                let mut interrupts = 0;
                while interrupts < rounds {
                    match guest.run().expect("alive") {
                        Event::Interrupted => {
                            interrupts += 1;
                            seen.store(true, SeqCst);
                        }
                        Event::Syscall => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    }
}

#[test]
fn threads_share_memory_and_run_at_once() {
    for kind in kinds() {
        let host = Host::new(kind);
        let space = host.space(count());
        let (threads, calls) = (4, 2000);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut context = space.new_context(None).expect("context");
                    let mut regs = start_regs();
                    regs.rdi = DATA;
                    for _ in 0..calls {
                        assert_eq!(context.run(&mut regs).expect("alive"), Event::Syscall);
                    }
                });
            }
        });
        let mut count = [0; 8];
        host.memory.read_exact_at(&mut count, 0x1000).expect("read");
        assert_eq!(u64::from_le_bytes(count), threads * calls);
    }
}

#[test]
fn contexts_come_and_go() {
    for kind in kinds() {
        let host = Host::new(kind);
        let space = host.space(count());
        for _ in 0..300 {
            let mut context = space.new_context(None).expect("context");
            let mut regs = start_regs();
            regs.rdi = DATA;
            assert_eq!(context.run(&mut regs).expect("alive"), Event::Syscall);
        }
        let mut many: Vec<_> = (0..50)
            .map(|_| space.new_context(None).expect("context"))
            .collect();
        for context in &mut many {
            let mut regs = start_regs();
            regs.rdi = DATA;
            assert_eq!(context.run(&mut regs).expect("alive"), Event::Syscall);
        }
    }
}

/// Many address spaces made, used and dropped by several threads.
#[test]
fn address_spaces_are_made_by_several_threads() {
    for kind in kinds() {
        let host = Host::new(kind);
        let platform: &Arc<dyn Platform> = &host.platform;
        drop(host.space(count()));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..30 {
                        let space = platform.new_address_space().expect("space");
                        let mut context = space.new_context(None).expect("context");
                        // Nothing is mapped.
                        let event = context.run(&mut start_regs()).expect("alive");
                        assert!(
                            matches!(event, Event::Fault { addr: CODE, .. }),
                            "{event:?}"
                        );
                    }
                });
            }
        });
    }
}
