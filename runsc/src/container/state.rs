//! What is written about a container, and what `state` and `list` show of it.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// OCI version that the state conforms to.
pub(crate) const OCI_VERSION: &str = "1.2.0";

/// Where a container is in its life (OCI runtime spec, "State").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Stopped,
}

impl Status {
    /// The word that JSON and tables show.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// A container on disk (`state.json`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) id: String,
    pub(crate) status: Status,
    /// The sandbox's process on the host.
    pub(crate) pid: i32,
    /// Start time of that process (clock ticks since boot), so that a recycled number is not taken for it.
    pub(crate) pid_start_ticks: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    pub(crate) owner: String,
    pub(crate) annotations: HashMap<String, String>,
    /// cgroup directories that were made for it, innermost last.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Network devices on the host that go away with the container.
    pub(crate) host_devices: Vec<String>,
}

impl State {
    /// The OCI state, as hooks and `runsc state` get it.
    pub(crate) fn to_oci(&self) -> serde_json::Value {
        serde_json::json!({
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "status": self.status.word(),
            "pid": if self.status == Status::Stopped { 0 } else { self.pid },
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
            "owner": self.owner,
            "annotations": self.annotations,
        })
    }

    /// The same for hooks that run in the container's namespaces, by which its process is the first.
    pub(crate) fn to_oci_inside(&self) -> serde_json::Value {
        let mut state = self.to_oci();
        state["pid"] = 1.into();
        state
    }

    /// True if the sandbox's process is still that process.
    pub(crate) fn is_alive(&self) -> bool {
        self.pid > 0 && process_start_ticks(self.pid) == Some(self.pid_start_ticks)
    }

    /// Corrects the status by what the process table says.
    pub(crate) fn refresh(&mut self) {
        if self.status != Status::Stopped && !self.is_alive() {
            self.status = Status::Stopped;
        }
    }
}

/// Field 22 of /proc/PID/stat; `None` if there is no such process, or only its zombie.
pub(crate) fn process_start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold anything, parentheses and spaces too: count from its last ')'.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_a_start_time() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(process_start_ticks(pid).is_some());
        assert_eq!(process_start_ticks(i32::MAX), None);
    }
}
