//! /proc/PID/maps and smaps.

use std::fmt::Write;

use sentry_abi::Errno;

use crate::mm::{Purpose, VmaInfo};
use crate::task::TaskShared;
use crate::vfs::attr::split_dev;

fn purpose(purpose: Purpose) -> &'static [u8] {
    match purpose {
        Purpose::Plain => b"",
        Purpose::Heap => b"[heap]",
        Purpose::Stack => b"[stack]",
        Purpose::Vdso => b"[vdso]",
        Purpose::Vvar => b"[vvar]",
    }
}

fn line(vma: &VmaInfo) -> Vec<u8> {
    let bit = |flag: i32, letter: char| if vma.prot & flag != 0 { letter } else { '-' };
    // The pages of the vDSO are a file only to us.
    let own = matches!(vma.purpose, Purpose::Vdso | Purpose::Vvar);
    let file = vma.file.clone().filter(|_| !own);
    let named = file.is_some();
    let (dev, ino, path, offset) = file.unwrap_or_default();
    let (major, minor) = split_dev(dev);
    let mut head = format!(
        "{:x}-{:x} {}{}{}{} {offset:08x} {major:02x}:{minor:02x} {ino} ",
        vma.range.start,
        vma.range.end,
        bit(libc::PROT_READ, 'r'),
        bit(libc::PROT_WRITE, 'w'),
        bit(libc::PROT_EXEC, 'x'),
        if vma.shared && !own { 's' } else { 'p' },
    );
    let name = if named {
        path
    } else {
        purpose(vma.purpose).to_vec()
    };
    if !name.is_empty() {
        // Names start in a column of their own.
        while head.len() < 73 {
            head.push(' ');
        }
    }
    let mut line = head.into_bytes();
    line.extend_from_slice(&name);
    line.push(b'\n');
    line
}

pub(super) fn maps(task: &TaskShared) -> Result<Vec<u8>, Errno> {
    let Some(mm) = task.view().mm else {
        return Ok(Vec::new());
    };
    Ok(mm.vmas().iter().flat_map(line).collect())
}

pub(super) fn smaps(task: &TaskShared) -> Result<Vec<u8>, Errno> {
    let Some(mm) = task.view().mm else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for vma in mm.vmas() {
        out.extend(line(&vma));
        let mut text = String::new();
        let size = (vma.range.end - vma.range.start) >> 10;
        let resident = vma.resident >> 10;
        let _ = write!(
            text,
            "Size:           {size:8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n\
             Rss:            {resident:8} kB\nPss:            {resident:8} kB\n"
        );
        out.extend(text.into_bytes());
    }
    Ok(out)
}
