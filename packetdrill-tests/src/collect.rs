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

/// The topic of a script: the directory that it is in, below the directory of `roots` that led to it.
pub fn topic(path: &Path, roots: &[PathBuf]) -> String {
    let directory = path.parent().unwrap_or(Path::new(""));
    let below = roots
        .iter()
        .filter_map(|root| directory.strip_prefix(root).ok())
        .min_by_key(|below| below.components().count());
    let last = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    match below {
        Some(below) if below.components().next().is_some() => below.display().to_string(),
        _ => last(directory).unwrap_or_else(|| ".".to_owned()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_the_directory_below_what_was_named() {
        let roots = [PathBuf::from("net"), PathBuf::from("x/alone.pkt")];
        let topic = |path: &str| topic(Path::new(path), &roots);
        assert_eq!(topic("net/tcp/sack/a.pkt"), "tcp/sack");
        assert_eq!(topic("net/a.pkt"), "net");
        assert_eq!(topic("x/alone.pkt"), "x");
        assert_eq!(topic("alone.pkt"), ".");
    }
}
