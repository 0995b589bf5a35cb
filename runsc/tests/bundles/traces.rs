//! What containers leave on a machine, to be compared before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Everything that can be left behind, each as a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    pub(crate) fn now(state: &Path) -> Self {
        let mut all = BTreeSet::new();
        all.extend(
            descendants()
                .into_iter()
                .map(|(pid, name)| format!("process {pid} {name}")),
        );
        all.extend(lines("/proc/self/mountinfo", "mount"));
        all.extend(names(state).map(|name| format!("record {name}")));
        all.extend(cgroups());
        let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let devices = devices.lines().filter_map(|line| line.split_once(':'));
        all.extend(devices.map(|(name, _)| format!("device {}", name.trim())));
        Self(all)
    }

    /// What is here and not in `before` (or the other way round), for a report.
    pub(crate) fn beyond(&self, before: &Self) -> String {
        let changed: Vec<_> = self.0.symmetric_difference(&before.0).cloned().collect();
        changed.join("; ")
    }

    /// Ends what a failed test has left running.
    pub(crate) fn kill_descendants() {
        for pid in descendants().into_keys() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn lines(file: &str, label: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| format!("{label} {line}")).collect()
}

fn names(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Our children and theirs, zombies aside: we are their subreaper, so none escapes.
fn descendants() -> BTreeMap<i32, String> {
    let mut parents = BTreeMap::new();
    for pid in names(Path::new("/proc")).filter_map(|name| name.parse::<i32>().ok()) {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some((name, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = rest.split_ascii_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        if state != Some("Z")
            && let Some(parent) = parent.and_then(|text| text.parse::<i32>().ok())
        {
            parents.insert(pid, (parent, name.to_owned()));
        }
    }
    let us = i32::try_from(std::process::id()).unwrap();
    let ours = |mut pid: i32| {
        while let Some((parent, _)) = parents.get(&pid) {
            if *parent == us {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let mine = parents.iter().filter(|(pid, _)| ours(**pid));
    mine.map(|(pid, (_, name))| (*pid, name.clone())).collect()
}

/// The name that the tests' cgroups begin with.
pub(crate) fn cgroup_prefix() -> String {
    format!("runsc-bundles-{}", std::process::id())
}

/// Cgroups of the tests, on any hierarchy.
fn cgroups() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (mount, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| mount.to_owned())
    });
    let mut found = Vec::new();
    for mount in mounts {
        let ours = names(Path::new(&mount)).filter(|name| name.starts_with(&cgroup_prefix()));
        found.extend(ours.map(|name| format!("cgroup {mount}/{name}")));
    }
    found
}
