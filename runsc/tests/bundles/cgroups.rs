//! Resource limits, on whatever hierarchies this machine has.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::traces::cgroup_prefix;
use crate::world::world;

/// Where a controller is mounted, with the names of its files for a limit of processes.
fn pids_hierarchy() -> Option<(PathBuf, &'static str)> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let mount = PathBuf::from(fields[1]);
        match fields[2] {
            "cgroup" if fields[3].split(',').any(|option| option == "pids") => {}
            "cgroup2" => {
                let controllers = fs::read_to_string(mount.join("cgroup.controllers")).ok()?;
                controllers
                    .split_whitespace()
                    .find(|name| *name == "pids")?;
            }
            _ => return None,
        }
        let probe = mount.join(format!("{}-probe", cgroup_prefix()));
        fs::create_dir(&probe).ok()?;
        fs::remove_dir(&probe).unwrap();
        Some((mount, "pids.max"))
    })
}

#[test]
fn limits_are_set_and_taken_away_again() {
    let world = world!();
    let mut bundle = world.bundle("b", "exec sleep 1000");
    let name = cgroup_prefix();
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{name}/c"));
    bundle.config["linux"]["resources"] = json!({"pids": {"limit": 100}});
    let Some((mount, file)) = pids_hierarchy() else {
        // A machine without the controller: then the limit is refused, not forgotten.
        world.refused(&["create", "--bundle", bundle.save(), "c"], "cgroup");
        return;
    };
    world.ok(&["run", "-d", "--bundle", bundle.save(), "c"]);
    let dir = mount.join(&name).join("c");
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    // Two host threads for each of the guest's, and the Sentry's own.
    assert_eq!(read(file).trim(), "264");
    let pid = world.state("c")["pid"].to_string();
    assert!(read("cgroup.procs").lines().any(|line| line == pid));
    world.ok(&["delete", "--force", "c"]);
    assert!(!dir.exists());
}

#[test]
fn paths_and_values_that_cannot_be_are_refused() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    bundle.config["linux"]["cgroupsPath"] = json!("/../../tmp/x");
    world.refused(&["create", "--bundle", bundle.save(), "c"], "..");
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}/c", cgroup_prefix()));
    bundle.config["linux"]["resources"] = json!({"cpu": {"cpus": "900-901"}});
    world.refused(&["create", "--bundle", bundle.save(), "c"], "cgroup");
}
