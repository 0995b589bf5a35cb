//! `runsc ps`

use std::io::{self, Write};

use clap::{Args, ValueEnum};

use super::{Global, VerbResult};
use crate::container::lifecycle;
use crate::sandbox::control::ProcessRow;

/// List the processes of a container
#[derive(Args)]
pub(super) struct Ps {
    /// Shape of the output
    #[arg(long, short, value_enum, default_value_t)]
    format: PsFormat,
    /// The container
    #[arg(value_name = "ID")]
    id: String,
    /// Accepted for compatibility with runc, which passes them to ps(1)
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    ps_args: Vec<String>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum PsFormat {
    #[default]
    Table,
    Json,
}

impl Ps {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let rows = lifecycle::processes(&global.store()?, &self.id)?;
        match self.format {
            PsFormat::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&rows)?)?,
            PsFormat::Table => print_table(&mut io::stdout().lock(), &rows)?,
        }
        Ok(0)
    }
}

fn print_table(out: &mut impl Write, rows: &[ProcessRow]) -> io::Result<()> {
    writeln!(
        out,
        "{:8}  {:>7}  {:>7}  {:>7}  {:>9}  CMD",
        "UID", "PID", "PPID", "THREADS", "TIME"
    )?;
    for row in rows {
        let seconds = row.cpu_ns / 1_000_000_000;
        let time = format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        writeln!(
            out,
            "{:<8}  {:>7}  {:>7}  {:>7}  {time:>9}  {}",
            row.uid, row.pid, row.ppid, row.threads, row.command
        )?;
    }
    Ok(())
}
