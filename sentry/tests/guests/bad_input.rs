//! Guests that pass nonsense, wreck their own process or use up what there is: the errnos and signals
//! of Linux, and the Sentry goes on without a defect.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sentry::platform::PlatformKind;

use crate::common::{Sandbox, compile, native};

const BOTH: [PlatformKind; 2] = [PlatformKind::Systrap, PlatformKind::Ptrace];

fn program(name: &str) -> PathBuf {
    compile(name, &["-static", "-pthread", "-w"])
}

/// Runs `program`, which must end by itself and meet no defect of the Sentry; its output.
fn run(program: &Path, arguments: &[&str], platform: PlatformKind, memory_limit: u64) -> String {
    let mut argv = vec![program.as_os_str()];
    argv.extend(arguments.iter().map(OsStr::new));
    let done = Sandbox {
        platform,
        memory_limit,
        ..Sandbox::default()
    }
    .run(&argv);
    assert_eq!(done.defects, 0, "the Sentry panicked: {platform:?}");
    assert_eq!(
        done.outcome.code, 0,
        "{platform:?}\n{}",
        done.outcome.stdout
    );
    done.outcome.stdout
}

/// Asserts that a program says the same on Linux and on each platform, line by line.
fn same_lines(name: &str, platforms: &[PlatformKind]) {
    let program = program(name);
    let expected = native(&[program.as_os_str()]);
    assert_eq!(expected.code, 0, "{}", expected.stdout);
    for &platform in platforms {
        let got = run(&program, &[], platform, 0);
        let pairs = expected.stdout.lines().zip(got.lines());
        let differing: Vec<_> = pairs.filter(|(linux, ours)| linux != ours).collect();
        assert!(differing.is_empty(), "{platform:?}: {differing:#?}");
        assert_eq!(got.lines().count(), expected.stdout.lines().count());
    }
}

#[test]
fn faults_and_forged_frames_end_as_on_linux() {
    same_lines("faults.c", &BOTH);
}

#[test]
fn what_is_used_up_is_refused_as_on_linux() {
    same_lines("exhaust.c", &[PlatformKind::Systrap]);
}

/// Where the Sentry's answer is another one, on purpose or until somebody needs Linux's: why, in which
/// calls and arguments, and for which values (empty for all).
const KNOWN: &[(&str, &[&str], &str)] = &[
    (
        "memory is not overcommitted by a heuristic",
        &["mmap[1]"],
        "",
    ),
    (
        "an eventfd takes longer writes, as Linux before 6.8",
        &[
            "write[0]",
            "write pipe[0]",
            "write null[0]",
            "write socket[0]",
            "write memfd[0]",
            "writev[0]",
            "sendfile[0]",
        ],
        "fd19",
    ),
    (
        "an eventfd takes longer writes, as Linux before 6.8",
        &["write eventfd[2]"],
        "",
    ),
    (
        "how much of a faulting buffer arrives depends on Linux's buffers",
        &["write pipe[2]", "write socket[2]"],
        "",
    ),
    (
        "seeking without effect depends on the kernel's version",
        &["lseek[0]"],
        "fd18 fd19 fd20 fd21",
    ),
    (
        "pidfds are seekable in newer kernels",
        &[
            "pread64[0]",
            "pwrite64[0]",
            "preadv[0]",
            "pwritev[0]",
            "preadv2[0]",
            "pwritev2[0]",
        ],
        "fd24",
    ),
    (
        "pidfds have a file system in newer kernels",
        &["ftruncate[0]", "fallocate[0]", "sync_file_range[0]"],
        "fd24",
    ),
    (
        "files without contents differ by the kernel's version",
        &[
            "copy_file_range[0]",
            "copy_file_range[2]",
            "splice[0]",
            "splice[2]",
            "splice file[0]",
            "splice file[2]",
        ],
        "",
    ),
    (
        "files without contents differ by the kernel's version",
        &["sendfile[1]"],
        "fd18 fd19 fd20 fd21 fd24 fd25",
    ),
    (
        "whether files without a path have a mode depends on the kernel's version",
        &["fchmod[0]"],
        "",
    ),
    (
        "whether files without a path have an owner depends on the kernel's version",
        &["fchown[0]"],
        "",
    ),
    (
        "AT_FDCWD and files without a path differ by the kernel's version",
        &["fsetxattr[0]", "fgetxattr[0]"],
        "",
    ),
    (
        "epoll has ioctls of its own in newer kernels",
        &["ioctl[0]", "ioctl TCGETS[0]", "ioctl nonsense[0]"],
        "fd18",
    ),
    (
        "newer kernels check the size first",
        &["mremap[0]"],
        "-4096",
    ),
    (
        "files in memory end where memory does",
        &["pwrite64[3]", "pwritev[3]", "fallocate[2]"],
        "1099511627776",
    ),
    (
        "files in memory end where memory does",
        &["truncate[1]", "ftruncate[1]", "fallocate length[3]"],
        "",
    ),
    (
        "no CPU-time clocks",
        &["clock_nanosleep[0]", "timer_create[0]"],
        "",
    ),
    (
        "what SIGEV_NONE does not use is not read",
        &["timer_create[1]"],
        "edge",
    ),
    ("no CPU-time timers", &["getitimer[0]", "setitimer[0]"], "1"),
    (
        "a stream socket says EAFNOSUPPORT",
        &["connect unix[0]"],
        "fd17",
    ),
    (
        "there is no route to where that leads",
        &["sendto[4]"],
        "odd",
    ),
    (
        "an unknown option is ENOPROTOOPT",
        &["getsockopt TCP_INFO[0]"],
        "fd16",
    ),
    (
        "SO_PEERCRED of AF_UNIX only",
        &["getsockopt SO_PEERCRED[0]"],
        "fd16 fd17",
    ),
    ("no MNT_EXPIRE", &["umount2[1]"], "7"),
    (
        "alignment is checked before the owner",
        &["futex unlock pi[0]"],
        "odd edge",
    ),
    (
        "the length is not multiplied",
        &["sched_getaffinity[1]"],
        "2147483648",
    ),
    (
        "SCHED_EXT depends on the kernel's version",
        &["sched_get_priority_max[0]"],
        "7",
    ),
    ("no huge pages", &["memfd_create[1]"], ""),
    ("SYNC_CORE and RSEQ are not offered", &["membarrier[0]"], ""),
    (
        "limits of values are the file system's",
        &["setxattr[3]", "fsetxattr[3]"],
        "4096",
    ),
];

/// `call[argument]` to the answers by value.
fn answers(output: &str) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    output
        .lines()
        .filter_map(|line| {
            let end = line.find(']')? + 1;
            let values = line[end..].split_whitespace();
            let values = values.map(|value| value.rsplit_once('=').unwrap_or((value, "")));
            Some((&line[..end], values.collect()))
        })
        .collect()
}

fn known(call: &str, value: &str) -> Option<&'static str> {
    let applies = |(_, calls, values): &&(&str, &[&str], &str)| {
        let concerned = values.is_empty() || values.split(' ').any(|known| known == value);
        concerned && calls.contains(&call)
    };
    KNOWN.iter().find(applies).map(|(why, _, _)| *why)
}

/// Compares call by call; a known difference is shown, any other one is returned.
fn differences(linux: &str, ours: &str) -> Vec<String> {
    let (linux, ours) = (answers(linux), answers(ours));
    let mut unknown = Vec::new();
    for (call, expected) in &linux {
        for (value, answer) in expected {
            let got = ours.get(call).and_then(|values| values.get(value));
            if got == Some(answer) {
                continue;
            }
            let what = format!("{call} {value}: Linux {answer}, here {got:?}");
            match known(call, value) {
                Some(why) => println!("known difference: {what} ({why})"),
                None => unknown.push(what),
            }
        }
    }
    unknown
}

#[test]
fn wild_arguments_get_the_errnos_of_linux() {
    let program = program("wild.c");
    let linux = native(&[program.as_os_str()]);
    assert_eq!(linux.code, 0, "{}", linux.stdout);
    assert!(answers(&linux.stdout).len() > 400, "the calls were made");
    for platform in BOTH {
        let ours = run(&program, &[], platform, 0);
        let unknown = differences(&linux.stdout, &ours);
        assert!(unknown.is_empty(), "{platform:?}: {unknown:#?}");
    }
}

#[test]
fn random_calls_hurt_nobody_else() {
    let program = program("fuzz_calls.c");
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let said = run(&program, &[seed, "5000"], PlatformKind::Systrap, 0);
        assert_eq!(said, format!("made the calls of seed {seed}\n"));
    }
    run(&program, &["7", "2000"], PlatformKind::Ptrace, 0);
}

/// The process that holds most memory ends when the limit is reached; the others go on.
#[test]
fn out_of_memory_ends_the_biggest_process_only() {
    let program = program("memory.c");
    let said = run(&program, &[], PlatformKind::Systrap, 256 << 20);
    assert_eq!(
        said,
        "hog ends=9\nsmall process goes on\nmany ends=9\nsmall process goes on\nmapped file: all there\n"
    );
}

/// The platform's part of the address space, scribbled over from guest code.
#[test]
fn corrupting_the_platforms_memory_ends_one_process() {
    let program = program("scribble.c");
    let said = run(&program, &["1"], PlatformKind::Systrap, 0);
    assert!(said.ends_with("bystander goes on\n"), "{said}");
    run(&program, &["2"], PlatformKind::Ptrace, 0);
}
