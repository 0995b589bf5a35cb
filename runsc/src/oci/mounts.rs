//! The mounts of a bundle, turned into plans with their host sources as detached trees.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use thiserror::Error;

use super::bundle::Bundle;
use crate::sandbox::plan::{MountKind, MountPlan, RootPlan};
use crate::sandbox::sys;
use crate::sandbox::transport::Donation;

/// Why a mount cannot be made.
#[derive(Debug, Error)]
pub(crate) enum MountError {
    #[error("mount on {destination}: cannot open {path}", path = .path.display())]
    Source {
        destination: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "mount on {destination}: type {kind:?} is not supported (bind, tmpfs, proc, sysfs, devpts, mqueue, cgroup are)"
    )]
    Kind { destination: String, kind: String },
    #[error("mount on {0:?}: the destination is not an absolute UTF-8 path")]
    Destination(PathBuf),
}

/// Opens a directory or file of the host as a detached tree that can be neither a device nor set-uid.
///
/// # Errors
/// The host's.
pub(crate) fn open_tree(path: &Path, recursive: bool, readonly: bool) -> io::Result<OwnedFd> {
    let tree = sys::clone_tree(path, recursive)?;
    let mut attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if readonly {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    sys::set_tree_attributes(tree.as_fd(), attributes, recursive)?;
    Ok(tree)
}

/// What is mounted by a bind.
struct Source {
    fd: OwnedFd,
    /// Nothing can be written to it, whatever was asked for.
    readonly: bool,
}

/// Opens the source of a bind. A regular file is opened for good, through the detached mount: the
/// sandbox, which has no /proc and no directory of it, could not.
fn open_source(path: &Path, recursive: bool, readonly: bool) -> io::Result<Source> {
    let tree = open_tree(path, recursive, readonly)?;
    if !path.metadata()?.is_file() {
        return Ok(Source { fd: tree, readonly });
    }
    let through = format!("/proc/self/fd/{}", tree.as_raw_fd());
    let open = |write| File::options().read(true).write(write).open(&through);
    let (file, readonly) = match open(!readonly) {
        Ok(file) => (file, readonly),
        Err(error) if !readonly => (open(false).map_err(|_| error)?, true),
        Err(error) => return Err(error),
    };
    Ok(Source {
        fd: file.into(),
        readonly,
    })
}

/// The plan of the bundle's root. A root that is not read-only gets the guest's writes itself, as
/// other runtimes do: what a container leaves there is the engine's to keep.
///
/// # Errors
/// If the tree cannot be opened.
pub(crate) fn root(bundle: &Bundle, donation: &mut Donation) -> Result<RootPlan, MountError> {
    let readonly = bundle
        .spec
        .root()
        .as_ref()
        .is_some_and(|root| root.readonly().unwrap_or(false));
    let tree = open_tree(&bundle.rootfs, true, readonly).map_err(|source| MountError::Source {
        destination: "/".into(),
        path: bundle.rootfs.clone(),
        source,
    })?;
    Ok(RootPlan {
        tree: donation.add(tree),
        readonly,
        write_through: !readonly,
    })
}

/// The plans of the bundle's mounts, in order.
///
/// # Errors
/// The first mount that cannot be served.
pub(crate) fn plan(bundle: &Bundle, donation: &mut Donation) -> Result<Vec<MountPlan>, MountError> {
    bundle
        .spec
        .mounts()
        .iter()
        .flatten()
        .map(|mount| one(&bundle.dir, mount, donation))
        .collect()
}

fn one(bundle_dir: &Path, mount: &Mount, donation: &mut Donation) -> Result<MountPlan, MountError> {
    let destination = mount.destination();
    let destination = match destination.to_str() {
        Some(text) if destination.is_absolute() => text.to_owned(),
        _ => return Err(MountError::Destination(destination.clone())),
    };
    let options = mount.options().as_deref().unwrap_or_default();
    let has = |name: &str| options.iter().any(|option| option == name);
    let mut readonly = has("ro");
    let typ = mount.typ().as_deref().unwrap_or("");
    let kind = if typ == "bind" || has("bind") || has("rbind") {
        let path = bundle_dir.join(mount.source().as_deref().unwrap_or(Path::new("")));
        let source =
            open_source(&path, has("rbind"), readonly).map_err(|source| MountError::Source {
                destination: destination.clone(),
                path,
                source,
            })?;
        readonly |= source.readonly;
        MountKind::Bind(donation.add(source.fd))
    } else {
        match typ {
            "tmpfs" => MountKind::Tmpfs {
                options: options.to_vec(),
            },
            "proc" => MountKind::Proc,
            "sysfs" => MountKind::Sysfs,
            "devpts" => MountKind::Devpts,
            "mqueue" => MountKind::Mqueue,
            "cgroup" | "cgroup2" => MountKind::Cgroup,
            other => {
                return Err(MountError::Kind {
                    destination,
                    kind: other.to_owned(),
                });
            }
        }
    };
    Ok(MountPlan {
        destination,
        kind,
        readonly,
        noexec: has("noexec"),
        nosuid: has("nosuid"),
        nodev: has("nodev"),
    })
}
