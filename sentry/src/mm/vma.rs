//! What a guest asked for: mappings, and what is known of each.

use std::ops::Range;
use std::sync::Arc;

use super::Mappable;
use super::range_map::Piece;

/// All three access bits.
pub(crate) const PROT_ALL: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

/// What a mapping is for, as /proc/PID/maps names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing special.
    #[default]
    Plain,
    /// `[heap]`: made by brk.
    Heap,
    /// `[stack]`: the initial stack.
    Stack,
    /// `[vdso]`
    Vdso,
    /// `[vvar]`: the parameter page of the vDSO.
    Vvar,
}

/// One mapping to be made.
#[derive(Clone)]
pub struct MmapRequest {
    /// The address, or the hint; 0: none.
    pub addr: u64,
    /// Bytes, not rounded.
    pub len: u64,
    /// `PROT_*`
    pub prot: i32,
    /// `MAP_*` (one of MAP_SHARED, MAP_PRIVATE; MAP_ANONYMOUS is implied by `file`).
    pub flags: i32,
    /// What is mapped, from which offset of it.
    pub file: Option<(Arc<dyn Mappable>, u64)>,
    /// What mprotect may ever allow: a shared mapping of a file that was not opened for writing
    /// lacks PROT_WRITE.
    pub max_prot: i32,
    /// What it is for.
    pub purpose: Purpose,
    /// The file's path, to show.
    pub path: Option<Arc<[u8]>>,
}

impl MmapRequest {
    /// Anonymous, private memory.
    pub fn anonymous(addr: u64, len: u64, prot: i32, flags: i32) -> Self {
        Self {
            addr,
            len,
            prot,
            flags: flags | libc::MAP_ANONYMOUS | libc::MAP_PRIVATE,
            file: None,
            max_prot: PROT_ALL,
            purpose: Purpose::Plain,
            path: None,
        }
    }
}

/// Flags of a mapping beyond its protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmaFlags {
    /// MAP_SHARED
    pub(crate) shared: bool,
    /// MAP_GROWSDOWN
    pub(crate) grows_down: bool,
    /// mlock
    pub(crate) locked: bool,
    /// MAP_NORESERVE (only shown)
    pub(crate) no_reserve: bool,
    /// MADV_DONTFORK
    pub(crate) dont_fork: bool,
    /// MADV_WIPEONFORK
    pub(crate) wipe_on_fork: bool,
    /// MADV_DONTDUMP
    pub(crate) dont_dump: bool,
}

/// A mapping, without its range.
#[derive(Clone)]
pub(crate) struct Vma {
    pub(crate) prot: i32,
    pub(crate) max_prot: i32,
    pub(crate) flags: VmaFlags,
    /// What is mapped, and the offset in it of the first byte of the range.
    pub(crate) file: Option<(Arc<dyn Mappable>, u64)>,
    pub(crate) purpose: Purpose,
    pub(crate) path: Option<Arc<[u8]>>,
}

impl Vma {
    /// True if its pages are memory of the address space alone, zero at first.
    pub(crate) fn is_own_memory(&self) -> bool {
        !self.flags.shared && self.file.is_none()
    }

    /// True if RLIMIT_DATA counts it.
    pub(crate) fn is_data(&self) -> bool {
        !self.flags.shared && self.prot & libc::PROT_WRITE != 0 && !self.flags.grows_down
    }
}

impl Piece for Vma {
    fn tail(&self, delta: u64) -> Self {
        let mut tail = self.clone();
        if let Some((_, offset)) = &mut tail.file {
            *offset += delta;
        }
        tail
    }

    fn joins(&self, len: u64, next: &Self) -> bool {
        let same_file = match (&self.file, &next.file) {
            (None, None) => true,
            (Some((a, at)), Some((b, then))) => Arc::ptr_eq(a, b) && at + len == *then,
            _ => false,
        };
        same_file
            && self.prot == next.prot
            && self.max_prot == next.max_prot
            && self.flags == next.flags
            && self.purpose == next.purpose
    }
}

/// A mapping as /proc/PID/maps shows it.
#[derive(Clone, Debug)]
pub struct VmaInfo {
    /// Where it is.
    pub range: Range<u64>,
    /// `PROT_*`
    pub prot: i32,
    /// MAP_SHARED
    pub shared: bool,
    /// (device, inode, path, offset of the first byte) of the file.
    pub file: Option<(u64, u64, Vec<u8>, u64)>,
    /// What it is for.
    pub purpose: Purpose,
    /// Bytes of it that are in memory (approximate for host files).
    pub resident: u64,
    /// mlock
    pub locked: bool,
}

/// Sizes of an address space, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemUsage {
    /// VmSize
    pub size: u64,
    /// VmPeak
    pub peak: u64,
    /// VmData: private, writable, not stack.
    pub data: u64,
    /// VmStk
    pub stack: u64,
    /// VmExe and VmLib: executable file mappings.
    pub exec: u64,
    /// VmLck
    pub locked: u64,
    /// RssAnon
    pub rss_anon: u64,
    /// RssFile (approximate: what is mapped)
    pub rss_file: u64,
    /// RssShmem
    pub rss_shared: u64,
}

impl MemUsage {
    /// VmRSS
    pub fn rss(&self) -> u64 {
        self.rss_anon + self.rss_file + self.rss_shared
    }
}
