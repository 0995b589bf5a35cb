//! `runsc run`

use clap::Args;

use super::{Global, VerbResult, create::FromBundle};
use crate::container::lifecycle;

/// Create a container from a bundle, run its process, wait for it and delete the container
#[derive(Args)]
pub(super) struct Run {
    /// Do not wait: leave the container running
    #[arg(long, short)]
    detach: bool,
    #[command(flatten)]
    from: FromBundle,
}

impl Run {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let created = self.from.create(global, !self.detach)?;
        let store = global.store()?;
        let id = created.id.clone();
        if let Err(error) = lifecycle::start(&store, &id) {
            // Leave nothing behind of a container that never ran.
            let _ = lifecycle::delete(&store, &id, true);
            return Err(error.into());
        }
        if self.detach {
            return Ok(0);
        }
        let status = created.wait()?;
        lifecycle::delete(&store, &id, true)?;
        Ok(status)
    }
}
