//! Who a task acts as: user and group ids, capabilities, and what they permit on a file.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::vfs::attr::{FileType, Owner};

/// Capability numbers of capabilities(7).
#[allow(missing_docs)] // the names are Linux's
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const KILL: u32 = 5;
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const SETPCAP: u32 = 8;
    pub const LINUX_IMMUTABLE: u32 = 9;
    pub const NET_BIND_SERVICE: u32 = 10;
    pub const NET_ADMIN: u32 = 12;
    pub const NET_RAW: u32 = 13;
    pub const IPC_LOCK: u32 = 14;
    pub const IPC_OWNER: u32 = 15;
    pub const SYS_CHROOT: u32 = 18;
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_BOOT: u32 = 22;
    pub const SYS_NICE: u32 = 23;
    pub const SYS_RESOURCE: u32 = 24;
    pub const SYS_TIME: u32 = 25;
    pub const SYS_TTY_CONFIG: u32 = 26;
    pub const MKNOD: u32 = 27;
    pub const LEASE: u32 = 28;
    pub const SETFCAP: u32 = 31;
    /// The highest capability that exists.
    pub const LAST: u32 = 40;
    /// All of them, as a set.
    pub const ALL: u64 = (1 << (LAST + 1)) - 1;
}

/// Read permission, for [`Credentials::check`].
pub const MAY_READ: u32 = 4;
/// Write permission.
pub const MAY_WRITE: u32 = 2;
/// Execute, or search of a directory.
pub const MAY_EXEC: u32 = 1;

/// Capability sets, each a bit set by capability number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are Linux's
pub struct CapSets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
}

/// Identity of a task. Immutable: a change makes a new one (tasks share them by `Arc`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are Linux's
pub struct Credentials {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Arc<[u32]>,
    pub caps: CapSets,
    /// `SECBIT_*` of prctl(PR_SET_SECUREBITS), with keep-caps.
    pub securebits: u32,
    pub no_new_privs: bool,
}

impl Credentials {
    /// `uid` and `gid` in every role, these supplementary groups and capabilities.
    pub fn new(uid: u32, gid: u32, groups: &[u32], caps: CapSets) -> Self {
        Self {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: groups.into(),
            caps,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// User 0 with every capability.
    pub fn root() -> Self {
        let caps = CapSets {
            effective: cap::ALL,
            permitted: cap::ALL,
            inheritable: 0,
            bounding: cap::ALL,
            ambient: 0,
        };
        Self::new(0, 0, &[], caps)
    }

    /// A plain user without capabilities.
    pub fn user(uid: u32, gid: u32) -> Self {
        let caps = CapSets {
            bounding: cap::ALL,
            ..CapSets::default()
        };
        Self::new(uid, gid, &[], caps)
    }

    /// True if `capability` is in the effective set.
    pub fn has(&self, capability: u32) -> bool {
        self.caps.effective & (1 << capability) != 0
    }

    /// EPERM unless `capability` is effective.
    ///
    /// # Errors
    /// EPERM.
    pub fn require(&self, capability: u32) -> Result<(), Errno> {
        if self.has(capability) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// True if `gid` is the file-system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }

    /// True if the file is the caller's own, or CAP_FOWNER stands in for that.
    pub fn owns(&self, owner: &Owner) -> bool {
        self.fsuid == owner.uid || self.has(cap::FOWNER)
    }

    /// Whether `want` (bits of MAY_*) is permitted on a file (Linux's `generic_permission`).
    ///
    /// # Errors
    /// EACCES.
    pub fn check(&self, owner: &Owner, kind: FileType, want: u32) -> Result<(), Errno> {
        let bits = if self.fsuid == owner.uid {
            owner.perm >> 6
        } else if self.in_group(owner.gid) {
            owner.perm >> 3
        } else {
            owner.perm
        } & 7;
        if want & !bits == 0 || self.overrides(owner, kind, want) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    fn overrides(&self, owner: &Owner, kind: FileType, want: u32) -> bool {
        let directory = kind == FileType::Directory;
        if want & MAY_WRITE == 0 && self.has(cap::DAC_READ_SEARCH) {
            let search_only = if directory { MAY_EXEC } else { 0 };
            if want & !(MAY_READ | search_only) == 0 {
                return true;
            }
        }
        let executable = directory || owner.perm & 0o111 != 0;
        self.has(cap::DAC_OVERRIDE) && (want & MAY_EXEC == 0 || executable)
    }

    /// The identity that access(2) checks with: real ids, and capabilities as root or a plain user has them.
    pub fn real(&self) -> Self {
        let mut real = self.clone();
        real.fsuid = self.uid;
        real.fsgid = self.gid;
        real.caps.effective = if self.uid == 0 {
            self.caps.permitted
        } else {
            0
        };
        real
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(perm: u32) -> Owner {
        Owner {
            perm,
            uid: 10,
            gid: 20,
        }
    }

    #[test]
    fn the_first_class_that_matches_decides() {
        let kind = FileType::Regular;
        let me = Credentials::user(10, 20);
        assert_eq!(me.check(&owner(0o077), kind, MAY_READ), Err(Errno::EACCES));
        let group = Credentials::new(11, 1, &[20], CapSets::default());
        assert_eq!(
            group.check(&owner(0o707), kind, MAY_READ),
            Err(Errno::EACCES)
        );
        let other = Credentials::user(11, 21);
        assert_eq!(other.check(&owner(0o004), kind, MAY_READ), Ok(()));
        assert_eq!(
            other.check(&owner(0o004), kind, MAY_READ | MAY_EXEC),
            Err(Errno::EACCES)
        );
    }

    #[test]
    fn root_executes_only_what_somebody_may_execute() {
        let root = Credentials::root();
        assert_eq!(
            root.check(&owner(0o600), FileType::Regular, MAY_EXEC),
            Err(Errno::EACCES)
        );
        assert_eq!(
            root.check(&owner(0o100), FileType::Regular, MAY_EXEC),
            Ok(())
        );
        assert_eq!(
            root.check(&owner(0), FileType::Directory, MAY_EXEC | MAY_WRITE),
            Ok(())
        );
    }
}
