//! The state directory: one folder a container, replaced atomically, locked while a verb works on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use super::state::State;

/// Why a container's record could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    #[error("container {0:?} does not exist (see `runsc list`)")]
    Unknown(String),
    #[error("container {0:?} exists already; choose another id or delete that one")]
    Exists(String),
    #[error(
        "{0:?} is no container id: 1 to 1024 letters, digits, '_', '+', '-' or '.', and neither \".\" nor \"..\""
    )]
    BadId(String),
    #[error(
        "an ordinary user's containers are kept below $XDG_RUNTIME_DIR, which is not set; set it, or give --root"
    )]
    NoDirectory,
    #[error("{what} {path}", path = .path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the record {path} is damaged; `runsc delete --force` removes it", path = .path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// All containers below one directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

/// One container's folder, locked against other verbs until dropped.
pub(crate) struct Record {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Store {
    /// The store at `root`, which is made if need be.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .map_err(|source| StoreError::Io {
                what: "cannot make the state directory",
                path: root.into(),
                source,
            })?;
        Ok(Self { root: root.into() })
    }

    /// Makes the folder of a new container and locks it.
    pub(crate) fn create(&self, id: &str) -> Result<Record, StoreError> {
        let dir = self.dir_of(id)?;
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => lock(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::Exists(id.into()))
            }
            Err(source) => Err(StoreError::Io {
                what: "cannot make",
                path: dir,
                source,
            }),
        }
    }

    /// Locks an existing container's folder.
    pub(crate) fn find(&self, id: &str) -> Result<Record, StoreError> {
        let dir = self.dir_of(id)?;
        if !dir.is_dir() {
            return Err(StoreError::Unknown(id.into()));
        }
        lock(dir)
    }

    /// The ids that have a folder, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<String>, StoreError> {
        let failed = |source| StoreError::Io {
            what: "cannot read",
            path: self.root.clone(),
            source,
        };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path().is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }

    fn dir_of(&self, id: &str) -> Result<PathBuf, StoreError> {
        let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.chars().all(good) {
            return Err(StoreError::BadId(id.into()));
        }
        Ok(self.root.join(id))
    }
}

fn lock(dir: PathBuf) -> Result<Record, StoreError> {
    let failed = |source| StoreError::Io {
        what: "cannot lock",
        path: dir.clone(),
        source,
    };
    let file = File::open(&dir).map_err(failed)?;
    let lock =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
    Ok(Record { dir, _lock: lock })
}

impl Record {
    /// The container's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads the state, its status corrected by the process table.
    pub(crate) fn load(&self) -> Result<State, StoreError> {
        let path = self.dir.join("state.json");
        let text = fs::read(&path).map_err(|source| match source.kind() {
            // Another verb is between making the folder and writing the state, or died there.
            io::ErrorKind::NotFound => StoreError::Unknown(self.id()),
            _ => StoreError::Io {
                what: "cannot read",
                path: path.clone(),
                source,
            },
        })?;
        let mut state: State =
            serde_json::from_slice(&text).map_err(|source| StoreError::Damaged { path, source })?;
        state.refresh();
        Ok(state)
    }

    /// Replaces the state: a reader sees the old one or the new one.
    pub(crate) fn save(&self, state: &State) -> Result<(), StoreError> {
        let (path, temporary) = (self.dir.join("state.json"), self.dir.join("state.json.new"));
        let text = serde_json::to_vec_pretty(state).expect("a state has only string keys");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| StoreError::Io {
            what: "cannot write",
            path: path.clone(),
            source,
        })
    }

    /// Removes the folder and all in it.
    pub(crate) fn remove(self) -> Result<(), StoreError> {
        fs::remove_dir_all(&self.dir).map_err(|source| StoreError::Io {
            what: "cannot remove",
            path: self.dir.clone(),
            source,
        })
    }

    /// The container.
    pub(crate) fn id(&self) -> String {
        self.dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_escape_the_directory_are_refused() {
        let store = Store {
            root: "/nonexistent".into(),
        };
        for bad in ["", ".", "..", "a/b", "a\0b", "ä", &"x".repeat(1025)] {
            assert!(
                matches!(store.create(bad), Err(StoreError::BadId(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_container_is_made_once_and_found_until_removed() {
        let root = std::env::temp_dir().join(format!("runsc-store-{}", std::process::id()));
        let store = Store::open(&root).unwrap();
        let record = store.create("one").unwrap();
        assert!(matches!(store.create("one"), Err(StoreError::Exists(_))));
        assert_eq!(store.ids().unwrap(), ["one"]);
        record.remove().unwrap();
        assert!(matches!(store.find("one"), Err(StoreError::Unknown(_))));
        fs::remove_dir(&root).unwrap();
    }
}
