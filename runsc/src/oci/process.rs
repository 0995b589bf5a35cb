//! An OCI process description, turned into the plan of a process.

use std::collections::HashMap;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process};

use super::bundle::{BundleError, check_process};
use crate::sandbox::plan::{CapabilitySets, ProcessPlan, RlimitPlan};

/// Capabilities in the order of their numbers (linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability.
pub(crate) const ALL_CAPABILITIES: u64 = (1 << CAPABILITIES.len()) - 1;

/// Resource limits in the order of their numbers (asm-generic/resource.h).
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// The plan of `process`, its standard streams left closed for the caller to fill in.
///
/// # Errors
/// A field that cannot be served.
pub(crate) fn plan(process: &Process) -> Result<ProcessPlan, BundleError> {
    check_process(process)?;
    let cwd = process.cwd().to_str().ok_or_else(|| BundleError::Field {
        field: "process.cwd",
        problem: "is not UTF-8".into(),
    })?;
    let user = process.user();
    Ok(ProcessPlan {
        program: None,
        args: process.args().clone().unwrap_or_default(),
        env: last_of_each_name(process.env().clone().unwrap_or_default()),
        cwd: cwd.to_owned(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
        capabilities: process
            .capabilities()
            .as_ref()
            .map(sets)
            .unwrap_or_default(),
        rlimits: rlimits(process)?,
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        terminal: process.terminal().unwrap_or(false),
        stdio: [None; 3],
    })
}

/// The variables with each name once, the last value winning, as runc does: programs differ in which
/// of two they look at.
pub(crate) fn last_of_each_name(variables: impl IntoIterator<Item = String>) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for variable in variables {
        match places.get(&name(&variable)) {
            Some(&place) => kept[place] = variable,
            None => {
                places.insert(name(&variable), kept.len());
                kept.push(variable);
            }
        }
    }
    kept
}

fn sets(capabilities: &LinuxCapabilities) -> CapabilitySets {
    let mask = |set: &Option<Capabilities>| set.as_ref().map_or(0, mask_of);
    CapabilitySets {
        bounding: mask(capabilities.bounding()),
        effective: mask(capabilities.effective()),
        permitted: mask(capabilities.permitted()),
        inheritable: mask(capabilities.inheritable()),
        ambient: mask(capabilities.ambient()),
    }
}

fn mask_of(set: &Capabilities) -> u64 {
    set.iter()
        .filter_map(|capability| bit_of(&capability.to_string()))
        .fold(0, |mask, bit| mask | bit)
}

/// The bit of a capability by name, with or without "CAP_".
pub(crate) fn bit_of(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    CAPABILITIES
        .iter()
        .position(|&known| known == name)
        .map(|number| 1 << number)
}

fn rlimits(process: &Process) -> Result<Vec<RlimitPlan>, BundleError> {
    let unknown = |name: String| BundleError::Field {
        field: "process.rlimits",
        problem: format!("{name} is not a resource limit of Linux"),
    };
    process
        .rlimits()
        .iter()
        .flatten()
        .map(|limit| {
            let name = serde_json::to_value(limit.typ())
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned));
            let name = name.unwrap_or_else(|| format!("{:?}", limit.typ()));
            let number = RLIMITS
                .iter()
                .position(|&known| known == name)
                .ok_or_else(|| unknown(name))?;
            let resource = u32::try_from(number).expect("sixteen limits");
            Ok(RlimitPlan {
                resource,
                soft: limit.soft(),
                hard: limit.hard(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux() {
        assert_eq!(bit_of("CAP_CHOWN"), Some(1));
        assert_eq!(bit_of("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(bit_of("CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(bit_of("CAP_NONE"), None);
        assert_eq!(RLIMITS[7], "RLIMIT_NOFILE");
    }

    #[test]
    fn the_last_value_of_a_variable_wins() {
        let given = ["A=1", "B=2", "A=3"].map(str::to_owned);
        assert_eq!(last_of_each_name(given), ["A=3", "B=2"]);
    }

    #[test]
    fn the_template_gives_a_plan() {
        let spec: oci_spec::runtime::Spec =
            serde_json::from_value(super::super::template::spec(&["sh".into()])).unwrap();
        let plan = plan(spec.process().as_ref().unwrap()).unwrap();
        assert_eq!(plan.args, ["sh"]);
        assert_eq!(
            plan.rlimits,
            [RlimitPlan {
                resource: 7,
                soft: 1024,
                hard: 1024
            }]
        );
        assert_eq!(plan.capabilities.bounding, 1 << 29 | 1 << 5 | 1 << 10);
        assert!(plan.no_new_privs);
    }
}
