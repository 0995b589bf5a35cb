//! Which context slots of a stub are in use, and how many its shared file has room for.

use std::os::fd::OwnedFd;

use nix::unistd::ftruncate;

use super::layout::{SLOT, SLOT_COUNT, SLOTS_AT};
use crate::platform::PlatformError;

/// The slots of one stub. Slot 0 is the command thread's.
pub(super) struct Slots {
    /// Slots that the file has room for; used or free.
    made: u64,
    free: Vec<u64>,
}

/// The file grows by this many slots.
const STEP: u64 = 8;

/// The file's length with this many slots.
pub(super) fn file_len(slots: u64) -> u64 {
    SLOTS_AT + slots * SLOT
}

impl Slots {
    /// The file holds orders, gates and slot 0.
    pub(super) fn new() -> Self {
        Self {
            made: 1,
            free: Vec::new(),
        }
    }

    /// A slot that `usable` agrees to: a slot's last thread may still be on its way out.
    pub(super) fn take(
        &mut self,
        file: &OwnedFd,
        usable: impl Fn(u64) -> bool,
    ) -> Result<u64, PlatformError> {
        if let Some(at) = self.free.iter().position(|slot| usable(*slot)) {
            return Ok(self.free.swap_remove(at));
        }
        let made = (self.made + STEP).min(SLOT_COUNT);
        if made == self.made {
            return Err(PlatformError::Exhausted("threads"));
        }
        ftruncate(file, file_len(made).cast_signed())
            .map_err(|e| PlatformError::host("growing a stub's memory", e))?;
        self.free.extend((self.made + 1..made).rev());
        let first = self.made;
        self.made = made;
        Ok(first)
    }

    /// Gives a slot back.
    pub(super) fn put(&mut self, slot: u64) {
        self.free.push(slot);
    }
}
