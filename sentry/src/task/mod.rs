//! Tasks and processes: the run loop, fork, exec, exit, wait, blocking.
//!
//! A [`Task`] is one guest thread, owned by the Sentry thread that runs it; nobody else touches it. What
//! others may see of it and do to it (signal it, stop it, wake it, show it in /proc) is its
//! [`TaskShared`]. Threads of one process share a [`Process`]. Who is whose parent, group and session is
//! kept in one place, the [`tree::Tree`] of the kernel, under one lock.
//!
//! Lock order: tree, then a process's signal state, then a task's, then a wait queue's.

pub(crate) mod block;
pub(crate) mod clone;
pub(crate) mod cpu;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod futex;
pub(crate) mod job;
pub mod limits;
pub mod parker;
pub mod pidfd;
pub mod process;
pub(crate) mod run;
pub(crate) mod scheduling;
pub mod shared;
pub mod state;
pub mod thread;
pub mod tree;
pub(crate) mod wait;

pub use process::Process;
pub use shared::TaskShared;
pub use state::CallState;
pub use thread::Task;
