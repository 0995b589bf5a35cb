//! /proc/PID/status and limits.

use std::fmt::Write;
use std::sync::Arc;

use sentry_abi::Errno;

use super::stat;
use crate::kernel::Kernel;
use crate::task::TaskShared;

fn state_name(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'S' => "sleeping",
        'T' => "stopped",
        'Z' => "zombie",
        _ => "dead",
    }
}

pub(super) fn status(kernel: &Kernel, task: &Arc<TaskShared>) -> Result<Vec<u8>, Errno> {
    let process = &task.process;
    let creds = task.creds();
    let view = task.view();
    let letter = task.state() as u8 as char;
    let mut out = b"Name:\t".to_vec();
    out.extend(task.comm());
    let mut text = String::new();
    let umask = view.fs.as_ref().map_or(0o22, |fs| fs.umask());
    let groups: String = creds.groups.iter().map(|gid| format!("{gid} ")).collect();
    let fd_size = view.fds.map_or(0, |fds| fds.capacity().max(64));
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\nUmask:\t{umask:04o}\nState:\t{letter} ({})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\n\
         TracerPid:\t0\nUid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\nFDSize:\t{fd_size}\n\
         Groups:\t{groups}\nNStgid:\t{1}\nNSpid:\t{2}\nNSpgid:\t{12}\nNSsid:\t{13}\nKthread:\t0\n",
        state_name(letter),
        process.pid,
        task.tid,
        process.ppid(),
        creds.uid,
        creds.euid,
        creds.suid,
        creds.fsuid,
        creds.gid,
        creds.egid,
        creds.sgid,
        creds.fsgid,
        process.pgid(),
        process.sid(),
    );
    if view.mm.is_some() {
        memory(task, &mut text);
    }
    signals(kernel, task, &mut text);
    let caps = creds.caps;
    let cpus = (1u64 << crate::platform::cpus().min(63)) - 1;
    let _ = write!(
        text,
        "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\n\
         NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\nCpus_allowed:\t{cpus:x}\n\
         Cpus_allowed_list:\t0-{}\nMems_allowed:\t1\nMems_allowed_list:\t0\n\
         voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n",
        caps.inheritable,
        caps.permitted,
        caps.effective,
        caps.bounding,
        caps.ambient,
        u8::from(creds.no_new_privs),
        crate::platform::cpus() - 1,
    );
    out.extend(text.into_bytes());
    Ok(out)
}

fn memory(task: &TaskShared, text: &mut String) {
    let usage = stat::usage(task);
    let lines = [
        ("VmPeak", usage.peak),
        ("VmSize", usage.size),
        ("VmLck", usage.locked),
        ("VmPin", 0),
        ("VmHWM", usage.rss()),
        ("VmRSS", usage.rss()),
        ("RssAnon", usage.rss_anon),
        ("RssFile", usage.rss_file),
        ("RssShmem", usage.rss_shared),
        ("VmData", usage.data),
        ("VmStk", usage.stack),
        ("VmExe", usage.exec),
        ("VmLib", 0),
        ("VmPTE", usage.rss() / 512),
        ("VmSwap", 0),
    ];
    for (name, bytes) in lines {
        let _ = writeln!(text, "{name}:\t{:8} kB", bytes >> 10);
    }
}

fn signals(kernel: &Kernel, task: &TaskShared, text: &mut String) {
    let (ignored, caught) = task.process.actions().ignored_and_caught();
    let own = task.pending.lock().set().0;
    let group = task.process.signals.lock().pending.set().0;
    let limit = task.process.limits.soft(libc::RLIMIT_SIGPENDING);
    let _ = write!(
        text,
        "Threads:\t{}\nSigQ:\t0/{limit}\nSigPnd:\t{own:016x}\nShdPnd:\t{group:016x}\n\
         SigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
        stat::threads(kernel, task),
        task.mask().0,
        ignored.0,
        caught.0,
    );
}

/// Names and units of the limits, in the order of their numbers.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

pub(super) fn limits(task: &TaskShared) -> Result<Vec<u8>, Errno> {
    let shown = |value: u64| match value {
        u64::MAX => "unlimited".to_owned(),
        value => value.to_string(),
    };
    let mut text = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    for (resource, (name, unit)) in LIMITS.iter().enumerate() {
        let limit = task.process.limits.get(resource as u32)?;
        let (soft, hard) = (shown(limit.soft), shown(limit.hard));
        let _ = writeln!(text, "{name:<25} {soft:<20} {hard:<20} {unit:<10}");
    }
    Ok(text.into_bytes())
}
