//! Files of an image or a volume that mean no good: nothing leads out of the mount, no device of the
//! host is opened, and a file that shrinks while it is mapped is the guest's SIGBUS.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::common::{Bind, Sandbox, compile};

/// A directory that goes with the test.
struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn node(path: &Path, kind: SFlag, major: u64, minor: u64) {
    let mode = Mode::from_bits_retain(0o666);
    mknod(path, kind, mode, makedev(major, minor)).expect("a node (as root)");
}

/// `secret` lies beside `inner`, which is what the guest gets.
fn make() -> Tree {
    let name = format!("hostile-{}", std::process::id());
    let top = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let inner = top.join("inner");
    std::fs::create_dir_all(inner.join("sub")).expect("a directory");
    std::fs::create_dir_all(top.join("shared")).expect("a directory");
    std::fs::write(top.join("secret"), "secret").expect("a file");
    std::fs::write(inner.join("data"), "d".repeat(16384)).expect("a file");
    std::fs::write(inner.join("suid"), "").expect("a file");
    std::fs::write(inner.join(OsStr::from_bytes(b"odd\n\xff\xfe name")), "").expect("a file");
    for (link, target) in [
        ("up", "../secret"),
        ("far-up", "../../../../../../../../../../secret"),
        ("absolute", "/secret"),
        ("dir-up", ".."),
        ("loop", "loop"),
    ] {
        symlink(target, inner.join(link)).expect("a link");
    }
    node(&inner.join("mem"), SFlag::S_IFCHR, 1, 1);
    node(&inner.join("disk"), SFlag::S_IFBLK, 254, 0);
    nix::unistd::mkfifo(&inner.join("fifo"), Mode::from_bits_retain(0o666)).expect("a FIFO");
    drop(std::os::unix::net::UnixListener::bind(inner.join("socket")).expect("a socket"));
    Tree(top)
}

/// Shrinks the file as soon as the guest has mapped it.
fn shrink(top: &Path) {
    while !top.join("shared/ready").exists() {
        std::thread::yield_now();
    }
    let data = std::fs::OpenOptions::new()
        .write(true)
        .open(top.join("inner/data"));
    data.and_then(|file| file.set_len(4096)).expect("shrunk");
    std::fs::write(top.join("shared/go"), "").expect("a file");
}

#[test]
fn hostile_files_stay_within_their_mount() {
    let program = compile("hostile_tree.c", &["-static", "-w"]);
    let tree = make();
    let bind = |target, source, readonly| Bind {
        target,
        source,
        readonly,
    };
    let sandbox = Sandbox {
        binds: vec![
            bind("/inner", tree.0.join("inner"), true),
            bind("/shared", tree.0.join("shared"), false),
        ],
        ..Sandbox::default()
    };
    let done = std::thread::scope(|scope| {
        scope.spawn(|| shrink(&tree.0));
        sandbox.run(&[program.as_os_str()])
    });
    assert_eq!(done.defects, 0);
    assert_eq!(
        done.outcome.stdout,
        include_str!("../programs/hostile_tree.expected")
    );
}
