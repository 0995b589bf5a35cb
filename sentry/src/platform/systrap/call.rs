//! The registers of a guest thread that came through a gate, in its slot.

use std::sync::atomic::Ordering::Relaxed;

use sentry_abi::Regs;

use super::frame;
use super::layout::slot;
use crate::platform::sys::shared::Shared;

/// Reads the registers of the slot at `at`. The segment selectors are what they always are.
pub(super) fn read(shared: &Shared, at: usize, regs: &mut Regs) {
    for (i, field) in frame::fields(regs).into_iter().enumerate() {
        *field = shared.u64(at + slot::CALL_REGS + 8 * i).load(Relaxed);
    }
    (regs.cs, regs.ss) = (0x33, 0x2b);
    (regs.ds, regs.es, regs.fs, regs.gs) = (0, 0, 0, 0);
    regs.orig_rax = u64::MAX;
}

/// Writes them for the return to guest code, which goes to `rip`.
pub(super) fn write(shared: &Shared, at: usize, regs: &Regs, rip: u64) {
    let mut copy = Regs { rip, ..*regs };
    for (i, field) in frame::fields(&mut copy).into_iter().enumerate() {
        shared
            .u64(at + slot::CALL_REGS + 8 * i)
            .store(*field, Relaxed);
    }
}
