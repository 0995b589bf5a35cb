//! Version 2: one hierarchy, controllers handed down level by level.

use std::fs;
use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::{CgroupError, Setting, host_threads, make_dir, write};

/// The files of v2 that `resources` sets.
pub(super) fn settings(resources: &LinuxResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: Option<String>| {
        settings.extend(value.map(|value| Setting {
            controller,
            file,
            value,
        }));
    };
    let or_max = |n: i64| {
        if n < 0 {
            "max".to_owned()
        } else {
            n.to_string()
        }
    };
    if let Some(memory) = resources.memory() {
        set("memory", "memory.max", memory.limit().map(or_max));
        set("memory", "memory.low", memory.reservation().map(or_max));
        // v1's figure is memory and swap together; v2's is swap alone.
        let swap = memory.swap().map(|both| match memory.limit() {
            Some(limit) if both >= limit => (both - limit).to_string(),
            _ => or_max(both),
        });
        set("memory", "memory.swap.max", swap);
    }
    if let Some(cpu) = resources.cpu() {
        set(
            "cpu",
            "cpu.weight",
            cpu.shares().map(|shares| weight(shares).to_string()),
        );
        let quota = cpu.quota().map(or_max);
        let period = cpu.period().unwrap_or(100_000);
        set(
            "cpu",
            "cpu.max",
            quota.map(|quota| format!("{quota} {period}")),
        );
        set("cpuset", "cpuset.cpus", cpu.cpus().clone());
        set("cpuset", "cpuset.mems", cpu.mems().clone());
    }
    let pids = resources.pids().as_ref().map(|pids| match pids.limit() {
        limit if limit > 0 => host_threads(limit).to_string(),
        _ => "max".to_owned(),
    });
    set("pids", "pids.max", pids);
    settings
}

/// Shares (2 to 262144) on the scale of weights (1 to 10000), as the OCI runtimes convert them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Of `settings`, those whose controller this hierarchy has (in a hybrid layout v1 holds the others).
pub(super) fn available<'a>(mount: &Path, settings: &'a [Setting]) -> Vec<&'a Setting> {
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let has = |name: &str| {
        controllers
            .split_ascii_whitespace()
            .any(|found| found == name)
    };
    settings
        .iter()
        .filter(|setting| has(setting.controller))
        .collect()
}

/// Switches the controllers of `settings` on along the way to `path`.
pub(super) fn delegate(
    mount: &Path,
    path: &Path,
    settings: &[&Setting],
) -> Result<(), CgroupError> {
    let mut dir = mount.to_path_buf();
    for part in path.components() {
        make_dir(&dir)?;
        for setting in settings {
            write(
                &dir.join("cgroup.subtree_control"),
                &format!("+{}", setting.controller),
            )?;
        }
        dir.push(part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_files() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":1000,"swap":3000},"cpu":{"quota":50000,"shares":1024},"pids":{"limit":-1}}"#,
        )
        .unwrap();
        let found: Vec<_> = settings(&resources)
            .into_iter()
            .map(|s| (s.file, s.value))
            .collect();
        let expected = [
            ("memory.max", "1000"),
            ("memory.swap.max", "2000"),
            ("cpu.weight", "39"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "max"),
        ];
        assert_eq!(
            found,
            expected.map(|(file, value)| (file, value.to_owned()))
        );
    }

    #[test]
    fn weights_span_the_scale() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }
}
