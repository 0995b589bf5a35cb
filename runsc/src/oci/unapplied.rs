//! Fields of a configuration that have no effect here: whoever relies on them has to be told.

use oci_spec::runtime::{Linux, Process, Spec};

/// The fields that are set and that nothing acts on, in the order of the specification.
pub(crate) fn fields(spec: &Spec) -> Vec<&'static str> {
    let mut all = Vec::new();
    if spec.domainname().is_some() {
        all.push("domainname");
    }
    if let Some(process) = spec.process() {
        all.extend(of_process(process));
    }
    if let Some(linux) = spec.linux() {
        all.extend(of_linux(linux));
    }
    all
}

fn of_process(process: &Process) -> impl Iterator<Item = &'static str> {
    let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let set = [
        (text(process.apparmor_profile()), "process.apparmorProfile"),
        (text(process.selinux_label()), "process.selinuxLabel"),
        (
            process.oom_score_adj().is_some_and(|score| score != 0),
            "process.oomScoreAdj",
        ),
        (process.scheduler().is_some(), "process.scheduler"),
        (process.io_priority().is_some(), "process.ioPriority"),
    ];
    chosen(set)
}

fn of_linux(linux: &Linux) -> impl Iterator<Item = &'static str> {
    fn any<T>(list: &Option<Vec<T>>) -> bool {
        list.as_ref().is_some_and(|list| !list.is_empty())
    }
    let without_cgroup = linux.cgroups_path().is_none();
    let limits = linux.resources().as_ref().is_some_and(|limits| {
        limits.cpu().is_some() || limits.pids().is_some() || limits.block_io().is_some()
    });
    let set = [
        (any(linux.devices()), "linux.devices"),
        (
            linux.sysctl().as_ref().is_some_and(|all| !all.is_empty()),
            "linux.sysctl",
        ),
        (
            without_cgroup && limits,
            "linux.resources (without linux.cgroupsPath)",
        ),
        (linux.seccomp().is_some(), "linux.seccomp"),
        (any(linux.masked_paths()), "linux.maskedPaths"),
        (any(linux.readonly_paths()), "linux.readonlyPaths"),
        (linux.mount_label().is_some(), "linux.mountLabel"),
        (linux.intel_rdt().is_some(), "linux.intelRdt"),
        (linux.personality().is_some(), "linux.personality"),
    ];
    chosen(set)
}

fn chosen<const N: usize>(set: [(bool, &'static str); N]) -> impl Iterator<Item = &'static str> {
    set.into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_and_has_no_effect_is_named() {
        let spec = |linux: serde_json::Value| -> Spec {
            let config = serde_json::json!({
                "ociVersion": "1.0.2",
                "process": { "args": ["true"], "cwd": "/", "oomScoreAdj": 100, "user": { "uid": 0, "gid": 0 } },
                "root": { "path": "rootfs" },
                "linux": linux,
            });
            serde_json::from_value(config).unwrap()
        };
        let all = spec(serde_json::json!({
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": [], "sysctl": { "net.core.somaxconn": "7" },
            "resources": { "pids": { "limit": 3 } },
        }));
        let expected = [
            "process.oomScoreAdj",
            "linux.sysctl",
            "linux.resources (without linux.cgroupsPath)",
            "linux.maskedPaths",
        ];
        assert_eq!(fields(&all), expected);
        let limited =
            serde_json::json!({ "cgroupsPath": "/a", "resources": { "pids": { "limit": 3 } } });
        assert_eq!(fields(&spec(limited)), ["process.oomScoreAdj"]);
    }
}
