//! `runsc delete`

use clap::Args;

use super::{Global, VerbResult};
use crate::container::lifecycle;

/// Remove a stopped container and all that belongs to it
#[derive(Args)]
pub(super) struct Delete {
    /// Kill it first if it runs; no complaint if it does not exist
    #[arg(long, short)]
    force: bool,
    /// The containers
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl Delete {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let store = global.store()?;
        self.ids
            .iter()
            .try_for_each(|id| lifecycle::delete(&store, id, self.force))?;
        Ok(0)
    }
}
