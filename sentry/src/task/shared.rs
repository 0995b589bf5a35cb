//! What others may see of a task, and do to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::mm::MemoryManager;
use crate::platform::Interrupt;
use crate::signals::{Pending, SigSet};
use crate::task::parker::Parker;
use crate::task::process::Process;
use crate::task::scheduling::Scheduling;
use crate::vfs::{Credentials, FdTable, FsContext};

/// The part of a task that others see.
pub struct TaskShared {
    /// Thread id.
    pub tid: i32,
    /// The process it is a thread of.
    pub process: Arc<Process>,
    /// Its sleep.
    pub parker: Arc<Parker>,
    /// Signals sent to this thread.
    pub(crate) pending: Mutex<Pending>,
    mask: AtomicU64,
    view: RwLock<View>,
    attention: AtomicBool,
    in_guest: AtomicBool,
    state: AtomicU8,
    interrupt: Mutex<Option<Arc<dyn Interrupt>>>,
    /// Somebody wants to know the CPU time: it is accounted for at the next occasion.
    account_wanted: AtomicBool,
    /// Priority and CPUs.
    pub(crate) scheduling: Mutex<Scheduling>,
    /// CPU time of guest code, nanoseconds.
    pub(crate) user_ns: AtomicU64,
    /// CPU time of the Sentry on its behalf, nanoseconds.
    pub(crate) system_ns: AtomicU64,
}

/// What /proc shows of a task; `None` after it has let go of it (exit).
#[derive(Clone)]
pub struct View {
    /// Address space.
    pub mm: Option<Arc<MemoryManager>>,
    /// Descriptors.
    pub fds: Option<Arc<FdTable>>,
    /// Root and working directory.
    pub fs: Option<Arc<FsContext>>,
    /// Identity.
    pub creds: Arc<Credentials>,
    /// Name of the thread (comm), at most 15 bytes.
    pub comm: Vec<u8>,
}

/// What a task is doing, with the letter that /proc shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RunState {
    /// Runs, or could.
    Running = b'R',
    /// Waits in a system call.
    Sleeping = b'S',
    /// Stopped by a signal.
    Stopped = b'T',
    /// Ended; its parent has not asked for it.
    Zombie = b'Z',
    /// Gone.
    Dead = b'X',
}

impl TaskShared {
    /// A new task's; the view is filled when it starts.
    pub(crate) fn new(tid: i32, process: Arc<Process>, mask: SigSet, view: View) -> Arc<Self> {
        Arc::new(Self {
            tid,
            process,
            parker: Arc::default(),
            pending: Mutex::default(),
            mask: AtomicU64::new(mask.0),
            view: RwLock::new(view),
            attention: AtomicBool::new(false),
            in_guest: AtomicBool::new(false),
            state: AtomicU8::new(RunState::Running as u8),
            interrupt: Mutex::new(None),
            account_wanted: AtomicBool::new(false),
            scheduling: Mutex::default(),
            user_ns: AtomicU64::new(0),
            system_ns: AtomicU64::new(0),
        })
    }

    /// The same thread under another id (execve), with its pending signals and its account.
    pub(crate) fn successor(old: &Arc<Self>, tid: i32) -> Arc<Self> {
        let load = |counter: &AtomicU64| AtomicU64::new(counter.load(Ordering::Relaxed));
        Arc::new(Self {
            tid,
            process: Arc::clone(&old.process),
            parker: Arc::clone(&old.parker),
            pending: Mutex::new(std::mem::take(&mut *old.pending.lock())),
            mask: load(&old.mask),
            view: RwLock::new(old.view()),
            attention: AtomicBool::new(true),
            in_guest: AtomicBool::new(false),
            state: AtomicU8::new(RunState::Running as u8),
            interrupt: Mutex::new(None),
            account_wanted: AtomicBool::new(false),
            scheduling: Mutex::new(old.scheduling.lock().clone()),
            user_ns: load(&old.user_ns),
            system_ns: load(&old.system_ns),
        })
    }

    /// Takes over what a new task has from the one that made it.
    pub(crate) fn inherit(&self, parent: &Self) {
        let scheduling = parent.scheduling.lock().of_child();
        *self.scheduling.lock() = scheduling;
    }

    /// Blocked signals.
    pub fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::SeqCst))
    }

    /// Only the task itself changes its mask (or whoever makes it).
    pub(crate) fn set_mask(&self, mask: SigSet) {
        let mask = mask.without(SigSet::UNBLOCKABLE);
        self.mask.store(mask.0, Ordering::SeqCst);
    }

    /// What /proc shows, as it is now.
    pub fn view(&self) -> View {
        self.view.read().clone()
    }

    /// Changes what others see.
    pub(crate) fn update_view(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.write());
    }

    /// Identity.
    pub fn creds(&self) -> Arc<Credentials> {
        Arc::clone(&self.view.read().creds)
    }

    /// Name of the thread.
    pub fn comm(&self) -> Vec<u8> {
        self.view.read().comm.clone()
    }

    /// State as /proc shows it.
    pub fn state(&self) -> RunState {
        match self.state.load(Ordering::Relaxed) {
            b'R' => RunState::Running,
            b'S' => RunState::Sleeping,
            b'T' => RunState::Stopped,
            b'Z' => RunState::Zombie,
            _ => RunState::Dead,
        }
    }

    pub(crate) fn set_state(&self, state: RunState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn set_interrupt(&self, handle: Arc<dyn Interrupt>) {
        *self.interrupt.lock() = Some(handle);
    }

    /// Makes the task look at its signals and stop requests soon, whatever it does now.
    pub fn kick(&self) {
        self.attention.store(true, Ordering::SeqCst);
        self.parker.unpark();
        if self.in_guest.load(Ordering::SeqCst)
            && let Some(handle) = &*self.interrupt.lock()
        {
            handle.interrupt();
        }
    }

    /// Makes a running task account for its CPU time soon. One that sleeps has done so.
    pub(crate) fn ask_account(&self) {
        if self.state() == RunState::Running {
            self.account_wanted.store(true, Ordering::SeqCst);
            self.kick();
        }
    }

    /// Takes the request of [`TaskShared::ask_account`].
    pub(crate) fn take_account_request(&self) -> bool {
        self.account_wanted.swap(false, Ordering::SeqCst)
    }

    /// True if the task has been asked to look at its signals and stop requests.
    #[inline]
    pub(crate) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::SeqCst)
    }

    /// Makes the task look again before it next runs guest code. For its own thread.
    pub(crate) fn ask_attention(&self) {
        self.attention.store(true, Ordering::SeqCst);
    }

    /// Takes the request: what was asked before is looked at after this.
    pub(crate) fn take_attention(&self) -> bool {
        self.attention.swap(false, Ordering::SeqCst)
    }

    /// About to run guest code: false if there is something to look at first.
    #[inline]
    pub(crate) fn enter_guest(&self) -> bool {
        self.in_guest.store(true, Ordering::SeqCst);
        if self.wants_attention() {
            self.in_guest.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Back from guest code.
    #[inline]
    pub(crate) fn leave_guest(&self) {
        self.in_guest.store(false, Ordering::Release);
    }
}
