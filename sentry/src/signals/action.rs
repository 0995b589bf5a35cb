//! What a process does on each signal.

use parking_lot::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::signals::set::{MAX_SIGNAL, SigSet};

/// SA_RESTORER: the frame's return address is `restorer`. x86-64 has no other way.
pub const SA_RESTORER: u64 = 0x0400_0000;

/// `struct kernel_sigaction`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SigAction {
    /// SIG_DFL (0), SIG_IGN (1) or the handler's address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: u64,
}

/// SIG_DFL.
pub const SIG_DFL: u64 = 0;
/// SIG_IGN.
pub const SIG_IGN: u64 = 1;

/// What the default action of a signal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// The process ends.
    Terminate,
    /// The process ends, with a core dump where those are written (the Sentry writes none).
    Core,
    /// Nothing.
    Ignore,
    /// The process stops.
    Stop,
    /// The process goes on if it is stopped.
    Continue,
}

/// The default action of `signo`.
pub fn default_action(signo: i32) -> Default {
    match signo {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH => Default::Ignore,
        libc::SIGCONT => Default::Continue,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Default::Stop,
        libc::SIGQUIT
        | libc::SIGILL
        | libc::SIGTRAP
        | libc::SIGABRT
        | libc::SIGBUS
        | libc::SIGFPE
        | libc::SIGSEGV
        | libc::SIGXCPU
        | libc::SIGXFSZ
        | libc::SIGSYS => Default::Core,
        _ => Default::Terminate,
    }
}

impl SigAction {
    /// True if a signal with this action would have no effect at all.
    pub fn ignores(&self, signo: i32) -> bool {
        match self.handler {
            SIG_IGN => true,
            SIG_DFL => default_action(signo) == Default::Ignore,
            _ => false,
        }
    }

    /// True if a flag of `SA_*` is set.
    pub fn has(&self, flag: i32) -> bool {
        self.flags & u64::from(flag as u32) != 0
    }
}

/// Actions of a process, shared by those made with CLONE_SIGHAND. Lock order: innermost.
pub struct ActionTable {
    actions: Mutex<[SigAction; MAX_SIGNAL as usize]>,
}

impl ActionTable {
    /// All default.
    pub fn new() -> Self {
        Self {
            actions: Mutex::new([SigAction::default(); MAX_SIGNAL as usize]),
        }
    }

    /// A copy of its own, for fork.
    pub fn fork(&self) -> Self {
        Self {
            actions: Mutex::new(*self.actions.lock()),
        }
    }

    /// The action of `signo` (1 to 64).
    pub fn get(&self, signo: i32) -> SigAction {
        self.actions.lock()[signo as usize - 1]
    }

    /// Sets the action of `signo` (1 to 64); returns the old one.
    pub fn set(&self, signo: i32, action: SigAction) -> SigAction {
        std::mem::replace(&mut self.actions.lock()[signo as usize - 1], action)
    }

    /// What execve does: handlers become default, ignored stays ignored, flags and masks are gone.
    pub fn exec(&self) {
        for action in self.actions.lock().iter_mut() {
            let handler = if action.handler == SIG_IGN {
                SIG_IGN
            } else {
                SIG_DFL
            };
            *action = SigAction {
                handler,
                ..SigAction::default()
            };
        }
    }

    /// Signals whose action is SIG_IGN, and those that have a handler (for /proc/PID/status).
    pub fn ignored_and_caught(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        for (index, action) in self.actions.lock().iter().enumerate() {
            match action.handler {
                SIG_DFL => {}
                SIG_IGN => ignored.insert(index as i32 + 1),
                _ => caught.insert(index as i32 + 1),
            }
        }
        (ignored, caught)
    }
}

impl std::default::Default for ActionTable {
    fn default() -> Self {
        Self::new()
    }
}
