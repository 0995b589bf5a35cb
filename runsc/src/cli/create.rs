//! `runsc create`, and the options that it shares with `run`.

use std::path::PathBuf;

use clap::Args;

use super::{Global, VerbResult};
use crate::container::create::{self, CreateOptions};
use crate::log;
use crate::oci::bundle::Bundle;
use crate::oci::unapplied;

/// Create a container from a bundle, without running its process
#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    from: FromBundle,
}

/// Where a container comes from.
#[derive(Args)]
pub(super) struct FromBundle {
    /// Directory of the bundle
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Socket that is sent the terminal's master side
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// File to write the sandbox's process number to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Accepted for compatibility with runc; no session keyring is made
    #[arg(long, hide = true)]
    no_new_keyring: bool,
    /// Accepted for compatibility with runc; the root is never pivoted
    #[arg(long, hide = true)]
    no_pivot: bool,
    /// The new container
    #[arg(value_name = "ID")]
    id: String,
}

impl FromBundle {
    /// Creates the container, its process waiting for `start`.
    ///
    /// With `foreground` the sandbox ends with this process.
    pub(super) fn create(
        self,
        global: &Global,
        foreground: bool,
    ) -> Result<create::Created, Box<dyn std::error::Error>> {
        let bundle = Bundle::load(&self.bundle)?;
        let unapplied = unapplied::fields(&bundle.spec);
        if !unapplied.is_empty() {
            let names = unapplied.join(", ");
            log::note(&format!("config.json: without effect here: {names}"));
        }
        let options = CreateOptions {
            sandbox: global.sandbox_options(),
            network: global.network,
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            foreground,
        };
        Ok(create::create(
            &global.store()?,
            &self.id,
            &bundle,
            &options,
        )?)
    }
}

impl Create {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        self.from.create(global, false)?;
        Ok(0)
    }
}
