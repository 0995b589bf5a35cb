//! ptrace: the fallback, and the check of systrap. Address spaces are systrap's stubs with their
//! command threads; but guest threads are traced, and no signal of theirs reaches a handler: each
//! system call stops them (`PTRACE_SYSEMU`), and registers move by ptrace. About four times slower.
//!
//! Only the thread that attached may control a tracee, so each context has a thread of its own that
//! does ([`tracer`]); [`context`] is the Sentry's side of it.

mod context;
mod tracer;

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::systrap::{Space, Systrap};
use super::{AddressSpace, Context, MapOp, Platform, PlatformError};

/// The ptrace platform.
pub(super) struct Ptrace(Systrap);

impl Ptrace {
    /// Starts the zygote. `memory` is the file behind [`super::MapSource::Memory`].
    pub(super) fn start(memory: OwnedFd) -> Result<Self, PlatformError> {
        Ok(Self(Systrap::start(memory)?))
    }
}

impl Platform for Ptrace {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn user_range(&self) -> Range<u64> {
        self.0.user_range()
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(TracedSpace(self.0.new_space()?)))
    }
}

/// An address space whose threads are traced.
struct TracedSpace(Space);

impl AddressSpace for TracedSpace {
    fn apply(&self, ops: &[MapOp<'_>]) -> Result<(), PlatformError> {
        self.0.apply(ops)
    }

    fn new_context(&self, fp: Option<&[u8]>) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(context::Traced::start(self.0.new_thread(fp)?)?))
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(Self(self.0.fork()?)))
    }
}
