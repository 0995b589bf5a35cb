//! The Sentry's own filter: what the platforms need passes, the rest ends the process with a line.
//! Each case runs in a process of its own, this program again.
#![allow(unsafe_code)] // guest code, and calls that are to be refused

#[path = "platform/guest.rs"]
#[allow(dead_code)] // the helpers of the other tests
mod guest;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Output};

use guest::{Guest, Host, programs, start_regs};
use sentry::platform::{Event, PlatformKind};
use sentry::seccomp::{Confinement, confine};

programs! { system_calls: "2: syscall", "jmp 2b"; }

const CASE: &str = "CONFINE_CASE";

fn again(case: &str) -> Output {
    let program = std::env::current_exe().expect("own path");
    let mut command = Command::new(program);
    command
        .args(["--exact", "a_case", "--nocapture"])
        .env(CASE, case);
    command.output().expect("starts")
}

/// Not a test by itself: the body of each case.
#[test]
fn a_case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    let kind = match case.as_str() {
        "ptrace" => PlatformKind::Ptrace,
        _ => PlatformKind::Systrap,
    };
    let host = Host::new(kind);
    let ptrace = kind == PlatformKind::Ptrace;
    let host_network = ["host_socket", "raw_socket"].contains(&case.as_str());
    confine(Confinement {
        ptrace,
        host_network,
        ..Confinement::default()
    })
    .expect("confined");
    match case.as_str() {
        "systrap" | "ptrace" => use_platform(&host),
        "socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
        "open" => drop(
            OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NOFOLLOW)
                .open("/dev/null"),
        ),
        "look" => {
            // The file is there; the Sentry is told that it is not.
            let error = std::fs::read("/proc/self/maps").expect_err("answered by the filter");
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        "host_socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0").expect("allowed")),
        "raw_socket" => {
            // SAFETY: no memory is passed.
            unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP) };
        }
        "fork" => {
            // SAFETY: refused, or the child goes on as this process would.
            unsafe { libc::fork() };
        }
        "executable" => {
            // SAFETY: a new mapping.
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, 7, 0x22, -1, 0) };
        }
        other => panic!("{other}"),
    }
    println!("done");
}

fn use_platform(host: &Host) {
    for _ in 0..20 {
        let mut guest = Guest::new(host, system_calls());
        guest.syscall();
        guest.context.interrupt_handle().interrupt();
        assert_eq!(guest.run().expect("alive"), Event::Interrupted);
        let fp = guest.context.fp_state();
        guest.context.set_fp_state(Some(&fp)).expect("valid");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut second = guest.space.new_context(Some(&fp)).expect("context");
                assert_eq!(
                    second.run(&mut start_regs()).expect("alive"),
                    Event::Syscall
                );
            });
        });
    }
}

#[test]
fn the_platforms_work_under_the_filter() {
    for case in ["systrap", "ptrace", "look", "host_socket"] {
        let output = again(case);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("done"),
            "{case}: {output:?}"
        );
    }
}

#[test]
fn other_calls_end_the_sentry_with_a_line() {
    let cases = [
        ("socket", "41"),
        ("raw_socket", "41"),
        ("open", "257"),
        ("fork", "56"),
        ("executable", "9"),
    ];
    for (case, number) in cases {
        let output = again(case);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(128), "{case}: {output:?}");
        let line = format!("sentry: refused by its own filter: system call {number}");
        assert!(text.contains(&line), "{case}: {text}");
    }
}
