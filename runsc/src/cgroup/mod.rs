//! Resource limits: the container's cgroups, on whatever hierarchies the host has mounted (v1, v2 or both).

mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use thiserror::Error;

use crate::oci::bundle::Bundle;

/// Why limits could not be set.
#[derive(Debug, Error)]
pub(crate) enum CgroupError {
    #[error("cgroup: cannot {what} {path}", path = .path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cgroup: linux.resources.{0} is set, but this host has no hierarchy for it")]
    NoController(&'static str),
    #[error("cgroup: linux.cgroupsPath {0:?} must stay below the hierarchy (no \"..\")")]
    BadPath(PathBuf),
}

/// A mounted hierarchy.
struct Hierarchy {
    mount: PathBuf,
    /// Controllers of a v1 hierarchy; `None` is v2.
    controllers: Option<Vec<String>>,
}

/// One value to write into a file of a cgroup.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
}

/// Two host threads serve a guest task, and the Sentry has some of its own: what a limit on guest
/// tasks means in host threads.
fn host_threads(guest_tasks: i64) -> i64 {
    guest_tasks.saturating_mul(2).saturating_add(64)
}

/// The directories that [`create`] will make, outermost first.
///
/// # Errors
/// A path that leaves the hierarchy.
pub(crate) fn planned(bundle: &Bundle) -> Result<Vec<PathBuf>, CgroupError> {
    let Some(path) = path_of(bundle)? else {
        return Ok(Vec::new());
    };
    let mut dirs = Vec::new();
    for hierarchy in hierarchies() {
        // Parents that are there already belong to somebody else.
        let parents = path
            .ancestors()
            .skip(1)
            .map(|part| hierarchy.mount.join(part));
        let mut new: Vec<PathBuf> = parents.filter(|dir| !dir.exists()).collect();
        new.reverse();
        dirs.append(&mut new);
        dirs.push(hierarchy.mount.join(path));
    }
    Ok(dirs)
}

/// Makes the container's cgroups with their limits and moves `pid` into them. Without a path in the
/// bundle nothing is made.
///
/// # Errors
/// A limit that cannot be set; nothing is left then.
pub(crate) fn create(bundle: &Bundle, pid: i32) -> Result<(), CgroupError> {
    let linux = bundle.spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let Some(path) = path_of(bundle)? else {
        return Ok(());
    };
    let mut made = Vec::new();
    let result = create_all(&hierarchies(), path, resources, pid, &mut made);
    if result.is_err() {
        let _ = remove(&made);
    }
    result
}

/// The bundle's path below each hierarchy.
fn path_of(bundle: &Bundle) -> Result<Option<&Path>, CgroupError> {
    let linux = bundle.spec.linux().as_ref();
    let Some(path) = linux.and_then(|linux| linux.cgroups_path().as_ref()) else {
        return Ok(None);
    };
    if path
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return Err(CgroupError::BadPath(path.clone()));
    }
    Ok(Some(path.strip_prefix("/").unwrap_or(path)))
}

fn create_all(
    hierarchies: &[Hierarchy],
    path: &Path,
    resources: Option<&LinuxResources>,
    pid: i32,
    made: &mut Vec<PathBuf>,
) -> Result<(), CgroupError> {
    let (v1, v2) = (
        resources.map(v1::settings).unwrap_or_default(),
        resources.map(v2::settings).unwrap_or_default(),
    );
    let mut placed: Vec<&'static str> = Vec::new();
    for hierarchy in hierarchies {
        let settings: Vec<&Setting> = match &hierarchy.controllers {
            Some(names) => v1
                .iter()
                .filter(|s| names.iter().any(|name| name == s.controller))
                .collect(),
            None => v2::available(&hierarchy.mount, &v2),
        };
        let dir = hierarchy.mount.join(path);
        if hierarchy.controllers.is_none() {
            v2::delegate(&hierarchy.mount, path, &settings)?;
        }
        make_dir(&dir)?;
        made.push(dir.clone());
        if hierarchy
            .controllers
            .as_ref()
            .is_some_and(|names| names.iter().any(|name| name == "cpuset"))
        {
            v1::inherit_cpuset(&hierarchy.mount, path)?;
        }
        for setting in settings {
            write(&dir.join(setting.file), &setting.value)?;
            placed.push(setting.controller);
        }
        write(&dir.join("cgroup.procs"), &pid.to_string())?;
    }
    match v1
        .iter()
        .find(|setting| !placed.contains(&setting.controller))
    {
        Some(missing) => Err(CgroupError::NoController(missing.controller)),
        None => Ok(()),
    }
}

/// Removes cgroups that a container had, innermost first; one that is gone already is fine, and one that
/// other containers have come to use stays.
///
/// # Errors
/// EBUSY if a process is still in it.
pub(crate) fn remove(dirs: &[PathBuf]) -> Result<(), CgroupError> {
    for dir in dirs.iter().rev() {
        // The kernel lets go of an ended process a moment after it can be waited for.
        let mut attempts = 0;
        loop {
            match fs::remove_dir(dir) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(_) if has_children(dir) => break,
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempts < 500 => {
                    attempts += 1;
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                Err(source) => {
                    return Err(CgroupError::Io {
                        what: "remove",
                        path: dir.clone(),
                        source,
                    });
                }
            }
        }
    }
    Ok(())
}

fn has_children(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_type().ok())
        .any(|kind| kind.is_dir())
}

fn make_dir(dir: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(dir).map_err(|source| CgroupError::Io {
        what: "make",
        path: dir.into(),
        source,
    })
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(path, value).map_err(|source| CgroupError::Io {
        what: "write",
        path: path.into(),
        source,
    })
}

fn hierarchies() -> Vec<Hierarchy> {
    parse_mounts(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// Finds the hierarchies in a mount table; named v1 hierarchies (systemd's) carry no controller and are left alone.
fn parse_mounts(table: &str) -> Vec<Hierarchy> {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (mount, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            let controllers = match kind {
                "cgroup2" => None,
                "cgroup" if options.contains("name=") => return None,
                "cgroup" => Some(options.split(',').map(str::to_owned).collect()),
                _ => return None,
            };
            Some(Hierarchy {
                mount: mount.into(),
                controllers,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_the_mount_table() {
        let table = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                     cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n\
                     tmpfs /tmp tmpfs rw 0 0\n";
        let found = parse_mounts(table);
        assert_eq!(found.len(), 2);
        assert!(
            found[0]
                .controllers
                .as_ref()
                .unwrap()
                .contains(&"cpu".to_owned())
        );
        assert!(found[1].controllers.is_none());
    }
}
