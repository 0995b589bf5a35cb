//! A guest thread, as the Sentry thread that runs it owns it.

use std::sync::Arc;

use sentry_abi::{Errno, Regs};

use crate::kernel::Kernel;
use crate::mm::MemoryManager;
use crate::platform::Context;
use crate::signals::action::SigAction;
use crate::signals::{SigInfo, SigSet};
use crate::task::process::Process;
use crate::task::shared::TaskShared;
use crate::task::state::CallState;
use crate::vfs::{Credentials, FdTable, FsContext, PathContext};

/// A guest thread.
pub struct Task {
    /// What others see of it.
    pub shared: Arc<TaskShared>,
    /// Registers of the guest.
    pub regs: Regs,
    /// Address space.
    pub mm: Arc<MemoryManager>,
    /// Descriptors.
    pub fds: Arc<FdTable>,
    /// Root, working directory, umask.
    pub fs: Arc<FsContext>,
    /// Identity; change it with [`Task::set_creds`].
    pub creds: Arc<Credentials>,
    /// The sandbox.
    pub kernel: Arc<Kernel>,
    /// What survives between attempts of the present call.
    pub call_state: CallState,
    pub(crate) context: Box<dyn Context>,
    pub(crate) signals: ThreadSignals,
    /// set_tid_address(2).
    pub(crate) clear_child_tid: u64,
    /// set_robust_list(2).
    pub(crate) robust_list: u64,
    /// How the task ends, once that is decided: a wait status.
    pub(crate) exit_status: Option<i32>,
    /// The parent that waits in vfork until this task executes or ends.
    pub(crate) vfork_done: Option<Arc<crate::task::clone::VforkDone>>,
    /// Guest CPU time in contexts that this task had before (execve), nanoseconds.
    pub(crate) user_ns_before: u64,
}

/// Signal state that only the thread itself uses.
#[derive(Default)]
pub struct ThreadSignals {
    /// The mask to go back to after a call that set one for its duration.
    pub(crate) saved_mask: Option<SigSet>,
    /// sigaltstack(2): address, size, flags.
    pub(crate) alt_stack: AltStack,
    /// The signal whose handler is to run next.
    pub(crate) ready: Option<(SigInfo, SigAction)>,
    /// The address of the last fault that raised a signal (`cr2` of frames).
    pub(crate) fault_addr: u64,
    /// The processor's number of the last exception, and its error code (of frames).
    pub(crate) trap: (u64, u64),
}

/// sigaltstack(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are Linux's
pub struct AltStack {
    pub addr: u64,
    pub size: u64,
    pub flags: i32,
}

impl Task {
    /// Thread id.
    pub fn tid(&self) -> i32 {
        self.shared.tid
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        self.shared.process.pid
    }

    /// The process.
    pub fn process(&self) -> &Arc<Process> {
        &self.shared.process
    }

    /// What a path operation of this task needs.
    pub fn path_context(&self) -> PathContext {
        self.fs.path_context(&self.creds, self.pid(), self.tid())
    }

    /// RLIMIT_NOFILE, for descriptor tables.
    pub fn nofile_limit(&self) -> u64 {
        self.process().limits.soft(libc::RLIMIT_NOFILE)
    }

    /// Soft limit of `resource`.
    pub fn limit(&self, resource: u32) -> u64 {
        self.process().limits.soft(resource)
    }

    /// Monotonic guest clock, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        crate::time::monotonic_ns()
    }

    /// When the present call times out: `timeout_ns` after its first attempt.
    pub fn deadline_after(&mut self, timeout_ns: u64) -> u64 {
        let now = self.now_ns();
        *self
            .call_state
            .deadline_ns
            .get_or_insert(now.saturating_add(timeout_ns))
    }

    /// Becomes `creds`, for others to see too.
    pub fn set_creds(&mut self, creds: Credentials) {
        self.creds = Arc::new(creds);
        let shown = Arc::clone(&self.creds);
        self.shared.update_view(|view| view.creds = shown);
    }

    /// Uses another descriptor table (unshare, close_range).
    pub fn set_fds(&mut self, fds: Arc<FdTable>) {
        self.fds = Arc::clone(&fds);
        self.shared.update_view(|view| view.fds = Some(fds));
    }

    /// Uses another root and working directory (unshare).
    pub fn set_fs(&mut self, fs: Arc<FsContext>) {
        self.fs = Arc::clone(&fs);
        self.shared.update_view(|view| view.fs = Some(fs));
    }

    /// Blocks these signals from now on.
    pub(crate) fn set_mask(&mut self, mask: SigSet) {
        self.shared.set_mask(mask);
        // What is no longer blocked may be pending.
        self.shared.ask_attention();
    }

    /// Blocks other signals for the duration of the present call (ppoll, pselect, epoll_pwait,
    /// sigsuspend). Harmless when called again by a later attempt of the same call.
    pub fn set_temporary_mask(&mut self, mask: SigSet) {
        if self.signals.saved_mask.is_none() {
            self.signals.saved_mask = Some(self.shared.mask());
            self.set_mask(mask);
        }
    }

    /// Reads the `sigset_t` at `addr` whose size the caller said; `None` for a null pointer.
    ///
    /// # Errors
    /// EINVAL if the size is not 8, EFAULT.
    pub fn read_sigset(&self, addr: u64, size: u64) -> Result<Option<SigSet>, Errno> {
        if addr == 0 {
            return Ok(None);
        }
        if size != 8 {
            return Err(Errno::EINVAL);
        }
        let bits: u64 = self.mm.read_val(addr)?;
        Ok(Some(SigSet(bits).without(SigSet::UNBLOCKABLE)))
    }

    /// Raises SIGPIPE for this thread, as a write to a pipe or socket without reader does.
    pub fn raise_sigpipe(&self) {
        let info = SigInfo::user(libc::SIGPIPE, libc::SI_USER, self.pid(), self.creds.uid);
        let mut tree = self.kernel.tree.lock();
        // SIGPIPE's queue cannot be full.
        let _ = tree.signal_thread(&self.shared, info);
    }
}
