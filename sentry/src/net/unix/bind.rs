//! Names of Unix sockets: abstract ones, and those that are files.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use super::socket::UnixSocket;
use crate::net::Caller;
use crate::net::addr::UnixName;
use crate::vfs::attr::FileType;
use crate::vfs::creds::MAY_WRITE;
use crate::vfs::walk::{Last, WalkFlags, lookup, lookup_parent};
use crate::vfs::{modify, ops};

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Abstract(Vec<u8>),
    /// A socket file, by device and inode.
    File(u64, u64),
}

/// The bound sockets of one sandbox. Lock order: after a socket's own lock is released, before none.
#[derive(Default)]
pub struct Names {
    bound: Mutex<HashMap<Key, Weak<UnixSocket>>>,
}

/// A taken name, given back when dropped.
pub(super) struct Bound {
    names: Arc<Names>,
    key: Key,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.names.bound.lock().remove(&self.key);
    }
}

impl Names {
    /// Gives `socket` the name that was asked for, or a free abstract one; returns it as it is now.
    ///
    /// # Errors
    /// EADDRINUSE, and those of making a file.
    pub(super) fn bind(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        name: UnixName,
        socket: &Arc<UnixSocket>,
    ) -> Result<(UnixName, Bound), Errno> {
        match name {
            UnixName::Auto => self.bind_auto(socket),
            UnixName::Abstract(name) => {
                let bound = self.insert(Key::Abstract(name.clone()), socket)?;
                Ok((UnixName::Abstract(name), bound))
            }
            UnixName::Path(path) => {
                let bound = self.bind_path(caller, &path, socket)?;
                Ok((UnixName::Path(path), bound))
            }
        }
    }

    /// Five hexadecimal digits, as Linux's `unix_autobind` chooses.
    fn bind_auto(self: &Arc<Self>, socket: &Arc<UnixSocket>) -> Result<(UnixName, Bound), Errno> {
        for number in 0..1 << 20 {
            let name = format!("{number:05x}").into_bytes();
            if let Ok(bound) = self.insert(Key::Abstract(name.clone()), socket) {
                return Ok((UnixName::Abstract(name), bound));
            }
        }
        Err(Errno::ENOSPC)
    }

    fn bind_path(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        path: &[u8],
        socket: &Arc<UnixSocket>,
    ) -> Result<Bound, Errno> {
        let cx = caller.path;
        let (dir, last) = lookup_parent(cx, &cx.cwd, path)?;
        let Last::Name(name, _) = last else {
            return Err(Errno::EADDRINUSE);
        };
        let made = modify::create(cx, &dir, &name, FileType::Socket, 0o777, 0, &[]);
        let made = made.map_err(|error| {
            if error == Errno::EEXIST {
                Errno::EADDRINUSE
            } else {
                error
            }
        })?;
        let attr = made.inode().attr()?;
        self.insert(Key::File(attr.dev, attr.ino), socket)
    }

    fn insert(self: &Arc<Self>, key: Key, socket: &Arc<UnixSocket>) -> Result<Bound, Errno> {
        let mut bound = self.bound.lock();
        if bound.get(&key).is_some_and(|weak| weak.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        bound.insert(key.clone(), Arc::downgrade(socket));
        Ok(Bound {
            names: Arc::clone(self),
            key,
        })
    }

    /// The socket that a name leads to.
    ///
    /// # Errors
    /// ECONNREFUSED if nobody is bound there, and those of a path walk.
    pub(super) fn find(
        &self,
        caller: &Caller<'_>,
        name: &UnixName,
    ) -> Result<Arc<UnixSocket>, Errno> {
        let key = match name {
            UnixName::Auto => return Err(Errno::EINVAL),
            UnixName::Abstract(name) => Key::Abstract(name.clone()),
            UnixName::Path(path) => {
                let cx = caller.path;
                let found = lookup(cx, &cx.cwd, path, WalkFlags::FOLLOW)?;
                ops::access(cx, &found, MAY_WRITE)?;
                let attr = found.inode().attr()?;
                if attr.kind != FileType::Socket {
                    return Err(Errno::ECONNREFUSED);
                }
                Key::File(attr.dev, attr.ino)
            }
        };
        self.bound
            .lock()
            .get(&key)
            .and_then(Weak::upgrade)
            .ok_or(Errno::ECONNREFUSED)
    }
}
