//! systrap: guest code runs in stub processes under seccomp filters that turn each system call into
//! a signal; the signal's handler hands over to the Sentry through shared memory.
//!
//! | file | what happens there |
//! | --- | --- |
//! | [`zygote`] | the process that forks stubs, and what becomes of dead ones |
//! | [`process`] | one stub: its descriptors, its shared memory, its end |
//! | [`orders`] | what the stub's command thread is told: map, unmap, protect, clone |
//! | [`slots`] | which of a stub's context slots are in use |
//! | [`aspace`] | an address space: changes to mappings, batched into orders |
//! | [`context`] | a guest thread: run, interrupt, extended state |
//! | [`handover`] | polling and sleeping until the other side is done |
//! | [`gates`] | patched call sites: system calls without a signal |
//! | [`call`] | the registers of a guest thread that came through a gate |
//! | [`hot`] | which places trap often |
//! | [`frame`] | the signal frame that holds a stopped guest thread's registers |
//! | `layout` | addresses and offsets, shared with the stub (`sentry/stub`) |
//!
//! # Who can write what
//!
//! The memory that a stub shares with the Sentry has two parts. The order page is read-only in the
//! stub; results come into it through a descriptor that only the command thread's filter lets
//! anybody write to, so the Sentry may rely on them. The slots are writable by all of the guest
//! process's threads: what is read there is the guest's word about itself, taken once and checked.

mod aspace;
mod call;
mod context;
mod frame;
mod gates;
mod handover;
mod hot;
#[path = "../../../stub/src/layout.rs"]
mod layout;
mod orders;
mod process;
mod slots;
mod zygote;

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub(super) use self::aspace::Space;
pub(super) use self::context::Thread;
/// The start of the stub's text, where an undefined instruction is.
pub(super) use self::layout::BASE as TEXT;

use self::handover::Load;
use self::process::Stub;
use self::zygote::Zygote;
use super::fp::FpLayout;
use super::{AddressSpace, Platform, PlatformError, sys};

/// The systrap platform.
pub(super) struct Systrap {
    shared: Arc<Common>,
}

/// What all stubs need of the platform.
struct Common {
    zygote: Zygote,
    load: Load,
    fp: FpLayout,
    /// The processor has what a gate needs.
    gates: bool,
}

impl Systrap {
    /// Starts the zygote. `memory` is the file behind [`super::MapSource::Memory`].
    pub(super) fn start(memory: OwnedFd) -> Result<Self, PlatformError> {
        let unsupported =
            |text: &str| PlatformError::host("systrap", std::io::Error::other(text.to_owned()));
        if !sys::has_needed_features() {
            return Err(unsupported(
                "needs a processor and kernel with XSAVE, RDTSCP and FSGSBASE",
            ));
        }
        if sys::signal_frame_size() as u64 > layout::SLOT / 2 {
            return Err(unsupported("signal frames of this processor are too large"));
        }
        let (features, size) = sys::xsave_layout();
        Ok(Self {
            shared: Arc::new(Common {
                zygote: Zygote::start(&memory)?,
                load: Load::new(),
                fp: FpLayout { features, size },
                gates: std::arch::is_x86_feature_detected!("bmi2"),
            }),
        })
    }
}

impl Systrap {
    /// A new, empty address space.
    pub(super) fn new_space(&self) -> Result<Space, PlatformError> {
        Ok(Space::new(Stub::start(Arc::clone(&self.shared))?))
    }
}

impl Platform for Systrap {
    fn name(&self) -> &'static str {
        "systrap"
    }

    fn user_range(&self) -> Range<u64> {
        layout::USER_START..layout::USER_END
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(self.new_space()?))
    }
}
