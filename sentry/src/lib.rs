//! A user-space kernel that serves the Linux system calls of untrusted programs.
//!
//! No call of a guest reaches the host kernel: a [`platform`] runs guest code and hands each system
//! call, fault and exception to the task that owns it; the task's thread serves it from the modules
//! below and resumes the guest.
//!
//! # Code map (each module imports only downward)
//!
//! | module | what happens there |
//! | --- | --- |
//! | [`kernel`] | one sandbox: boot, tasks, exit; what `runsc` calls |
//! | [`syscalls`] | the table of system calls, one file per family; argument conversion; strace |
//! | [`task`] | tasks and processes, the run loop, fork, exec, exit, wait, blocking |
//! | [`signals`] | pending sets, actions, delivery, frames |
//! | [`loader`] | ELF, scripts, the initial stack, the vDSO |
//! | [`net`] | the socket provider trait and its providers |
//! | [`fs`] | file systems: host, overlay, tmpfs, proc, sys, dev, pipes |
//! | [`vfs`] | paths, mounts, open files, descriptor tables |
//! | [`time`] | clocks and timers |
//! | [`wait`] | wait queues and readiness |
//! | [`mm`] | address spaces of guests: VMAs, the memory file, copy-on-write, user copies |
//! | [`platform`] | systrap, ptrace: how guest code runs |
//! | [`seccomp`] | the filters that confine the Sentry itself |

#![deny(unsafe_code)]

pub mod fs;
pub mod kernel;
pub mod loader;
pub mod mm;
pub mod net;
pub mod platform;
pub mod seccomp;
pub mod signals;
pub mod syscalls;
pub mod task;
pub mod time;
pub mod vfs;
pub mod wait;

pub use sentry_abi::{Errno, Regs};
