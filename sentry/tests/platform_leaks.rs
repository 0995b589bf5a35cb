//! What platforms leave behind: nothing. One test only, because it counts what the process has.
#![allow(unsafe_code)] // as in `platform`

#[path = "platform/guest.rs"]
#[allow(dead_code)] // the helpers of the other test
mod guest;

use guest::{DATA, Guest, Host, kinds, programs, start_regs};
use sentry::platform::{Event, PlatformError, PlatformKind};

programs! {
    spin: "2: mov [rdi], rsi", "jmp 2b";
    system_calls: "2: syscall", "jmp 2b";
}

/// Descriptors, mappings and children of this process.
fn possessions() -> [usize; 3] {
    let entries = |path: &str| std::fs::read_dir(path).expect("proc").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
    [
        entries("/proc/self/fd"),
        maps.lines().count(),
        children().len(),
    ]
}

fn children() -> Vec<i32> {
    let me = format!("PPid:\t{}\n", std::process::id());
    let pids = std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.contains(&me).then_some(pid)
        });
    pids.collect()
}

fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
}

#[test]
fn nothing_is_left_behind() {
    for kind in kinds() {
        let host = Host::new(kind);
        churn(&host, 40);
        let before = possessions();
        let rounds = std::env::var("PLATFORM_ROUNDS").map_or(1000, |n| n.parse().expect("number"));
        churn(&host, rounds);
        let after = possessions();
        // Dead processes may wait for the next one to be reaped; the allocator may map memory.
        assert_eq!(before[0], after[0], "descriptors");
        assert!(after[1] <= before[1] + 20, "mappings: {before:?} {after:?}");
        assert!(after[2] <= 40, "children: {before:?} {after:?}");

        drop(host);
        assert_eq!(children(), [0; 0]);
        killed_from_outside(kind, spin());
        killed_from_outside(kind, system_calls());
        assert_eq!(children(), [0; 0]);
    }
}

fn churn(host: &Host, rounds: usize) {
    for _ in 0..rounds {
        let mut guest = Guest::new(host, system_calls());
        guest.regs.rax = 39;
        assert_eq!(guest.syscall(), 39);
        let mut second = guest.space.new_context(None).expect("context");
        assert_eq!(
            second.run(&mut start_regs()).expect("alive"),
            Event::Syscall
        );
    }
}

/// A process that ends while its guest computes, and one that ends while it waits.
fn killed_from_outside(kind: PlatformKind, code: &'static [u8]) {
    let host = Host::new(kind);
    let mut guest = Guest::new(&host, code);
    guest.regs.rdi = DATA;
    if code == spin() {
        guest.context.interrupt_handle().interrupt();
        assert_eq!(guest.run().expect("alive"), Event::Interrupted);
    } else {
        guest.syscall();
    }
    let helper = children().into_iter().min();
    let kill_all = || {
        let stubs = children().into_iter().filter(|pid| Some(*pid) != helper);
        stubs.for_each(kill);
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            loop {
                if let Err(error) = guest.run() {
                    return error;
                }
            }
        });
        kill_all();
        let error = running.join().expect("runner");
        assert!(matches!(error, PlatformError::Dead(_)), "{error}");
    });
    assert!(guest.space.new_context(None).is_err());
}
