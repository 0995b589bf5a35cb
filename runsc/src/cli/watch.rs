//! `runsc watch-terminal` (hidden): tells a sandbox of the window sizes of a terminal of `exec`.

use std::path::PathBuf;

use clap::Args;

use super::VerbResult;
use crate::container::watch;

/// Watch the terminal on standard input for a process of a container (started by `exec`)
#[derive(Args)]
pub(super) struct Watch {
    /// The container's folder
    dir: PathBuf,
    /// The process's number inside
    pid: i32,
}

impl Watch {
    pub(super) fn run(self) -> VerbResult {
        watch::run(&self.dir, self.pid)?;
        Ok(0)
    }
}
