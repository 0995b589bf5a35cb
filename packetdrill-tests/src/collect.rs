//! Which scripts a command line means.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories deeper than this below the named one are not searched (a loop of links, surely).
const DEPTH_MAX: u32 = 16;

/// Files as they are, and the `*.pkt` files of directories and below, in order of name.
///
/// # Errors
/// A path that is not there or cannot be read, or no script at all.
pub fn scripts(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, 0, &mut files)?;
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(format!("{} does not exist", path.display()));
        }
    }
    if files.is_empty() {
        return Err("there is no *.pkt file in what was named".to_owned());
    }
    Ok(files)
}

fn search(directory: &Path, depth: u32, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut entries = fs::read_dir(directory)
        .map_err(fail)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    entries.sort();
    for path in entries {
        if path.is_dir() && depth < DEPTH_MAX {
            search(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            files.push(path);
        }
    }
    Ok(())
}
