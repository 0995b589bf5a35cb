//! The Linux x86-64 ABI as the Sentry serves it.
//!
//! Plain constants (`O_*`, `SIG*`, `MAP_*` ...) come from the `libc` crate: guest and host share one
//! ABI. Here stand the errno type, the register file and the `repr(C)` structures that cross the
//! guest boundary, all readable from and writable to bytes without `unsafe`.

pub mod errno;
pub mod file;
pub mod regs;

pub use errno::Errno;
pub use regs::Regs;

/// fchmodat2(2), which the libc crate does not name.
pub const SYS_FCHMODAT2: i64 = 452;
