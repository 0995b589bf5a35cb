//! `runsc syscalls`

use clap::Args;

use super::VerbResult;

/// Print the system calls that the Sentry serves, with their level of support
#[derive(Args)]
pub(super) struct Syscalls {}

impl Syscalls {
    #[allow(clippy::unused_self)] // every verb has the same form
    pub(super) fn run(self) -> VerbResult {
        print!("{}", sentry::syscalls::coverage::render());
        Ok(0)
    }
}
