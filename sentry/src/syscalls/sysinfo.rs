//! What the system says of itself, and randomness.

use sentry_abi::Errno;
use zerocopy::IntoBytes;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;
use crate::time::{self, SECOND};
use crate::vfs::creds::cap;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_uname, "uname", sys_uname),
    Row::full(libc::SYS_sethostname, "sethostname", sys_sethostname),
    Row::full(libc::SYS_setdomainname, "setdomainname", sys_setdomainname),
    Row::full(libc::SYS_sysinfo, "sysinfo", sys_sysinfo),
    Row::full(libc::SYS_getrandom, "getrandom", sys_getrandom),
];

/// The kernel version that programs see: new enough for the C libraries of today.
pub const RELEASE: &str = "5.15.0";
/// uname(2)'s version field.
pub const VERSION: &str = "#1 SMP";

const FIELD: usize = 65;

fn sys_uname(task: &mut Task, args: &Args) -> SysResult {
    let names = task.kernel.names.read().clone();
    let fields: [&[u8]; 6] = [
        b"Linux",
        &names.host,
        RELEASE.as_bytes(),
        VERSION.as_bytes(),
        b"x86_64",
        &names.domain,
    ];
    let mut utsname = [0u8; 6 * FIELD];
    for (slot, field) in utsname.chunks_mut(FIELD).zip(fields) {
        let len = field.len().min(FIELD - 1);
        slot[..len].copy_from_slice(&field[..len]);
    }
    task.mm.write(args.ptr(0), &utsname)?;
    Ok(Outcome::Value(0))
}

fn read_name(task: &Task, args: &Args) -> Result<Vec<u8>, Errno> {
    task.creds.require(cap::SYS_ADMIN)?;
    let len = usize::try_from(args.int(1)).map_err(|_| Errno::EINVAL)?;
    if len >= FIELD {
        return Err(Errno::EINVAL);
    }
    task.mm.read_vec(args.ptr(0), len)
}

fn sys_sethostname(task: &mut Task, args: &Args) -> SysResult {
    let name = read_name(task, args)?;
    task.kernel.names.write().host = name;
    Ok(Outcome::Value(0))
}

fn sys_setdomainname(task: &mut Task, args: &Args) -> SysResult {
    let name = read_name(task, args)?;
    task.kernel.names.write().domain = name;
    Ok(Outcome::Value(0))
}

fn sys_sysinfo(task: &mut Task, args: &Args) -> SysResult {
    let uptime = (time::monotonic_ns() - task.kernel.boot_ns) / SECOND;
    let (total, used) = task.kernel.memory_size();
    let processes = task.kernel.tree.lock().tasks.len() as u64;
    // uptime, 3 loads, totalram, freeram, sharedram, bufferram, totalswap, freeswap, procs (u16),
    // totalhigh, freehigh, mem_unit (u32): 14 words with the padding.
    let info = [
        uptime,
        0,
        0,
        0,
        total,
        total.saturating_sub(used),
        0,
        0,
        0,
        0,
        processes.min(u64::from(u16::MAX)),
        0,
        0,
        1,
    ];
    task.mm.write(args.ptr(0), info.as_bytes())?;
    Ok(Outcome::Value(0))
}

fn sys_getrandom(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.uint(2);
    let known = libc::GRND_NONBLOCK | libc::GRND_RANDOM | libc::GRND_INSECURE;
    let both = libc::GRND_RANDOM | libc::GRND_INSECURE;
    if flags & !known != 0 || flags & both == both {
        return Err(Errno::EINVAL);
    }
    let wanted = args.size(1).min(i32::MAX as usize);
    let mut chunk = [0u8; 1024];
    let mut done = 0;
    while done < wanted {
        let part = &mut chunk[..(wanted - done).min(1024)];
        crate::mm::random(part);
        let at = args.ptr(0).checked_add(done as u64).ok_or(Errno::EFAULT)?;
        let written = task.mm.write_partial(at, part);
        done += written;
        if written < part.len() {
            break;
        }
        if done < wanted && task.shared.wants_attention() {
            break;
        }
    }
    match done {
        0 if wanted > 0 => Err(Errno::EFAULT),
        done => Ok(done.into()),
    }
}
