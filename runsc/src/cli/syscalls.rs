//! `runsc syscalls`

use std::io::{self, Write};

use clap::Args;
use sentry::syscalls::Support;
use sentry::syscalls::table::TABLE;

use super::VerbResult;

/// Print the system calls that the Sentry serves, with their level of support
#[derive(Args)]
pub(super) struct Syscalls {}

impl Syscalls {
    #[allow(clippy::unused_self)] // every verb has the same form
    pub(super) fn run(self) -> VerbResult {
        let mut out = io::stdout().lock();
        writeln!(out, "{:>4}  {:24}  {:8}  NOTE", "NR", "NAME", "SUPPORT")?;
        for row in TABLE.iter().filter(|row| row.support != Support::None) {
            writeln!(
                out,
                "{:>4}  {:24}  {:8}  {}",
                row.number,
                row.name,
                format!("{:?}", row.support),
                row.note
            )?;
        }
        writeln!(out, "Every other call answers ENOSYS and is counted.")?;
        Ok(0)
    }
}
