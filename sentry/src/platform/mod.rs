//! How guest code runs. A platform makes address spaces (each backed by a host process that holds
//! nothing of the Sentry's) and contexts (a guest thread in one); everything that guest code does
//! beside computing comes back as an [`Event`].

mod fp;
mod ptrace;
mod sys;
mod systrap;

use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, LazyLock};

use sentry_abi::Regs;
use thiserror::Error;

/// CPUs that guests can use. Counted once, by [`new`]: counting reads files, which a confined Sentry
/// cannot.
pub fn cpus() -> usize {
    static CPUS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *CPUS
}

/// True if the host has [`barrier`].
pub(crate) fn has_barrier() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(sys::has_barrier);
    *HAS
}

/// Returns when every thread of the machine has passed a full memory barrier.
///
/// # Errors
/// The host's: EINVAL if it has none.
pub(crate) fn barrier() -> Result<(), sentry_abi::Errno> {
    sys::barrier()
}

/// Why the platform could not do what it was asked.
#[derive(Debug, Error)]
pub enum PlatformError {
    /// A host call failed.
    #[error("{what}: {source}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// The host's error.
        source: std::io::Error,
    },
    /// The process that backs the address space is gone or was found to be corrupt: the guest
    /// process is to be killed (SIGKILL); the Sentry goes on.
    #[error("the process that ran the guest is gone: {0}")]
    Dead(&'static str),
    /// The host's limits (mappings, processes, threads, memory) are reached: ENOMEM or EAGAIN.
    #[error("out of {0}")]
    Exhausted(&'static str),
}

/// What guest memory is mapped from.
#[derive(Clone, Copy, Debug)]
pub enum MapSource<'a> {
    /// The sandbox's memory file at this offset, always shared.
    Memory {
        /// Byte offset, page-aligned.
        offset: u64,
    },
    /// The same; all its pages are there, and are to be mapped at once.
    Filled {
        /// Byte offset, page-aligned.
        offset: u64,
    },
    /// A host file, straight from its descriptor (page cache shared with the host). Private
    /// mappings of files are ordered without PROT_WRITE: a write fault breaks them into memory.
    File {
        /// The file.
        fd: BorrowedFd<'a>,
        /// Byte offset, page-aligned.
        offset: u64,
        /// MAP_SHARED (writes reach the file) or MAP_PRIVATE.
        shared: bool,
    },
}

/// One change to an address space. `addr` and `len` are page-aligned and within
/// [`Platform::user_range`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the fields are those of mmap(2), munmap(2), mprotect(2)
pub enum MapOp<'a> {
    Map {
        addr: u64,
        len: u64,
        prot: i32,
        source: MapSource<'a>,
    },
    Unmap {
        addr: u64,
        len: u64,
    },
    Protect {
        addr: u64,
        len: u64,
        prot: i32,
    },
}

/// A place in guest code that makes system calls, to be replaced by a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// Where the instructions to be replaced begin.
    pub addr: u64,
    /// What they are.
    pub shape: CallShape,
}

/// Instructions with a `syscall` that a jump can replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallShape {
    /// `mov eax, number; syscall`
    Number(u32),
    /// `syscall; cmp rax, value`
    Compared(i32),
}

/// Bytes of the longest call site.
pub const PATCH_LEN: usize = 8;

impl CallSite {
    /// How many bytes it has.
    pub fn size(&self) -> usize {
        match self.shape {
            CallShape::Number(_) => 7,
            CallShape::Compared(_) => 8,
        }
    }

    /// The address behind it.
    pub fn end(&self) -> u64 {
        self.addr + self.size() as u64
    }

    /// The address behind its `syscall`.
    pub fn call_end(&self) -> u64 {
        match self.shape {
            CallShape::Number(_) => self.end(),
            CallShape::Compared(_) => self.addr + 2,
        }
    }
}

/// What replaces a call site.
#[derive(Clone, Copy, Debug)]
pub struct Patch {
    /// Its bytes, as many as the site has.
    pub bytes: [u8; PATCH_LEN],
    /// No thread is in guest code while the site is written. If not, its first byte and that of its
    /// `syscall` have to be made `bytes[5]`, which traps, before the others change.
    pub alone: bool,
}

/// Why guest code stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It executed `syscall`; number in `orig_rax`, arguments in rdi, rsi, rdx, r10, r8, r9; `rip` is
    /// after the instruction. `rax` of the registers is -ENOSYS.
    Syscall,
    /// It touched memory that is not mapped for that access.
    Fault {
        /// The address touched (not aligned).
        addr: u64,
        /// What it wanted.
        access: Access,
    },
    /// A CPU exception other than a page fault.
    Exception {
        /// The Linux signal it stands for (SIGFPE, SIGILL, SIGTRAP, SIGBUS, SIGSEGV for #GP).
        signo: i32,
        /// `si_code`.
        code: i32,
        /// `si_addr`.
        addr: u64,
    },
    /// [`Interrupt::interrupt`] was called.
    Interrupted,
}

impl PlatformError {
    /// A host call that failed with this error.
    pub(crate) fn host(what: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::Host {
            what,
            source: source.into(),
        }
    }
}

/// Which platform to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlatformKind {
    /// Traps by seccomp, hand-over through shared memory. Needs a kernel from 5.11 on and the
    /// FSGSBASE instructions.
    #[default]
    Systrap,
    /// Traced threads. Slower; works where systrap is suspected.
    Ptrace,
}

/// Starts a platform. `memory` is the sandbox's memory file, which [`MapSource::Memory`] means.
/// To be called before the Sentry confines itself.
///
/// # Errors
/// `Host` if the machine or the present confinement does not allow it.
pub fn new(kind: PlatformKind, memory: OwnedFd) -> Result<Arc<dyn Platform>, PlatformError> {
    cpus();
    match kind {
        PlatformKind::Systrap => Ok(Arc::new(systrap::Systrap::start(memory)?)),
        PlatformKind::Ptrace => Ok(Arc::new(ptrace::Ptrace::start(memory)?)),
    }
}

/// A kind of memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // self-explanatory
pub enum Access {
    Read,
    Write,
    Execute,
}

/// A way to run guest code.
pub trait Platform: Send + Sync {
    /// Name, as `--platform` spells it.
    fn name(&self) -> &'static str;

    /// The addresses that a guest may map; what lies outside is the platform's.
    fn user_range(&self) -> Range<u64>;

    /// A new, empty address space.
    ///
    /// # Errors
    /// `Exhausted` if no process can be had.
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;
}

/// The host side of one guest address space. Dropping it ends its process.
pub trait AddressSpace: Send + Sync {
    /// Carries out changes in order; all have taken effect in every thread when it returns.
    ///
    /// # Errors
    /// `Exhausted` if the host's mapping limit is hit (changes before that one have been made),
    /// `Dead` if the process is gone.
    fn apply(&self, ops: &[MapOp<'_>]) -> Result<(), PlatformError>;

    /// A new guest thread in this address space, its extended state (`fp`) in XSAVE form as
    /// [`Context::fp_state`] returned it, or the reset state.
    ///
    /// # Errors
    /// `Exhausted` if the host's thread limit is hit.
    fn new_context(&self, fp: Option<&[u8]>) -> Result<Box<dyn Context>, PlatformError>;

    /// A new, empty address space in which code that was patched in this one works.
    ///
    /// # Errors
    /// `Exhausted` if no process can be had.
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;

    /// Prepares for system calls of `site` to come without a trap, and has `write` replace its bytes.
    /// To be called by the Sentry's thread of one of its guest threads, which is not in guest code.
    /// False if it cannot be done (at all, or while other threads are in guest code).
    fn patch(&self, _site: CallSite, _write: &mut dyn FnMut(&Patch)) -> bool {
        false
    }
}

/// A guest thread. Used by one Sentry thread at a time; dropping it ends the host thread.
pub trait Context: Send {
    /// Runs guest code from `regs` until something happens, and leaves the registers of that moment
    /// in `regs`.
    ///
    /// # Errors
    /// `Dead`: the guest process has to be killed.
    fn run(&mut self, regs: &mut Regs) -> Result<Event, PlatformError>;

    /// The extended (x87, SSE, AVX) state as an XSAVE area in the form of a signal frame
    /// (`struct _xstate`, `FP_XSTATE_MAGIC1` included). Valid after `run` has returned.
    fn fp_state(&mut self) -> Vec<u8>;

    /// Sets the extended state for the next `run`; `None` resets it. A malformed area is refused.
    ///
    /// # Errors
    /// `Dead` if the thread is gone, `Host` (EINVAL) if `fp` is not a valid area.
    fn set_fp_state(&mut self, fp: Option<&[u8]>) -> Result<(), PlatformError>;

    /// What other threads use to make `run` return.
    fn interrupt_handle(&self) -> Arc<dyn Interrupt>;

    /// CPU time that guest code has used in this context, in nanoseconds.
    fn cpu_time_ns(&self) -> u64;

    /// How often the last system call's place has trapped lately (0: nobody counts). It is worth a
    /// [`AddressSpace::patch`] when it has become large.
    fn trapped_here(&self) -> u32 {
        0
    }
}

/// Makes a context's `run` return [`Event::Interrupted`].
pub trait Interrupt: Send + Sync {
    /// The present `run`, or the next one if none is under way, returns `Interrupted` soon (another
    /// event may come first; one interrupt is then still pending).
    fn interrupt(&self);
}
