//! `runsc kill`

use clap::Args;
use nix::sys::signal::Signal;

use super::{Global, VerbResult};
use crate::container::lifecycle;
use crate::sandbox::control::SignalTarget;

/// Send a signal to a container's init process
#[derive(Args)]
pub(super) struct Kill {
    /// Send it to all processes of the container
    #[arg(long, short, conflicts_with = "pid")]
    all: bool,
    /// Send it to this process (its number inside the container)
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// The container
    #[arg(value_name = "ID")]
    id: String,
    /// Name (TERM, SIGTERM) or number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", value_parser = parse_signal)]
    signal: i32,
}

impl Kill {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let target = match self.pid {
            Some(pid) => SignalTarget::Process(pid),
            None if self.all => SignalTarget::All,
            None => SignalTarget::Init,
        };
        lifecycle::signal(&global.store()?, &self.id, self.signal, target)?;
        Ok(0)
    }
}

/// A signal by number (real-time ones too) or by name with or without "SIG".
fn parse_signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err("signals are 1 to 64".into())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    name.parse::<Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| "no such signal".into())
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn names_and_numbers() {
        assert_eq!(parse_signal("9"), Ok(9));
        assert_eq!(parse_signal("TERM"), Ok(15));
        assert_eq!(parse_signal("sigint"), Ok(2));
        assert_eq!(parse_signal("64"), Ok(64));
        assert!(
            parse_signal("65").is_err()
                && parse_signal("0").is_err()
                && parse_signal("NOPE").is_err()
        );
    }
}
