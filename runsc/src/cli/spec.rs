//! `runsc spec`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::VerbResult;
use crate::oci::template;

/// Write a config.json to start a bundle from
#[derive(Args)]
pub(super) struct SpecVerb {
    /// Directory of the bundle
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// The program to run and its arguments
    #[arg(
        value_name = "ARG",
        default_value = "sh",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    args: Vec<String>,
}

impl SpecVerb {
    pub(super) fn run(self) -> VerbResult {
        let path = self.bundle.join("config.json");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| format!("cannot write {}: {source}", path.display()))?;
        writeln!(file, "{:#}", template::spec(&self.args))?;
        Ok(0)
    }
}
