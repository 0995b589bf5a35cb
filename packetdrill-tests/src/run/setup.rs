//! Commands in backticks. Nothing is given to a shell: settings are recognised and set in the target,
//! and what cannot be mapped is an error that says so.

use std::collections::HashMap;

use super::target::{SettingError, Target};
use super::{Outcome, Runner};
use crate::ast::{Command, Pos};
use crate::report::{Failure, Row};

/// What `common/defaults.sh` of the public script collections sets. Those that a target lacks are
/// left out: the file sets the same for every kernel.
const DEFAULTS: [(&str, &str); 27] = [
    ("net.ipv4.tcp_rmem", "4096 540000 15728640"),
    ("net.ipv4.tcp_wmem", "4096 262144 4194304"),
    ("net.ipv4.tcp_timestamps", "1"),
    ("net.ipv4.tcp_syn_retries", "5"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.ipv4.tcp_frto", "2"),
    ("net.ipv4.tcp_sack", "1"),
    ("net.ipv4.tcp_dsack", "1"),
    ("net.ipv4.tcp_fack", "0"),
    ("net.ipv4.tcp_reordering", "3"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_slow_start_after_idle", "0"),
    ("net.ipv4.tcp_early_retrans", "4"),
    ("net.ipv4.tcp_recovery", "1"),
    ("net.ipv4.tcp_tso_win_divisor", "3"),
    ("net.ipv4.tcp_ecn", "0"),
    ("net.ipv4.tcp_ecn_option", "2"),
    ("net.ipv4.tcp_pacing_ss_ratio", "200"),
    ("net.ipv4.tcp_pacing_ca_ratio", "120"),
    ("net.ipv4.tcp_notsent_lowat", "4294967295"),
    ("net.ipv4.tcp_fastopen", "0x70403"),
    (
        "net.ipv4.tcp_fastopen_key",
        "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4",
    ),
    ("net.ipv4.tcp_syncookies", "1"),
    ("net.ipv4.tcp_window_scaling", "1"),
    ("net.ipv4.tcp_moderate_rcvbuf", "1"),
    ("net.ipv4.tcp_abort_on_overflow", "0"),
    ("net.ipv4.tcp_no_metrics_save", "1"),
];

/// One command, as far as it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// All of [`DEFAULTS`].
    Defaults,
    /// One setting.
    Set(String, String),
    /// `nstat`, and with a name `nstat | grep NAME`: that counter must have moved.
    Counters(Option<String>),
    /// `A || B`: the second if the first fails.
    Either(Vec<Step>, Vec<Step>),
    /// `ip tcp_metrics flush`.
    ForgetPeers,
    /// Nothing that matters here (restoring the host's settings).
    Nothing,
}

/// Makes the settings that the set-up script of the public collections makes.
///
/// # Errors
/// A value that the target refuses.
pub fn set_defaults(target: &mut dyn Target) -> Result<(), String> {
    for (name, value) in DEFAULTS {
        match target.set(name, value) {
            Ok(()) | Err(SettingError::Unknown) => {}
            Err(SettingError::Invalid(why)) => return Err(invalid(name, value, &why)),
        }
    }
    Ok(())
}

impl Runner<'_> {
    pub(super) fn command(&mut self, command: &Command) -> Outcome {
        let steps = steps(&command.text).map_err(|message| Failure::error(command.pos, message))?;
        for step in steps {
            match &step {
                Step::Counters(name) => self.look_at_counters(command.pos, name.as_deref())?,
                step => self
                    .step(step)
                    .map_err(|message| Failure::error(command.pos, message))?,
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Nothing | Step::Counters(_) => Ok(()),
            Step::Either(first, second) => {
                let tried = first.iter().try_for_each(|step| self.step(step));
                tried.or_else(|_| second.iter().try_for_each(|step| self.step(step)))
            }
            Step::ForgetPeers => self.target.forget_peers(),
            Step::Defaults => set_defaults(self.target),
            Step::Set(name, value) => match self.target.set(name, value) {
                Ok(()) => Ok(()),
                Err(SettingError::Unknown) => {
                    Err(format!("the stack under test has no setting {name}"))
                }
                Err(SettingError::Invalid(why)) => Err(invalid(name, value, &why)),
            },
        }
    }
}

impl Runner<'_> {
    fn look_at_counters(&mut self, pos: Pos, name: Option<&str>) -> Outcome {
        let now = self.target.counters();
        let now = now.map_err(|message| Failure::error(pos, message))?;
        let now: HashMap<String, u64> = now.into_iter().collect();
        let before = std::mem::replace(&mut self.counters, now);
        let Some(name) = name else {
            return Ok(());
        };
        let moved = |(found, value): (&String, &u64)| {
            found.contains(name) && before.get(found).copied().unwrap_or(0) != *value
        };
        if self.counters.iter().any(moved) {
            Ok(())
        } else {
            let rows = vec![Row::new("counter", format!("{name} moves"), "it has not")];
            Err(Failure::mismatch(pos, "a counter has not moved", rows))
        }
    }
}

fn invalid(name: &str, value: &str, why: &str) -> String {
    format!("{name} cannot be set to {value}: {why}")
}

/// Takes a command's text apart, line by line.
fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut all = Vec::new();
    // A backslash at its end continues a line.
    let text = text.replace("\\\n", " ");
    for line in text.lines().flat_map(|line| line.split(';')) {
        let line = line.split('#').next().unwrap_or_default();
        if let Some((first, second)) = line.split_once("||") {
            all.push(Step::Either(steps(first)?, steps(second)?));
            continue;
        }
        let mut words = words(line);
        // Where the output goes does not matter: `> /dev/null 2>&1`.
        if let Some(at) = words.iter().position(|word| word.contains('>')) {
            words.truncate(at);
        }
        let Some((program, args)) = words.split_first() else {
            continue;
        };
        let name = program.rsplit('/').next().unwrap_or_default();
        match name {
            "defaults.sh" => all.push(Step::Defaults),
            "sysctl" => all.extend(assignments(args, '.')?),
            "set_sysctls.py" => all.extend(assignments(args, '/')?),
            "nstat" => all.push(counters(&words)?),
            "echo" => return Err(format!("'{}' is not supported", line.trim())),
            "true" => all.push(Step::Nothing),
            "ip" if line.contains("tcp_metrics flush") => all.push(Step::ForgetPeers),
            _ if name.starts_with("sysctl_restore") => all.push(Step::Nothing),
            _ => return Err(format!("the command '{}' is not supported", line.trim())),
        }
    }
    Ok(all)
}

/// `nstat`, or `nstat | grep NAME`.
fn counters(words: &[String]) -> Result<Step, String> {
    match words {
        [_] => Ok(Step::Counters(None)),
        [_, pipe, grep, name] if pipe == "|" && grep == "grep" => {
            Ok(Step::Counters(Some(name.clone())))
        }
        _ => Err(format!("'{}' is not supported", words.join(" "))),
    }
}

/// `name=value` words; names with slashes are paths below /proc/sys.
fn assignments(args: &[String], separator: char) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for arg in args {
        if arg.starts_with('-') {
            continue;
        }
        let (name, value) = arg
            .split_once('=')
            .ok_or_else(|| format!("'{arg}' sets nothing (name=value)"))?;
        let name = if separator == '/' {
            name.trim_start_matches("/proc/sys/").replace('/', ".")
        } else {
            name.to_owned()
        };
        steps.push(Step::Set(name, value.to_owned()));
    }
    Ok(steps)
}

/// Splits at blanks outside quotes, which are dropped.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_every_form() {
        let set = |name: &str, value: &str| Step::Set(name.to_owned(), value.to_owned());
        let text = "../common/defaults.sh\nsysctl -q net.ipv4.tcp_rmem=\"1 2 3\" net.core.somaxconn=5 > /dev/null\n../../common/set_sysctls.py /proc/sys/net/ipv4/tcp_ecn=1";
        assert_eq!(
            steps(text).unwrap(),
            [
                Step::Defaults,
                set("net.ipv4.tcp_rmem", "1 2 3"),
                set("net.core.somaxconn", "5"),
                set("net.ipv4.tcp_ecn", "1"),
            ]
        );
        assert_eq!(
            steps("/tmp/sysctl_restore_${PPID}.sh").unwrap(),
            [Step::Nothing]
        );
        assert_eq!(
            steps("nstat | grep TcpExtX > /dev/null 2>&1").unwrap(),
            [Step::Counters(Some("TcpExtX".to_owned()))]
        );
        let either = Step::Either(vec![set("a.b", "1")], vec![Step::ForgetPeers]);
        let text = "sysctl -q a.b=1 &> /dev/null ||\\\n ip tcp_metrics flush all";
        assert_eq!(steps(text).unwrap(), [either]);
        assert!(steps("tc qdisc add dev tun0 root fq").is_err());
        assert!(steps("rm -rf /").is_err());
    }
}
