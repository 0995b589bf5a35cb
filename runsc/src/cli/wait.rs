//! `runsc wait`

use std::io::{self, Write};

use clap::Args;

use super::{Global, VerbResult};
use crate::container::lifecycle;

/// Wait until a container's process ends, and print its exit status as JSON
#[derive(Args)]
pub(super) struct Wait {
    /// Wait for this process instead of the init process (its number inside the container)
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// The container
    #[arg(value_name = "ID")]
    id: String,
}

impl Wait {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let status = lifecycle::wait(&global.store()?, &self.id, self.pid)?;
        let answer = serde_json::json!({ "id": self.id, "exitStatus": status });
        writeln!(io::stdout(), "{answer}")?;
        Ok(0)
    }
}
