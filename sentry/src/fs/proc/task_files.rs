//! The files of a task's directory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sentry_abi::Errno;

use super::node::{ReadTask, TaskFile};
use super::{maps, mounts, stat, status};
use crate::task::{TaskShared, run};
use crate::vfs::creds::cap;

const fn file(name: &'static str, read: ReadTask) -> TaskFile {
    TaskFile {
        name,
        perm: 0o444,
        read,
        write: None,
    }
}

const fn private(name: &'static str, read: ReadTask) -> TaskFile {
    TaskFile {
        name,
        perm: 0o400,
        read,
        write: None,
    }
}

/// Strings, each with its NUL.
fn joined(strings: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for string in strings {
        out.extend_from_slice(string);
        out.push(0);
    }
    out
}

fn set_comm(task: &Arc<TaskShared>, name: &[u8]) -> Result<(), Errno> {
    let name = name.strip_suffix(b"\n").unwrap_or(name);
    let name = name[..name.len().min(15)].to_vec();
    task.update_view(|view| view.comm = name);
    Ok(())
}

/// Only CAP_SYS_RESOURCE makes a process less likely to be chosen (Linux `__set_oom_adj`).
fn set_score(task: &Arc<TaskShared>, bytes: &[u8]) -> Result<(), Errno> {
    let text = std::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    let score: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if !(-1000..=1000).contains(&score) {
        return Err(Errno::EINVAL);
    }
    let kept = &task.process.oom_score_adj;
    let may_lower = run::current().is_some_and(|writer| writer.creds().has(cap::SYS_RESOURCE));
    if score < kept.load(Ordering::Relaxed) && !may_lower {
        return Err(Errno::EACCES);
    }
    kept.store(score, Ordering::Relaxed);
    Ok(())
}

pub(super) static FILES: &[TaskFile] = &[
    file("stat", |kernel, task, _| stat::stat(kernel, task)),
    file("statm", |_, task, _| stat::statm(task)),
    file("status", |kernel, task, _| status::status(kernel, task)),
    file("limits", |_, task, _| status::limits(task)),
    file("maps", |_, task, _| maps::maps(task)),
    private("smaps", |_, task, _| maps::smaps(task)),
    file("mounts", |_, task, _| mounts::mounts(task)),
    file("mountinfo", |_, task, _| mounts::mountinfo(task)),
    file("cmdline", |_, task, _| {
        Ok(joined(&task.process.exec_info().argv))
    }),
    private("environ", |_, task, _| {
        Ok(joined(&task.process.exec_info().envp))
    }),
    private("auxv", |_, task, _| Ok(task.process.exec_info().auxv)),
    TaskFile {
        name: "comm",
        perm: 0o644,
        read: |_, task, _| {
            let mut name = task.comm();
            name.push(b'\n');
            Ok(name)
        },
        write: Some(set_comm),
    },
    file("cgroup", |_, _, _| Ok(b"0::/\n".to_vec())),
    file("oom_score", |_, _, _| Ok(b"0\n".to_vec())),
    TaskFile {
        name: "oom_score_adj",
        perm: 0o644,
        read: |_, task, _| {
            let score = task.process.oom_score_adj.load(Ordering::Relaxed);
            Ok(format!("{score}\n").into_bytes())
        },
        write: Some(set_score),
    },
    file("loginuid", |_, _, _| Ok(b"4294967295".to_vec())),
    file("sessionid", |_, _, _| Ok(b"4294967295".to_vec())),
    file("wchan", |_, _, _| Ok(b"0".to_vec())),
    file("uid_map", |_, _, _| Ok(identity_map())),
    file("gid_map", |_, _, _| Ok(identity_map())),
    file("setgroups", |_, _, _| Ok(b"allow\n".to_vec())),
    private("io", |_, _, _| {
        Ok(
            b"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n\
             cancelled_write_bytes: 0\n"
                .to_vec(),
        )
    }),
];

fn identity_map() -> Vec<u8> {
    b"         0          0 4294967295\n".to_vec()
}
