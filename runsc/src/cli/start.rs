//! `runsc start`

use clap::Args;

use super::{Global, VerbResult};
use crate::container::lifecycle;

/// Run the process of a created container
#[derive(Args)]
pub(super) struct Start {
    /// The container
    #[arg(value_name = "ID")]
    id: String,
}

impl Start {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        lifecycle::start(&global.store()?, &self.id)?;
        Ok(0)
    }
}
