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
    /// `nstat`, and with a name `nstat | grep NAME`: that counter must have moved, by the number if
    /// there is one (`| grep " 3 "`).
    Counters(Option<(String, Option<u64>)>),
    /// `ethtool -K tun0 tso off gso off`: the link takes no super-packets.
    SuperPackets(bool),
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
                Step::Counters(wanted) => self.look_at_counters(command.pos, wanted.as_ref())?,
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
            Step::SuperPackets(on) => self.target.take_super_packets(*on),
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
    fn look_at_counters(&mut self, pos: Pos, wanted: Option<&(String, Option<u64>)>) -> Outcome {
        let now = self.target.counters();
        let now = now.map_err(|message| Failure::error(pos, message))?;
        let now: HashMap<String, u64> = now.into_iter().collect();
        let before = std::mem::replace(&mut self.counters, now);
        let Some((name, by)) = wanted else {
            return Ok(());
        };
        let found = self
            .counters
            .iter()
            .filter(|(found, _)| found.contains(name));
        let moves: Vec<u64> = found
            .map(|(found, value)| value.wrapping_sub(before.get(found).copied().unwrap_or(0)))
            .collect();
        if moves.is_empty() {
            let message = format!("the stack under test has no counter {name}");
            return Err(Box::new(Failure::error(pos, message)));
        }
        if moves
            .iter()
            .any(|by_now| by.map_or(*by_now != 0, |by| by == *by_now))
        {
            return Ok(());
        }
        let wanted = by.map_or("moves".to_owned(), |by| format!("moves by {by}"));
        let rows = vec![Row::new(
            "counter",
            format!("{name} {wanted}"),
            format!("{moves:?}"),
        )];
        Err(Failure::mismatch(
            pos,
            "a counter has moved otherwise",
            rows,
        ))
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
            "defaults.sh" => {
                all.push(Step::Defaults);
                // The kernel's own collection, which has it beside its scripts.
                if program == "./defaults.sh" {
                    let name = "net.ipv4.tcp_fastopen".to_owned();
                    all.push(Step::Set(name, "0x3".to_owned()));
                }
            }
            "sysctl" => all.extend(assignments(args, '.')?),
            "set_sysctls.py" => all.extend(assignments(args, '/')?),
            "nstat" => all.push(counters(&words)?),
            "echo" => return Err(format!("'{}' is not supported", line.trim())),
            "true" => all.push(Step::Nothing),
            "ethtool" => all.push(offload(args)?),
            // No queue holds packets back here, as pfifo does not.
            "tc" if is_pfifo(args) => all.push(Step::Nothing),
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
        [_, reset] if reset == "-n" => Ok(Step::Counters(None)),
        [_, pipe, grep, name] if pipe == "|" && grep == "grep" => {
            Ok(Step::Counters(Some((name.clone(), None))))
        }
        [_, pipe, grep, name, pipe2, grep2, quiet @ .., number]
            if [pipe, pipe2] == ["|"; 2] && [grep, grep2] == ["grep"; 2] && quiet.len() <= 1 =>
        {
            let number = number.trim().parse();
            let number = number.map_err(|_| format!("'{}' is not supported", words.join(" ")))?;
            Ok(Step::Counters(Some((name.clone(), Some(number)))))
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
        steps.push(Step::Set(name, arithmetic(value)?));
    }
    Ok(steps)
}

/// Replaces each `$((2*3))` of a shell by its product.
fn arithmetic(value: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("$((") {
        let (product, after) = after
            .split_once("))")
            .ok_or_else(|| format!("'{value}' is not supported"))?;
        let factors = product
            .split('*')
            .map(|factor| factor.trim().parse::<u64>());
        let product = factors.into_iter().try_fold(1_u64, |product, factor| {
            factor.ok().and_then(|factor| product.checked_mul(factor))
        });
        let product = product.ok_or_else(|| format!("'{value}' is not supported"))?;
        out.push_str(before);
        out.push_str(&product.to_string());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// `-K DEVICE tso off gso off`.
fn offload(args: &[String]) -> Result<Step, String> {
    let unsupported = || format!("'ethtool {}' is not supported", args.join(" "));
    let [change, _device, features @ ..] = args else {
        return Err(unsupported());
    };
    let known = |pair: &[String]| match pair {
        [name, on] if name == "tso" || name == "gso" => match on.as_str() {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        },
        _ => None,
    };
    let states: Option<Vec<bool>> = features.chunks(2).map(known).collect();
    match states {
        Some(states) if change == "-K" && !states.is_empty() => {
            Ok(Step::SuperPackets(states.into_iter().all(|on| on)))
        }
        _ => Err(unsupported()),
    }
}

/// `qdisc add dev DEVICE root pfifo`, without a limit.
fn is_pfifo(args: &[String]) -> bool {
    matches!(args, [qdisc, verb, dev, _, root, kind]
        if qdisc == "qdisc" && (verb == "add" || verb == "replace")
            && dev == "dev" && root == "root" && kind == "pfifo")
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
            [Step::Counters(Some(("TcpExtX".to_owned(), None)))]
        );
        assert_eq!(
            steps("nstat -n\nnstat | grep TcpExtX | grep -q \" 3 \"").unwrap(),
            [
                Step::Counters(None),
                Step::Counters(Some(("TcpExtX".to_owned(), Some(3))))
            ]
        );
        assert_eq!(
            steps("sysctl -q a.b=\"1 $((15*1024*1024)) $((2 * 3))\"").unwrap(),
            [set("a.b", "1 15728640 6")]
        );
        assert_eq!(
            steps("ethtool -K tun0 tso off gso off\ntc qdisc add dev tun0 root pfifo").unwrap(),
            [Step::SuperPackets(false), Step::Nothing]
        );
        let of_kernel = steps("./defaults.sh").unwrap();
        assert_eq!(of_kernel[1], set("net.ipv4.tcp_fastopen", "0x3"));
        for refused in [
            "ethtool -K tun0 gro off",
            "tc qdisc add dev tun0 root pfifo limit 0",
            "sysctl a.b=$((x*2))",
            "nstat | wc -l",
        ] {
            assert!(steps(refused).is_err(), "{refused}");
        }
        let either = Step::Either(vec![set("a.b", "1")], vec![Step::ForgetPeers]);
        let text = "sysctl -q a.b=1 &> /dev/null ||\\\n ip tcp_metrics flush all";
        assert_eq!(steps(text).unwrap(), [either]);
        assert!(steps("tc qdisc add dev tun0 root fq").is_err());
        assert!(steps("rm -rf /").is_err());
    }
}
