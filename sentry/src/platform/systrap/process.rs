//! One stub process.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::unistd::Pid;
use parking_lot::{Mutex, RwLock};

use super::gates::Gates;
use super::layout::{SLOT, SLOTS, SLOTS_AT, slot};
use super::orders::Orders;
use super::slots::Slots;
use super::zygote::Newborn;
use super::{Common, zygote};
use crate::platform::PlatformError;
use crate::platform::sys::shared::Shared;

/// A stub. Dropping it kills it; contexts hold it too.
pub(super) struct Stub {
    pub(super) common: Arc<Common>,
    pub(super) pid: Pid,
    /// Orders, table, gates and slots, as in the stub.
    pub(super) shared: Shared,
    file: OwnedFd,
    slots: Mutex<Slots>,
    pub(super) orders: Mutex<Orders>,
    /// Taken for the time of a look-up or a patch only; after `in_guest` where both are.
    pub(super) gates: RwLock<Gates>,
    /// Held shared by every thread in guest code; nobody waits to have it alone.
    pub(super) in_guest: RwLock<()>,
    dead: AtomicBool,
}

impl Stub {
    pub(super) fn start(common: Arc<Common>) -> Result<Arc<Self>, PlatformError> {
        let Newborn { pid, seed } = common.zygote.fork()?;
        let orders = Orders::new(&seed.shared, seed.wake, seed.files);
        Ok(Arc::new(Self {
            common,
            pid,
            shared: seed.shared,
            file: seed.file,
            slots: Mutex::new(Slots::new()),
            orders: Mutex::new(orders),
            gates: RwLock::default(),
            in_guest: RwLock::new(()),
            dead: AtomicBool::new(false),
        }))
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.dead.load(Relaxed) || zygote::has_ended(self.pid)
    }

    /// The process is not to be trusted any more: ends it.
    pub(super) fn condemn(&self, why: &'static str) -> PlatformError {
        self.dead.store(true, Relaxed);
        let _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
        PlatformError::Dead(why)
    }

    /// A free slot.
    pub(super) fn take_slot(&self) -> Result<u64, PlatformError> {
        let ended =
            |slot: u64| self.shared.u32(offset(slot) + slot::STATE).load(Relaxed) == slot::DEAD;
        self.slots.lock().take(&self.file, ended)
    }

    /// Gives a slot back, whose thread has been told to end.
    pub(super) fn put_slot(&self, slot: u64) {
        self.slots.lock().put(slot);
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.common.zygote.kill(self.pid);
    }
}

/// Where a slot starts in the shared mapping.
pub(super) fn offset(slot: u64) -> usize {
    (SLOTS_AT + slot * SLOT) as usize
}

/// Where a slot starts in the stub.
pub(super) fn address(slot: u64) -> u64 {
    SLOTS + slot * SLOT
}
