//! `runsc boot` (hidden): the sandbox's own process.

use std::os::fd::RawFd;

use clap::Args;

use super::VerbResult;
use crate::sandbox::boot;

/// Run a sandbox (started by the other verbs)
#[derive(Args)]
pub(super) struct Boot {
    /// The socket that the plan arrives on
    #[arg(long, value_name = "FD")]
    donor_fd: RawFd,
}

impl Boot {
    pub(super) fn run(self) -> VerbResult {
        Ok(boot::run(self.donor_fd)?)
    }
}
