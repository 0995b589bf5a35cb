//! The filter that confines the Sentry itself, the second layer of defence: whoever takes over the
//! Sentry finds few system calls, with few arguments. The table of calls is in [`table`].
//!
//! A call that is not in it ends the Sentry (all guests with it), after a line that names the call.

mod refused;
mod table;

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch,
    apply_filter_all_threads,
};
use thiserror::Error;

/// What the Sentry will need beside what it always needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// A mount of the guest is writable on the host.
    pub writable_mounts: bool,
    /// Sockets of the host serve the guest (`--network=host`).
    pub host_network: bool,
    /// The platform is ptrace.
    pub ptrace: bool,
}

/// Why the Sentry is not confined. It must not run guests then.
#[derive(Debug, Error)]
pub enum ConfineError {
    /// The filter could not be made.
    #[error("making the Sentry's filter: {0}")]
    Build(#[from] BackendError),
    /// The kernel refused it.
    #[error("installing the Sentry's filter: {0}")]
    Install(#[from] seccompiler::Error),
    /// The handler that names refused calls could not be installed.
    #[error("handling refused calls: {0}")]
    Handler(std::io::Error),
}

/// Confines all threads of this process, for good. To be called when the platform has been started
/// and all descriptors are open. Implies no_new_privs.
///
/// # Errors
/// See [`ConfineError`].
pub fn confine(options: Confinement) -> Result<(), ConfineError> {
    refused::report_and_exit().map_err(ConfineError::Handler)?;
    let programs = [thread_fallback()?, file_fallback()?, allow_list(options)?];
    for program in &programs {
        apply_filter_all_threads(program)?;
    }
    Ok(())
}

/// The C library makes threads by clone3, whose flags a filter can't see; told that there is none,
/// it uses clone.
fn thread_fallback() -> Result<BpfProgram, BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    compile(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )
}

/// The C library's allocator looks into /proc/sys and /sys when threads compete and when it gives memory
/// back. It goes on without; told that there is nothing, it is told the truth: the root is empty.
fn file_fallback() -> Result<BpfProgram, BackendError> {
    compile(
        table::plain_opens()?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOENT as u32),
    )
}

fn allow_list(options: Confinement) -> Result<BpfProgram, BackendError> {
    compile(
        table::rules(options)?,
        SeccompAction::Trap,
        SeccompAction::Allow,
    )
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    other: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, other, listed, TargetArch::x86_64)?.try_into()
}
