//! What platforms leave behind: nothing. One test only, because it counts what the process has.
#![allow(unsafe_code)] // as in `platform`

#[path = "platform/guest.rs"]
#[allow(dead_code)] // the helpers of the other test
mod guest;

use guest::{CODE, DATA, Guest, Host, kinds, programs, start_regs};
use sentry::platform::{Event, PlatformError};

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

        killed_from_outside(&host);
        drop(host);
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
fn killed_from_outside(host: &Host) {
    let known = children();
    for code in [spin(), system_calls()] {
        let mut guest = Guest::new(host, code);
        guest.regs.rdi = DATA;
        let new: Vec<i32> = children()
            .into_iter()
            .filter(|pid| !known.contains(pid))
            .collect();
        let handle = guest.context.interrupt_handle();
        if code == spin() {
            handle.interrupt();
            assert_eq!(guest.run().expect("alive"), Event::Interrupted);
            std::thread::scope(|scope| {
                let running = scope.spawn(|| guest.run());
                new.iter().for_each(|pid| kill(*pid));
                let result = running.join().expect("runner");
                assert!(matches!(result, Err(PlatformError::Dead(_))), "{result:?}");
            });
        } else {
            guest.syscall();
            new.iter().for_each(|pid| kill(*pid));
            guest.regs.rip = CODE;
            let mut result = guest.run();
            // The kill may come a moment after the next call.
            while result.is_ok() {
                result = guest.run();
            }
            assert!(matches!(result, Err(PlatformError::Dead(_))), "{result:?}");
        }
        assert!(guest.space.new_context(None).is_err());
    }
}
