//! Resource limits of a process (getrlimit(2)), readable without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use sentry_abi::Errno;

/// RLIM_INFINITY.
pub const INFINITY: u64 = u64::MAX;

/// How many resources there are (RLIM_NLIMITS).
pub const COUNT: usize = 16;

/// Soft and hard limit of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// How far an unprivileged process may raise it.
    pub hard: u64,
}

/// All limits of a process.
pub struct Limits {
    soft: [AtomicU64; COUNT],
    hard: [AtomicU64; COUNT],
}

impl Default for Limits {
    /// What Linux gives its first process, with descriptors as containers have them.
    fn default() -> Self {
        let limits = Self {
            soft: [const { AtomicU64::new(INFINITY) }; COUNT],
            hard: [const { AtomicU64::new(INFINITY) }; COUNT],
        };
        let set = |resource: u32, soft: u64, hard: u64| {
            limits.put(resource as usize, Limit { soft, hard });
        };
        set(libc::RLIMIT_STACK, 8 << 20, INFINITY);
        set(libc::RLIMIT_CORE, 0, INFINITY);
        set(libc::RLIMIT_NOFILE, 1024, 1 << 20);
        set(libc::RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
        set(libc::RLIMIT_NPROC, 32768, 32768);
        set(libc::RLIMIT_SIGPENDING, 4096, 4096);
        set(libc::RLIMIT_MSGQUEUE, 819_200, 819_200);
        set(libc::RLIMIT_NICE, 0, 0);
        set(libc::RLIMIT_RTPRIO, 0, 0);
        limits
    }
}

impl Limits {
    /// The limit of `resource` (`RLIMIT_*`).
    ///
    /// # Errors
    /// EINVAL for an unknown resource.
    pub fn get(&self, resource: u32) -> Result<Limit, Errno> {
        let at = resource as usize;
        if at >= COUNT {
            return Err(Errno::EINVAL);
        }
        Ok(Limit {
            soft: self.soft[at].load(Ordering::Relaxed),
            hard: self.hard[at].load(Ordering::Relaxed),
        })
    }

    /// The soft limit of a resource that exists.
    pub fn soft(&self, resource: u32) -> u64 {
        self.soft[resource as usize % COUNT].load(Ordering::Relaxed)
    }

    /// Sets the limit of `resource`; `privileged` says whether the hard limit may be raised.
    ///
    /// # Errors
    /// EINVAL (unknown, or soft above hard), EPERM.
    pub fn set(&self, resource: u32, new: Limit, privileged: bool) -> Result<(), Errno> {
        let old = self.get(resource)?;
        if new.soft > new.hard {
            return Err(Errno::EINVAL);
        }
        if new.hard > old.hard && !privileged {
            return Err(Errno::EPERM);
        }
        if resource == libc::RLIMIT_NOFILE && new.hard > crate::vfs::fdtable::MAX_FDS {
            return Err(Errno::EPERM);
        }
        self.put(resource as usize, new);
        Ok(())
    }

    fn put(&self, at: usize, limit: Limit) {
        self.soft[at].store(limit.soft, Ordering::Relaxed);
        self.hard[at].store(limit.hard, Ordering::Relaxed);
    }

    /// A copy of its own, for fork.
    pub fn fork(&self) -> Self {
        let copy = Self::default();
        for at in 0..COUNT {
            let limit = Limit {
                soft: self.soft[at].load(Ordering::Relaxed),
                hard: self.hard[at].load(Ordering::Relaxed),
            };
            copy.put(at, limit);
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_privileged_raise_a_hard_limit() {
        let limits = Limits::default();
        let limit = |soft, hard| Limit { soft, hard };
        let stack = libc::RLIMIT_MEMLOCK;
        assert_eq!(limits.set(stack, limit(5, 4), true), Err(Errno::EINVAL));
        assert_eq!(limits.set(stack, limit(1, 2), false), Ok(()));
        assert_eq!(limits.set(stack, limit(1, 3), false), Err(Errno::EPERM));
        assert_eq!(limits.set(stack, limit(1, 3), true), Ok(()));
        assert_eq!(limits.get(99), Err(Errno::EINVAL));
    }
}
