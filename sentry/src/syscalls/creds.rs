//! User and group ids, and capabilities.

use sentry_abi::Errno;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;
use crate::vfs::Credentials;
use crate::vfs::creds::cap;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_getuid, "getuid", |task, _| id(task.creds.uid)),
    Row::full(libc::SYS_geteuid, "geteuid", |task, _| id(task.creds.euid)),
    Row::full(libc::SYS_getgid, "getgid", |task, _| id(task.creds.gid)),
    Row::full(libc::SYS_getegid, "getegid", |task, _| id(task.creds.egid)),
    Row::full(libc::SYS_getresuid, "getresuid", sys_getresuid),
    Row::full(libc::SYS_getresgid, "getresgid", sys_getresgid),
    Row::full(libc::SYS_setuid, "setuid", sys_setuid),
    Row::full(libc::SYS_setgid, "setgid", sys_setgid),
    Row::full(libc::SYS_setreuid, "setreuid", sys_setreuid),
    Row::full(libc::SYS_setregid, "setregid", sys_setregid),
    Row::full(libc::SYS_setresuid, "setresuid", sys_setresuid),
    Row::full(libc::SYS_setresgid, "setresgid", sys_setresgid),
    Row::full(libc::SYS_setfsuid, "setfsuid", sys_setfsuid),
    Row::full(libc::SYS_setfsgid, "setfsgid", sys_setfsgid),
    Row::full(libc::SYS_getgroups, "getgroups", sys_getgroups),
    Row::full(libc::SYS_setgroups, "setgroups", sys_setgroups),
    Row::full(libc::SYS_capget, "capget", sys_capget),
    Row::partial(libc::SYS_capset, "capset", sys_capset, "of the caller only"),
];

/// "Leave it as it is".
const KEEP: u32 = u32::MAX;
/// SECBIT_NO_SETUID_FIXUP.
const NO_FIXUP: u32 = 1 << 2;
/// SECBIT_KEEP_CAPS.
const KEEP_CAPS: u32 = 1 << 4;
/// NGROUPS_MAX.
const MAX_GROUPS: usize = 65_536;
/// Capabilities that follow the file-system user id.
const FS_CAPS: u64 = 1 << cap::CHOWN
    | 1 << cap::DAC_OVERRIDE
    | 1 << cap::DAC_READ_SEARCH
    | 1 << cap::FOWNER
    | 1 << cap::FSETID
    | 1 << cap::LINUX_IMMUTABLE
    | 1 << cap::MKNOD;

fn id(value: u32) -> SysResult {
    Ok(Outcome::Value(u64::from(value)))
}

fn write_three(task: &Task, args: &Args, ids: [u32; 3]) -> SysResult {
    for (n, id) in ids.iter().enumerate() {
        task.mm.write_val(args.ptr(n), id)?;
    }
    Ok(Outcome::Value(0))
}

fn sys_getresuid(task: &mut Task, args: &Args) -> SysResult {
    let creds = &task.creds;
    write_three(task, args, [creds.uid, creds.euid, creds.suid])
}

fn sys_getresgid(task: &mut Task, args: &Args) -> SysResult {
    let creds = &task.creds;
    write_three(task, args, [creds.gid, creds.egid, creds.sgid])
}

/// Takes over changed user ids, with what follows for capabilities (capabilities(7), "Effect of user ID
/// changes").
fn become_user(task: &mut Task, mut new: Credentials) -> SysResult {
    let old = &task.creds;
    new.fsuid = new.euid;
    if new.securebits & NO_FIXUP == 0 {
        let had_root = [old.uid, old.euid, old.suid].contains(&0);
        let has_root = [new.uid, new.euid, new.suid].contains(&0);
        if had_root && !has_root {
            if new.securebits & KEEP_CAPS == 0 {
                new.caps.permitted = 0;
                new.caps.effective = 0;
            }
            new.caps.ambient = 0;
        }
        if old.euid == 0 && new.euid != 0 {
            new.caps.effective = 0;
        } else if old.euid != 0 && new.euid == 0 {
            new.caps.effective = new.caps.permitted;
        }
    }
    task.set_creds(new);
    Ok(Outcome::Value(0))
}

fn become_group(task: &mut Task, mut new: Credentials) -> SysResult {
    new.fsgid = new.egid;
    task.set_creds(new);
    Ok(Outcome::Value(0))
}

fn sys_setuid(task: &mut Task, args: &Args) -> SysResult {
    let uid = args.uint(0);
    let mut new = (*task.creds).clone();
    if uid == KEEP {
        return Err(Errno::EINVAL);
    }
    if new.has(cap::SETUID) {
        (new.uid, new.suid) = (uid, uid);
    } else if uid != new.uid && uid != new.suid {
        return Err(Errno::EPERM);
    }
    new.euid = uid;
    become_user(task, new)
}

fn sys_setgid(task: &mut Task, args: &Args) -> SysResult {
    let gid = args.uint(0);
    let mut new = (*task.creds).clone();
    if gid == KEEP {
        return Err(Errno::EINVAL);
    }
    if new.has(cap::SETGID) {
        (new.gid, new.sgid) = (gid, gid);
    } else if gid != new.gid && gid != new.sgid {
        return Err(Errno::EPERM);
    }
    new.egid = gid;
    become_group(task, new)
}

/// The new real, effective and saved id of setreuid(2): EPERM unless they were one of the old.
fn reid(old: [u32; 3], (real, effective): (u32, u32), privileged: bool) -> Result<[u32; 3], Errno> {
    let [r, e, s] = old;
    let real_ok = real == KEEP || real == r || real == e;
    let effective_ok = effective == KEEP || old.contains(&effective);
    let allowed = privileged || real_ok && effective_ok;
    if !allowed {
        return Err(Errno::EPERM);
    }
    let new_r = if real == KEEP { r } else { real };
    let new_e = if effective == KEEP { e } else { effective };
    let follows = real != KEEP || effective != KEEP && effective != r;
    Ok([new_r, new_e, if follows { new_e } else { s }])
}

/// The new ids of setresuid(2).
fn resid(old: [u32; 3], new: [u32; 3], privileged: bool) -> Result<[u32; 3], Errno> {
    let allowed = |id: u32| id == KEEP || old.contains(&id);
    if !privileged && !new.iter().all(|id| allowed(*id)) {
        return Err(Errno::EPERM);
    }
    let mut result = old;
    for (slot, id) in result.iter_mut().zip(new) {
        if id != KEEP {
            *slot = id;
        }
    }
    Ok(result)
}

fn sys_setreuid(task: &mut Task, args: &Args) -> SysResult {
    let mut new = (*task.creds).clone();
    let wanted = (args.uint(0), args.uint(1));
    let old = [new.uid, new.euid, new.suid];
    [new.uid, new.euid, new.suid] = reid(old, wanted, new.has(cap::SETUID))?;
    become_user(task, new)
}

fn sys_setregid(task: &mut Task, args: &Args) -> SysResult {
    let mut new = (*task.creds).clone();
    let wanted = (args.uint(0), args.uint(1));
    let old = [new.gid, new.egid, new.sgid];
    [new.gid, new.egid, new.sgid] = reid(old, wanted, new.has(cap::SETGID))?;
    become_group(task, new)
}

fn sys_setresuid(task: &mut Task, args: &Args) -> SysResult {
    let mut new = (*task.creds).clone();
    let wanted = [args.uint(0), args.uint(1), args.uint(2)];
    let old = [new.uid, new.euid, new.suid];
    [new.uid, new.euid, new.suid] = resid(old, wanted, new.has(cap::SETUID))?;
    become_user(task, new)
}

fn sys_setresgid(task: &mut Task, args: &Args) -> SysResult {
    let mut new = (*task.creds).clone();
    let wanted = [args.uint(0), args.uint(1), args.uint(2)];
    let old = [new.gid, new.egid, new.sgid];
    [new.gid, new.egid, new.sgid] = resid(old, wanted, new.has(cap::SETGID))?;
    become_group(task, new)
}

fn sys_setfsuid(task: &mut Task, args: &Args) -> SysResult {
    let (old, uid) = (task.creds.fsuid, args.uint(0));
    let mut new = (*task.creds).clone();
    let allowed = [new.uid, new.euid, new.suid, new.fsuid].contains(&uid) || new.has(cap::SETUID);
    if allowed && uid != KEEP {
        new.fsuid = uid;
        if new.securebits & NO_FIXUP == 0 && (old == 0) != (uid == 0) {
            if uid == 0 {
                new.caps.effective |= new.caps.permitted & FS_CAPS;
            } else {
                new.caps.effective &= !FS_CAPS;
            }
        }
        task.set_creds(new);
    }
    id(old)
}

fn sys_setfsgid(task: &mut Task, args: &Args) -> SysResult {
    let (old, gid) = (task.creds.fsgid, args.uint(0));
    let mut new = (*task.creds).clone();
    let allowed = [new.gid, new.egid, new.sgid, new.fsgid].contains(&gid) || new.has(cap::SETGID);
    if allowed && gid != KEEP {
        new.fsgid = gid;
        task.set_creds(new);
    }
    id(old)
}

fn sys_getgroups(task: &mut Task, args: &Args) -> SysResult {
    let groups = &task.creds.groups;
    let room = usize::try_from(args.int(0)).map_err(|_| Errno::EINVAL)?;
    if room > 0 {
        if room < groups.len() {
            return Err(Errno::EINVAL);
        }
        let bytes: Vec<u8> = groups.iter().flat_map(|gid| gid.to_ne_bytes()).collect();
        task.mm.write(args.ptr(1), &bytes)?;
    }
    Ok(groups.len().into())
}

fn sys_setgroups(task: &mut Task, args: &Args) -> SysResult {
    task.creds.require(cap::SETGID)?;
    let count = usize::try_from(args.int(0)).map_err(|_| Errno::EINVAL)?;
    if count > MAX_GROUPS {
        return Err(Errno::EINVAL);
    }
    let groups: Vec<u32> = task.mm.read_array(args.ptr(1), count)?;
    let mut new = (*task.creds).clone();
    new.groups = groups.into();
    task.set_creds(new);
    Ok(Outcome::Value(0))
}

/// _LINUX_CAPABILITY_VERSION_1, 2 and 3, with the number of 32-bit words of each set.
const VERSIONS: [(u32, usize); 3] = [(0x1998_0330, 1), (0x2007_1026, 2), (0x2008_0522, 2)];

/// Version and pid of `struct __user_cap_header_struct`; tells the caller the version if it is unknown.
fn cap_header(task: &Task, addr: u64) -> Result<(Option<usize>, i32), Errno> {
    let [version, pid]: [u32; 2] = task.mm.read_val(addr)?;
    let known = VERSIONS.iter().find(|(number, _)| *number == version);
    if known.is_none() {
        task.mm.write_val(addr, &VERSIONS[2].0)?;
    }
    Ok((known.map(|(_, words)| *words), pid as i32))
}

fn sys_capget(task: &mut Task, args: &Args) -> SysResult {
    let (words, pid) = cap_header(task, args.ptr(0))?;
    let Some(words) = words else {
        return match args.ptr(1) {
            0 => Ok(Outcome::Value(0)),
            _ => Err(Errno::EINVAL),
        };
    };
    if args.ptr(1) == 0 {
        return Ok(Outcome::Value(0));
    }
    if pid < 0 {
        return Err(Errno::EINVAL);
    }
    let creds = if pid == 0 || pid == task.tid() {
        task.creds.clone()
    } else {
        let tree = task.kernel.tree.lock();
        tree.task(pid).ok_or(Errno::ESRCH)?.creds()
    };
    let caps = creds.caps;
    for word in 0..words {
        let part = |set: u64| (set >> (32 * word)) as u32;
        let three = [
            part(caps.effective),
            part(caps.permitted),
            part(caps.inheritable),
        ];
        task.mm.write_val(args.ptr(1) + 12 * word as u64, &three)?;
    }
    Ok(Outcome::Value(0))
}

fn sys_capset(task: &mut Task, args: &Args) -> SysResult {
    let (words, pid) = cap_header(task, args.ptr(0))?;
    let words = words.ok_or(Errno::EINVAL)?;
    if pid != 0 && pid != task.tid() {
        return Err(Errno::EPERM);
    }
    let mut sets = [0u64; 3];
    for word in 0..words {
        let three: [u32; 3] = task.mm.read_val(args.ptr(1) + 12 * word as u64)?;
        for (set, part) in sets.iter_mut().zip(three) {
            *set |= u64::from(part) << (32 * word);
        }
    }
    let [effective, permitted, inheritable] = sets.map(|set| set & cap::ALL);
    let mut new = (*task.creds).clone();
    let caps = &mut new.caps;
    let within = |set: u64, bound: u64| set & !bound == 0;
    let may_inherit =
        task.creds.has(cap::SETPCAP) || within(inheritable, caps.inheritable | caps.permitted);
    if !within(permitted, caps.permitted)
        || !within(effective, permitted)
        || !may_inherit
        || !within(inheritable, caps.inheritable | caps.bounding)
    {
        return Err(Errno::EPERM);
    }
    caps.effective = effective;
    caps.permitted = permitted;
    caps.inheritable = inheritable;
    caps.ambient &= permitted & inheritable;
    task.set_creds(new);
    Ok(Outcome::Value(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_ids_without_privilege() {
        let old = [1, 2, 3];
        assert_eq!(resid(old, [3, 1, KEEP], false), Ok([3, 1, 3]));
        assert_eq!(resid(old, [4, KEEP, KEEP], false), Err(Errno::EPERM));
        assert_eq!(reid(old, (2, 3), false), Ok([2, 3, 3]));
        assert_eq!(reid(old, (3, KEEP), false), Err(Errno::EPERM));
        assert_eq!(reid(old, (KEEP, 1), false), Ok([1, 1, 3]));
        assert_eq!(reid(old, (9, 9), true), Ok([9, 9, 9]));
    }
}
