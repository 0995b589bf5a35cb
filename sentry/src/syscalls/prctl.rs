//! prctl, arch_prctl, personality.

use std::sync::atomic::Ordering;

use sentry_abi::Errno;

use crate::signals::set::is_signal;
use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;
use crate::task::exec::MAX_COMM;
use crate::vfs::creds::cap;

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        libc::SYS_prctl,
        "prctl",
        sys_prctl,
        "names, death signal, capabilities, dumpable, subreaper, no_new_privs",
    ),
    Row::partial(
        libc::SYS_arch_prctl,
        "arch_prctl",
        sys_arch_prctl,
        "FS and GS bases",
    ),
    Row::partial(
        libc::SYS_personality,
        "personality",
        sys_personality,
        "PER_LINUX only",
    ),
    Row::refused(libc::SYS_ptrace, "ptrace", refused, "EPERM"),
    Row::refused(
        libc::SYS_rseq,
        "rseq",
        no_rseq,
        "ENOSYS, which C libraries expect",
    ),
    Row::refused(libc::SYS_kcmp, "kcmp", refused, "EPERM"),
    Row::refused(libc::SYS_bpf, "bpf", refused, "EPERM"),
    Row::refused(
        libc::SYS_perf_event_open,
        "perf_event_open",
        refused,
        "EPERM",
    ),
    Row::refused(libc::SYS_setns, "setns", refused, "EPERM"),
    Row::refused(libc::SYS_reboot, "reboot", refused, "EPERM"),
    Row::refused(libc::SYS_init_module, "init_module", refused, "EPERM"),
    Row::refused(libc::SYS_finit_module, "finit_module", refused, "EPERM"),
    Row::refused(libc::SYS_delete_module, "delete_module", refused, "EPERM"),
    Row::refused(libc::SYS_kexec_load, "kexec_load", refused, "EPERM"),
    Row::refused(libc::SYS_syslog, "syslog", refused, "EPERM"),
    Row::refused(libc::SYS_iopl, "iopl", refused, "EPERM"),
    Row::refused(libc::SYS_ioperm, "ioperm", refused, "EPERM"),
    Row::refused(libc::SYS_acct, "acct", refused, "EPERM"),
    Row::refused(libc::SYS_swapon, "swapon", refused, "EPERM"),
    Row::refused(libc::SYS_swapoff, "swapoff", refused, "EPERM"),
];

fn refused(_: &mut Task, _: &Args) -> SysResult {
    Err(Errno::EPERM)
}

fn no_rseq(_: &mut Task, _: &Args) -> SysResult {
    Err(Errno::ENOSYS)
}

fn zero() -> SysResult {
    Ok(Outcome::Value(0))
}

fn sys_prctl(task: &mut Task, args: &Args) -> SysResult {
    let value = args.0[1];
    match args.int(0) {
        libc::PR_SET_NAME => set_name(task, value),
        libc::PR_GET_NAME => {
            let mut name = [0u8; 16];
            let comm = task.shared.comm();
            name[..comm.len()].copy_from_slice(&comm);
            task.mm.write(value, &name)?;
            zero()
        }
        libc::PR_SET_PDEATHSIG => {
            let signo = i32::try_from(value).map_err(|_| Errno::EINVAL)?;
            if signo != 0 && !is_signal(signo) {
                return Err(Errno::EINVAL);
            }
            let process = task.process();
            process.death_signal.store(signo, Ordering::Relaxed);
            zero()
        }
        libc::PR_GET_PDEATHSIG => {
            let signo = task.process().death_signal.load(Ordering::Relaxed);
            task.mm.write_val(value, &signo)?;
            zero()
        }
        libc::PR_GET_DUMPABLE => Ok(Outcome::Value(u64::from(
            task.process().exec.read().dumpable,
        ))),
        libc::PR_SET_DUMPABLE => {
            if value > 1 {
                return Err(Errno::EINVAL);
            }
            task.process().exec.write().dumpable = value == 1;
            zero()
        }
        libc::PR_SET_CHILD_SUBREAPER => {
            let mut tree = task.kernel.tree.lock();
            if let Some(node) = tree.node_mut(task.pid()) {
                node.subreaper = value != 0;
            }
            zero()
        }
        libc::PR_GET_CHILD_SUBREAPER => {
            let tree = task.kernel.tree.lock();
            let is = tree.node(task.pid()).is_some_and(|node| node.subreaper);
            drop(tree);
            task.mm.write_val(value, &i32::from(is))?;
            zero()
        }
        libc::PR_SET_TIMERSLACK => zero(),
        libc::PR_GET_TIMERSLACK => Ok(Outcome::Value(50_000)),
        _ => privileges(task, args),
    }
}

fn set_name(task: &Task, addr: u64) -> SysResult {
    let mut name = match task.mm.read_cstr(addr, MAX_COMM + 1) {
        Err(Errno::ENAMETOOLONG) => task.mm.read_vec(addr, MAX_COMM)?,
        name => name?,
    };
    name.truncate(MAX_COMM);
    task.shared.update_view(|view| view.comm = name);
    zero()
}

/// SECBIT_KEEP_CAPS.
const KEEP_CAPS: u32 = 1 << 4;
/// All `SECBIT_*`.
const SECUREBITS: u32 = 0xff;

fn privileges(task: &mut Task, args: &Args) -> SysResult {
    let value = args.0[1];
    let mut new = (*task.creds).clone();
    match args.int(0) {
        libc::PR_SET_NO_NEW_PRIVS => {
            if value != 1 || args.0[2..5] != [0; 3] {
                return Err(Errno::EINVAL);
            }
            new.no_new_privs = true;
        }
        libc::PR_GET_NO_NEW_PRIVS => {
            return Ok(Outcome::Value(u64::from(new.no_new_privs)));
        }
        libc::PR_GET_KEEPCAPS => {
            return Ok(Outcome::Value(u64::from(new.securebits & KEEP_CAPS != 0)));
        }
        libc::PR_SET_KEEPCAPS => match value {
            0 => new.securebits &= !KEEP_CAPS,
            1 => new.securebits |= KEEP_CAPS,
            _ => return Err(Errno::EINVAL),
        },
        libc::PR_GET_SECUREBITS => return Ok(Outcome::Value(u64::from(new.securebits))),
        libc::PR_SET_SECUREBITS => {
            new.require(cap::SETPCAP)?;
            new.securebits = value as u32 & SECUREBITS;
        }
        libc::PR_CAPBSET_READ => {
            let bit = cap_bit(value)?;
            return Ok(Outcome::Value(u64::from(new.caps.bounding & bit != 0)));
        }
        libc::PR_CAPBSET_DROP => {
            new.require(cap::SETPCAP)?;
            new.caps.bounding &= !cap_bit(value)?;
        }
        libc::PR_CAP_AMBIENT => {
            if let Some(answer) = ambient(&mut new.caps, args)? {
                return Ok(Outcome::Value(answer));
            }
        }
        _ => return Err(Errno::EINVAL),
    }
    task.set_creds(new);
    zero()
}

fn cap_bit(number: u64) -> Result<u64, Errno> {
    if number > u64::from(cap::LAST) {
        return Err(Errno::EINVAL);
    }
    Ok(1 << number)
}

/// PR_CAP_AMBIENT: the answer of a question, or a change.
fn ambient(caps: &mut crate::vfs::CapSets, args: &Args) -> Result<Option<u64>, Errno> {
    match args.int(1) {
        libc::PR_CAP_AMBIENT_CLEAR_ALL => caps.ambient = 0,
        libc::PR_CAP_AMBIENT_IS_SET => {
            let bit = cap_bit(args.0[2])?;
            return Ok(Some(u64::from(caps.ambient & bit != 0)));
        }
        libc::PR_CAP_AMBIENT_LOWER => caps.ambient &= !cap_bit(args.0[2])?,
        libc::PR_CAP_AMBIENT_RAISE => {
            let bit = cap_bit(args.0[2])?;
            if caps.permitted & caps.inheritable & bit == 0 {
                return Err(Errno::EPERM);
            }
            caps.ambient |= bit;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(None)
}

/// ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS.
const ARCH: [i32; 4] = [0x1001, 0x1002, 0x1003, 0x1004];

fn sys_arch_prctl(task: &mut Task, args: &Args) -> SysResult {
    let addr = args.ptr(1);
    let valid = addr < task.kernel.platform().user_range().end;
    match ARCH.iter().position(|code| *code == args.int(0)) {
        Some(0 | 1) if !valid => Err(Errno::EPERM),
        Some(0) => {
            task.regs.gs_base = addr;
            zero()
        }
        Some(1) => {
            task.regs.fs_base = addr;
            zero()
        }
        Some(2) => {
            task.mm.write_val(addr, &task.regs.fs_base)?;
            zero()
        }
        Some(_) => {
            task.mm.write_val(addr, &task.regs.gs_base)?;
            zero()
        }
        None => Err(Errno::EINVAL),
    }
}

fn sys_personality(_: &mut Task, args: &Args) -> SysResult {
    match args.uint(0) {
        // The query, and what everything is.
        0xffff_ffff | 0 => zero(),
        _ => Err(Errno::EINVAL),
    }
}
