//! Version 1: a hierarchy for each controller.

use std::fs;
use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::{CgroupError, Setting, host_threads, write};

/// The files of v1 that `resources` sets.
pub(super) fn settings(resources: &LinuxResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: Option<String>| {
        settings.extend(value.map(|value| Setting {
            controller,
            file,
            value,
        }));
    };
    if let Some(memory) = resources.memory() {
        set(
            "memory",
            "memory.limit_in_bytes",
            memory.limit().map(|n| n.to_string()),
        );
        set(
            "memory",
            "memory.soft_limit_in_bytes",
            memory.reservation().map(|n| n.to_string()),
        );
        set(
            "memory",
            "memory.memsw.limit_in_bytes",
            memory.swap().map(|n| n.to_string()),
        );
    }
    if let Some(cpu) = resources.cpu() {
        set("cpu", "cpu.shares", cpu.shares().map(|n| n.to_string()));
        // The kernel checks a quota against the period in force: the period goes first.
        set(
            "cpu",
            "cpu.cfs_period_us",
            cpu.period().map(|n| n.to_string()),
        );
        set(
            "cpu",
            "cpu.cfs_quota_us",
            cpu.quota().map(|n| n.to_string()),
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

/// A new cpuset is empty and admits nobody: each level copies its parent's CPUs and memory nodes.
pub(super) fn inherit_cpuset(mount: &Path, path: &Path) -> Result<(), CgroupError> {
    let mut dir = mount.to_path_buf();
    for part in path.components() {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |dir: &Path| {
                fs::read_to_string(dir.join(file))
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            if read(&dir).is_empty() {
                write(&dir.join(file), &read(&parent))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_files() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":1048576},"cpu":{"quota":50000,"period":100000},"pids":{"limit":100}}"#,
        )
        .unwrap();
        let found: Vec<_> = settings(&resources)
            .into_iter()
            .map(|s| (s.file, s.value))
            .collect();
        let expected = [
            ("memory.limit_in_bytes", "1048576"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "50000"),
            ("pids.max", "264"),
        ];
        assert_eq!(
            found,
            expected.map(|(file, value)| (file, value.to_owned()))
        );
    }
}
