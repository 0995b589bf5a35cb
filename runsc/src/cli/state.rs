//! `runsc state`

use std::io::{self, Write};

use clap::Args;

use super::{Global, VerbResult};

/// Print a container's state as JSON
#[derive(Args)]
pub(super) struct StateVerb {
    /// The container
    #[arg(value_name = "ID")]
    id: String,
}

impl StateVerb {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let state = global.store()?.find(&self.id)?.load()?;
        writeln!(io::stdout(), "{:#}", state.to_oci())?;
        Ok(0)
    }
}
